"""The inputs of a run: paths and checksums, to find them again and to notice changes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from lightcrcf.volumes import Volume
from lightcrcf.volumes.formats.itk_headers import data_file
from lightcrcf.volumes.origin import file_of

__all__ = ["Role", "Source", "file_options", "fingerprint", "sources_of"]

Role = Literal[
    "fixed", "moving", "fixed_mask", "moving_mask", "fixed_labels", "moving_labels", "also", "init", "model"
]  # fmt: skip

_CHUNK = 1 << 20
# Formats that keep their voxels in another file, as a rule of the same stem.
_DETACHED = (".hdr", ".img", ".mhd", ".nhdr")
_NAMED = (".mhd", ".nhdr")  # of them, those whose header names that file


@dataclass(frozen=True, kw_only=True)
class Source:
    """An input of a run: a file, a folder, or something in memory.

    Args:
        role: of the input.
        path: absolute; None for something in memory.
        sha256: see `fingerprint`; None for something in memory.
    """

    role: Role
    path: str | None
    sha256: str | None


def sources_of(items: Iterable[tuple[str, Any]]) -> tuple[Source, ...]:
    """Return the sources of a run.

    Args:
        items: (role, input); a path names a file or a folder, anything else is in memory, None is left out.
    """
    return tuple(_source(cast(Role, role), item) for role, item in items if item is not None)


def file_options(model: str | os.PathLike[str], init: str | os.PathLike[str]) -> list[tuple[str, Any]]:
    """Return the options that name files, for `sources_of`.

    Example:
        >>> file_options("brain", "start.tfm")
        [('init', 'start.tfm')]
    """
    files = [("model", model)] if os.fspath(model).endswith(".safetensors") else []
    return [*files, *([("init", init)] if os.fspath(init) not in ("auto", "none") else [])]


def _source(role: Role, item: Any) -> Source:
    if isinstance(item, Volume):
        item = file_of(item)  # that the caller has read
    if not isinstance(item, str | os.PathLike):
        return Source(role=role, path=None, sha256=None)
    path = os.path.abspath(item)  # noqa: PTH100 - a link stays the link that was named
    return Source(role=role, path=path, sha256=fingerprint(path))


def fingerprint(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of an input, in hexadecimal digits.

    For a file it is taken over its bytes; for a header with detached voxels (.hdr, .mhd, .nhdr), the file with
    these included, and for a folder (without folders below it) over a list of names and the SHA-256 of each file.

    Raises:
        OSError: if something cannot be read.
        InputError: if a header names a data file that is not there.
    """
    path = Path(path)
    if path.is_dir():
        return _of_many(p for p in path.iterdir() if p.is_file())
    if path.name.lower().removesuffix(".gz").endswith(_DETACHED):
        stem = path.name.split(".")[0]
        beside = {p for p in path.parent.glob(f"{_escaped(stem)}.*") if p.is_file()}
        return _of_many(beside | {data_file(path)} if path.suffix.lower() in _NAMED else beside)
    return _of_file(path)


def _escaped(stem: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in stem)


def _of_many(paths: Iterable[Path]) -> str:
    lines = (f"{_of_file(path)}  {path.name}\n" for path in sorted(paths))
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _of_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
