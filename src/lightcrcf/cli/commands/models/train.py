"""`lightcrcf train`: train a model on your own volumes."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from lightcrcf.cli.console import print_message, resumable
from lightcrcf.errors import UsageError, how_to_install

__all__ = ["train"]


def train(
    config: Annotated[Path, typer.Argument(help="TOML file that names the data and the recipe.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    init_from: Annotated[
        str | None,
        typer.Option(
            "--init-from",
            metavar="MODEL",
            help="Start from these weights, instead of the recipe's start: a shipped model or a .safetensors file.",
        ),
    ] = None,
) -> None:
    """Train a model as a TOML file says."""
    if find_spec("torch") is None:
        raise UsageError(
            "lightcrcf train",
            expected="PyTorch",
            got="an installation without it",
            remedy=how_to_install("train"),
        )
    if resume and init_from is not None:
        raise UsageError(
            "--init-from", expected="it or --resume", got="both", remedy="leave it out: the checkpoint has the weights"
        )
    from lightcrcf.training.brain.mask import is_brain_mask, load_brain_config, train_brain_mask
    from lightcrcf.training.loop import train as run

    if not is_brain_mask(config):
        with resumable("the same command with --resume"):
            run(config, resume=resume, start=init_from, log=print_message)
        return
    if resume:
        raise UsageError(
            "--resume", expected="a registration network", got="one for brain masks, which trains in less than an hour",
            remedy="leave it out",
        )  # fmt: skip
    recipe = load_brain_config(config)
    start = {} if init_from is None else {"start": Path(init_from)}
    train_brain_mask(recipe.model_copy(update=start), log=print_message)
