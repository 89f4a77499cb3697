"""Which files a run was made from, and their SHA-256: what it takes to find them again and to see that they changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lightcrcf.volumes import Volume

__all__ = ["fingerprint", "named_options", "named_sources"]

_CHUNK = 1 << 20
# These keep their voxels in another file of the same stem.
_DETACHED = (".hdr", ".img", ".mhd", ".nhdr")


def named_sources(items: Iterable[tuple[str, Any]]) -> list[dict[str, Any]]:
    """What `run.json` says of everything that came from outside.

    Args:
        items: (role, what was given); a path names a file or a folder, anything else was in memory.

    Returns:
        for each the role, and the absolute path and its SHA-256, both None for what was in memory.
    """
    return [_source(role, given) for role, given in items if given is not None]


def named_options(model: str | os.PathLike[str], init: str | os.PathLike[str]) -> list[tuple[str, Any]]:
    """The options that name files, for `named_sources`.

    Example:
        >>> named_options("brain-t1", "start.tfm")
        [('init', 'start.tfm')]
    """
    files = [("model", model)] if os.fspath(model).endswith(".safetensors") else []
    return [*files, *([("init", init)] if os.fspath(init) not in ("auto", "none") else [])]


def _source(role: str, given: Any) -> dict[str, Any]:
    if isinstance(given, Volume) and Path(given.source).exists():
        given = given.source  # a file that the caller has read
    if not isinstance(given, str | os.PathLike):
        return {"role": role, "path": None, "sha256": None}
    path = os.path.abspath(given)  # noqa: PTH100 - a link stays the link that was named
    return {"role": role, "path": path, "sha256": fingerprint(path)}


def fingerprint(path: str | os.PathLike[str]) -> str:
    """SHA-256 of what a reader of `path` sees, in hexadecimal digits.

    Of a file it is that of its bytes; of a header with its voxels elsewhere (.hdr, .mhd, .nhdr), and of a folder (not
    of folders below it), that of a list of names and the SHA-256 of each file.

    Raises:
        OSError: if something cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        return _of_many(p for p in path.iterdir() if p.is_file())
    if path.name.lower().removesuffix(".gz").endswith(_DETACHED):
        stem = path.name.split(".")[0]
        return _of_many(p for p in path.parent.glob(f"{_escaped(stem)}.*") if p.is_file())
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
