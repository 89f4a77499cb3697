"""Weights of the network for brain extraction."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightcrcf.errors import InputError
from lightcrcf.network.brain_config import CONVOLUTIONS
from lightcrcf.weights.checksums import update_checksums, verify_checksum
from lightcrcf.weights.store import BRAIN_MODEL, parse_tensors, read_tensors, write_tensors

__all__ = ["brain_weights", "read_brain_weights", "write_brain_weights"]

_FORMAT = "lightcrcf-brain-1"
Arrays = dict[str, NDArray[np.float32]]


@cache
def brain_weights() -> Arrays:
    """Return the shipped weights: "NAME.weight" (O, I, 3, 3, 3) and "NAME.bias" (O,) of each convolution.

    Raises:
        InputError: if the file is damaged, or its checksum differs.
    """
    name = f"{BRAIN_MODEL}.safetensors"
    content = (resources.files("lightcrcf.weights") / "models" / name).read_bytes()
    verify_checksum(name, content)
    return _checked(*parse_tensors(content, name), name)


def read_brain_weights(path: Path) -> Arrays:
    """Read weights that `write_brain_weights` wrote.

    Raises:
        InputError: if the file is missing or damaged, or holds other weights.
    """
    return _checked(*read_tensors(path), str(path))


def _checked(arrays: Arrays, metadata: Mapping[str, str], source: str) -> Arrays:
    shapes = {key: array.shape for key, array in arrays.items()}
    if metadata.get("format") != _FORMAT or shapes != _shapes():
        raise InputError(
            source, expected="weights of the network that finds brains", got="others",
            remedy="give a file that a recipe of the task brain-mask left",
        )  # fmt: skip
    return arrays


def write_brain_weights(path: Path, arrays: Mapping[str, NDArray[Any]], *, name: str) -> None:
    """Write trained weights in the format of the shipped ones."""
    write_tensors(path, {k: np.asarray(v, np.float32) for k, v in arrays.items()}, {"format": _FORMAT, "name": name})
    update_checksums(path.parent)


def _shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (inputs, outputs, _) in CONVOLUTIONS.items():
        shapes |= {f"{name}.weight": (outputs, inputs, 3, 3, 3), f"{name}.bias": (outputs,)}
    return shapes
