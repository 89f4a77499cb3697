"""Checksums of the shipped models; weights that do not match are refused.

`store.write_weights` updates the list; after copying a model, run `python -m lightcrcf.weights.checksums`.
"""

from __future__ import annotations

import hashlib
import sys
from importlib import resources
from pathlib import Path
from typing import Any

from lightcrcf.errors import InputError

__all__ = ["format_checksums", "main", "read_checksums", "update_checksums", "verify_checksum"]

_FILE_NAME = "SHA256SUMS"


def verify_checksum(name: str, content: bytes, sums: dict[str, str] | None = None) -> None:
    """Refuse weights that differ from those that were shipped.

    Args:
        name: of the file.
        content: bytes of the file.
        sums: SHA-256 by file name; those of the package by default.

    Raises:
        InputError: if the checksum differs, or the list lacks the file.
    """
    expected_sum = (read_checksums() if sums is None else sums).get(name)
    found = hashlib.sha256(content).hexdigest()
    if found != expected_sum:
        raise InputError(
            name,
            expected=f"shipped weights, SHA-256 {expected_sum[:12]}..."
            if expected_sum
            else "weights that SHA256SUMS lists",
            got=f"{found[:12]}...",
            remedy="install LightCRCF again; if you trained them anew, run `python -m lightcrcf.weights.checksums`",
        )


def read_checksums() -> dict[str, str]:
    """Return the SHA-256 of the shipped models by file name; the list has the format of `sha256sum`."""
    lines = (_models() / _FILE_NAME).read_text(encoding="ascii").splitlines()
    return {name: digest for digest, name in (line.split(maxsplit=1) for line in lines)}


def format_checksums(folder: Path) -> str:
    """Return the list for the models in a folder."""
    models = sorted(folder.glob("*.safetensors"))
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in models)


def update_checksums(folder: Path) -> None:
    """Update the list of a folder, if it has one, after a model was written."""
    if (folder / _FILE_NAME).is_file():
        (folder / _FILE_NAME).write_text(format_checksums(folder), encoding="ascii")


def main() -> int:
    """Write the list of the models in the package, and return the exit code."""
    update_checksums(Path(str(_models())))
    return 0


def _models() -> Any:
    return resources.files("lightcrcf.weights") / "models"


if __name__ == "__main__":
    sys.exit(main())
