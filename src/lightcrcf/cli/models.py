"""`lightcrcf models`: the models that come with the package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lightcrcf.cli.console import print_json, print_table

if TYPE_CHECKING:
    from lightcrcf.weights.store import Weights

__all__ = ["app"]

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]

app = typer.Typer(help="List and describe models.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_models(json: Json = False) -> None:
    """List the models that come with the package."""
    from lightcrcf.weights.store import load, names

    models = [load(name) for name in names()]
    if json:
        print_json([_facts(model) for model in models])
        return
    rows = [(m.name, m.content, f"{m.spacing_mm:g}", m.parameters) for m in models]
    print_table(("model", "made for", "spacing, mm", "parameters"), rows)


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


def _facts(model: Weights) -> dict[str, Any]:
    return {
        "name": model.name,
        "made_for": model.content,
        "spacing_mm": model.spacing_mm,
        "parameters": model.parameters,
        "sha256": model.sha256,
    }
