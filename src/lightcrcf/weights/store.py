"""Reading and writing of weights as safetensors files; pickle is never used."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as parse
from safetensors.numpy import save as serialise

from lightcrcf.errors import InputError, UsageError
from lightcrcf.files import atomic_path
from lightcrcf.geometry.grid import Grid
from lightcrcf.network.config import NetworkConfig, check_tensors
from lightcrcf.weights.checksums import update_checksums, verify_checksum
from lightcrcf.weights.preparation import Preparation, Profile

__all__ = [
    "BRAIN_MODEL",
    "Template",
    "Weights",
    "load",
    "names",
    "parse_tensors",
    "read_tensors",
    "write_tensors",
    "write_weights",
]

FORMAT = "lightcrcf-weights-3"
BRAIN_MODEL = "brain-mask"
"""The shipped network for brain extraction, which `load` does not read; see `weights.brain`."""
_MAX_BYTES = 64 << 20
_TEMPLATE = "template"  # name of the tensor, and prefix of its metadata
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Template:
    """The mean image of a population that a model is made for.

    Args:
        grid: shape and voxel-to-world matrix (RAS+ mm).
        data: (D, H, W) uint8.
    """

    grid: Grid
    data: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Weights:
    """A trained network, fused to plain convolutions.

    Args:
        name: of the model.
        config: of the fused network.
        arrays: float32, names as "encoder.0.weight", "levels.0.first.bias", "levels.0.head.weight".
        preparation: of pairs.
        content: description of the training images.
        profile: ranges of the training images; None if `content` alone decides whether the model suits an image.
        supervision: "labels" if its training used label maps, "none" if images only.
        sha256: of the file.
        card: model card in Markdown; empty for a file of the user.
        template: mean image for template-mediated registration in the accurate preset, if there is one.
    """

    name: str
    config: NetworkConfig
    arrays: Arrays
    preparation: Preparation
    content: str
    profile: Profile | None
    supervision: Literal["none", "labels"]
    sha256: str
    card: str = ""
    template: Template | None = None

    @property
    def parameters(self) -> int:
        """Number of trainable parameters."""
        return sum(a.size for a in self.arrays.values())


def names() -> list[str]:
    """Return the names of the shipped registration models."""
    files = (p.name for p in _shipped().iterdir() if p.name.endswith(".safetensors"))
    return sorted(name for file in files if (name := file.removesuffix(".safetensors")) != BRAIN_MODEL)


def _shipped() -> Any:
    return resources.files("lightcrcf.weights") / "models"


def load(name_or_path: str | os.PathLike[str]) -> Weights:
    """Load a shipped model by name, or a file that ends in .safetensors.

    Raises:
        UsageError: if no shipped model has this name.
        InputError: if the file is missing, damaged or no LightCRCF model, or the checksum of a shipped one differs.
    """
    text = os.fspath(name_or_path)
    if text.endswith(".safetensors"):
        path = Path(text)
        return _weights(_read_bytes(path), path.name.removesuffix(".safetensors"), text, "")
    if text not in names():
        raise UsageError(
            "model", expected=f"one of {', '.join(names()) or 'none shipped'}, or a .safetensors file", got=text,
            remedy="see `lightcrcf models list`",
        )  # fmt: skip
    card = _shipped() / f"{text}.md"
    content = (_shipped() / f"{text}.safetensors").read_bytes()
    verify_checksum(f"{text}.safetensors", content)
    return _weights(content, text, text, card.read_text(encoding="utf-8"))


def _read_bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise _invalid_file(str(path), f"{path.stat().st_size} bytes")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: an invalid path
        raise _invalid_file(str(path), getattr(error, "strerror", None) or str(error)) from None


def _invalid_file(source: str, got: str) -> InputError:
    return InputError(
        source, expected="a LightCRCF weights file (safetensors)", got=got, remedy="give a file that `train` wrote"
    )


def _metadata(content: bytes) -> dict[str, str]:
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    metadata = header.get("__metadata__", {})
    return {str(k): str(v) for k, v in metadata.items()}


def parse_tensors(content: bytes, source: str) -> tuple[Arrays, dict[str, str]]:
    """Parse tensors and metadata from the bytes of a safetensors file.

    Raises:
        InputError: if the bytes are damaged.
    """
    try:
        return parse(content), _metadata(content)
    except (SafetensorError, ValueError, AttributeError, KeyError) as error:  # KeyError: a dtype that NumPy lacks
        raise _invalid_file(source, f"unreadable content ({type(error).__name__})") from None


def _weights(content: bytes, name: str, source: str, card: str) -> Weights:
    arrays, metadata = parse_tensors(content, source)
    if metadata.get("format") != FORMAT:
        raise _invalid_file(source, f"format {metadata.get('format', 'unknown')!r}")
    try:
        config = NetworkConfig.from_dict(json.loads(metadata["config"]))
        preparation, kind = Preparation.from_json(metadata["preparation"]), metadata["content"]
        profile = Profile.from_json(metadata["profile"]) if "profile" in metadata else None
        supervision, template = _supervision(metadata["supervision"]), _template(arrays.pop(_TEMPLATE, None), metadata)
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError, InputError) as error:
        raise _invalid_file(source, f"broken metadata ({error})") from None
    check_tensors(source, config, {name: a.shape for name, a in arrays.items()})
    finite = all(a.dtype == np.float32 and np.isfinite(a).all() for a in arrays.values())
    if not finite:
        raise _invalid_file(source, "numbers that are not finite float32")
    return Weights(
        metadata.get("name", name), config, arrays, preparation, kind, profile, supervision,
        hashlib.sha256(content).hexdigest(), card, template,
    )  # fmt: skip


def _supervision(text: str) -> Literal["none", "labels"]:
    if text not in ("none", "labels"):
        raise ValueError(f"supervision {text!r}")
    return "labels" if text == "labels" else "none"


def _template(data: NDArray[Any] | None, metadata: Mapping[str, str]) -> Template | None:
    if data is None:
        return None
    if data.dtype != np.uint8 or data.ndim != 3 or not data.any():
        raise ValueError(f"a template of three axes and uint8, got {data.dtype} {data.shape}")
    affine = np.array(json.loads(metadata[f"{_TEMPLATE}_affine"]), np.float64)
    return Template(Grid(data.shape, affine), data)


def write_weights(
    path: Path,
    arrays: Mapping[str, NDArray[Any]],
    *,
    name: str,
    config: NetworkConfig,
    preparation: Preparation,
    content: str,
    profile: Profile | None = None,
    supervision: Literal["none", "labels"] = "none",
    template: Template | None = None,
) -> None:
    """Write a fused network in the format of `load`; see `Weights` for the arguments."""
    metadata = {
        "format": FORMAT,
        "name": name,
        "config": json.dumps(config.to_dict(), sort_keys=True),
        "preparation": preparation.to_json(),
        "content": content,
        "supervision": supervision,
        **({"profile": profile.to_json()} if profile else {}),
    }
    tensors: Arrays = {k: np.asarray(v, dtype=np.float32) for k, v in arrays.items()}
    if template is not None:
        tensors[_TEMPLATE] = template.data
        metadata[f"{_TEMPLATE}_affine"] = json.dumps(template.grid.affine.tolist())
    write_tensors(path, tensors, metadata)
    update_checksums(path.parent)


def write_tensors(path: Path, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> None:
    """Write tensors to a safetensors file, atomically; the same input gives the same bytes."""
    # The library writes the memory of an array and ignores its strides.
    ordered = {k: np.asarray(arrays[k], order="C") for k in sorted(arrays)}
    content = serialise(ordered)
    # The library stores metadata in random order; sort them for identical bytes.
    length = int.from_bytes(content[:8], "little")
    header = {"__metadata__": dict(sorted(metadata.items())), **json.loads(content[8 : 8 + length])}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with atomic_path(path) as temporary:
        temporary.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])


def read_tensors(path: Path) -> tuple[Arrays, dict[str, str]]:
    """Read tensors and metadata of any safetensors file.

    Raises:
        InputError: if the file is missing or damaged.
    """
    return parse_tensors(_read_bytes(path), str(path))
