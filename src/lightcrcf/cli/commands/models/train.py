"""`lightcrcf train`: train a model on your own volumes."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from lightcrcf.cli.console import print_message
from lightcrcf.errors import UsageError, how_to_install

__all__ = ["train"]


def train(
    config: Annotated[Path, typer.Argument(help="TOML file that names the data and the recipe.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
) -> None:
    """Train a model as a TOML file says."""
    if find_spec("torch") is None:
        raise UsageError(
            "lightcrcf train",
            expected="PyTorch",
            got="an installation without it",
            remedy=how_to_install("train"),
        )
    from lightcrcf.training.brain.mask import is_brain_mask, load_brain_config, train_brain_mask
    from lightcrcf.training.loop import train as run

    if not is_brain_mask(config):
        run(config, resume=resume, log=print_message)
        return
    if resume:
        raise UsageError(
            "--resume", expected="a registration network", got="one for brain masks, which trains in less than an hour",
            remedy="leave it out",
        )  # fmt: skip
    train_brain_mask(load_brain_config(config), log=print_message)
