"""`lightcrcf export`: a model for other runtimes."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from lightcrcf.cli.console import print_json, print_message

__all__ = ["export"]


class Format(str, Enum):
    """Format of the file."""

    onnx = "onnx"


def export(
    name: Annotated[str, typer.Argument(help="A name from `lightcrcf models list`, or a .safetensors file.")],
    form: Annotated[Format, typer.Option("--format", help="Of the file.")] = Format.onnx,
    output: Annotated[Path | None, typer.Option(help="File to write [default: NAME.onnx in this folder].")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print what was written on stdout.")] = False,
) -> None:
    """Write a model's network as one ONNX graph, warps included, for images of any size."""
    from lightcrcf.engines.onnx import OPSET, onnx_bytes
    from lightcrcf.files import atomic_path
    from lightcrcf.weights.store import load

    weights = load(name)
    path = output or Path(f"{weights.name}.{form.value}")
    content = onnx_bytes(weights)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    if json:
        print_json({"output": str(path), "format": form.value, "operator_set": OPSET, "model_sha256": weights.sha256})
    else:
        print_message(f"{weights.name}, ONNX operator set {OPSET}: {path}")
