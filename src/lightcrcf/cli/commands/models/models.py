"""`lightcrcf models`: the models that come with the package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lightcrcf.cli.app import App
from lightcrcf.cli.console import print_json, print_message, print_table

if TYPE_CHECKING:
    from lightcrcf.weights.store import Weights

__all__ = ["app"]

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]

app = App(help="List and describe models.", no_args_is_help=True)


@app.command("list")
def list_models(json: Json = False) -> None:
    """List the models that come with the package."""
    from lightcrcf.weights.store import load, names

    models = [load(name) for name in names()]
    if json:
        print_json([_facts(model) for model in models])
        return
    rows = [(m.name, m.content, _spacing(m), _facts(m)["trained_with"], m.parameters) for m in models]
    print_table(("model", "made for", "spacing, mm", "trained with", "parameters"), rows)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A name from `lightcrcf models list`, or a .safetensors file.")],
    json: Json = False,
) -> None:
    """Print a model's card: data, terms, recipe, figures, limits."""
    from lightcrcf.weights.store import load

    model = load(name)
    if json:
        print_json({**_facts(model), "card": model.card})
        return
    typer.echo(model.card or f"{model.name}: a file without a card")
    print_table(("fact", "value"), _facts(model).items(), numbers=False)


@app.command("add-template")
def add_template(
    name: Annotated[str, typer.Argument(help="A name from `lightcrcf models list`, or a .safetensors file.")],
    template: Annotated[Path, typer.Argument(help="An image that `lightcrcf template` made.")],
    output: Annotated[Path, typer.Option(help="File to write, .safetensors.")],
    json: Json = False,
) -> None:
    """Give a model a template, via which --preset accurate has one more candidate field."""
    from lightcrcf.errors import UsageError
    from lightcrcf.registration.template_path import make_template
    from lightcrcf.volumes import read
    from lightcrcf.weights.store import load, write_weights

    if output.suffix != ".safetensors":
        raise UsageError(
            "--output", expected="a file that ends in .safetensors", got=str(output), remedy="add the ending"
        )
    model = load(name)
    write_weights(
        output, model.arrays, name=model.name, config=model.config, preparation=model.preparation,
        content=model.content, profile=model.profile, supervision=model.supervision,
        template=make_template(read(template), model),
    )  # fmt: skip
    if json:
        print_json({"output": str(output), **_facts(load(str(output)))})
    else:
        print_message(f"{model.name} with the template {template}: {output}")


def _spacing(model: Weights) -> str:
    spacing = model.preparation.spacing_mm
    return "as the image" if spacing is None else " x ".join(f"{s:g}" for s in dict.fromkeys(spacing))


def _facts(model: Weights) -> dict[str, Any]:
    from lightcrcf.network.config import multiply_adds

    return {
        "name": model.name,
        "made_for": model.content,
        "spacing_mm": model.preparation.spacing_mm,
        "trained_with": "images and labels" if model.supervision == "labels" else "images only",
        "parameters": model.parameters,
        "giga_multiply_adds": round(multiply_adds(model.config, (160, 192, 160)) / 1e9, 2),
        "template": None if model.template is None else model.template.grid.shape,
        "sha256": model.sha256,
    }
