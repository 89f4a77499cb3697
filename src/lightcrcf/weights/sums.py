"""The SHA-256 of every shipped model, kept beside them: weights that changed since are not taken for them.

`store.write_weights` keeps the list current; after a model was copied there, `python -m lightcrcf.weights.sums` does.
"""

from __future__ import annotations

import hashlib
import sys
from importlib import resources
from pathlib import Path
from typing import Any

from lightcrcf.errors import InputError

__all__ = ["check_sum", "listed", "main", "renew", "sums_of"]

_LIST = "SHA256SUMS"


def check_sum(name: str, content: bytes, sums: dict[str, str] | None = None) -> None:
    """Refuse weights of a shipped model that are not those that were shipped.

    Args:
        name: of the file.
        content: its bytes.
        sums: SHA-256 by file name; those of the package by default.

    Raises:
        InputError: if they are others, or the file is in no list.
    """
    told = (listed() if sums is None else sums).get(name)
    found = hashlib.sha256(content).hexdigest()
    if found != told:
        raise InputError(
            name,
            expected=f"shipped weights, SHA-256 {told[:12]}..." if told else "weights that SHA256SUMS lists",
            got=f"{found[:12]}...",
            remedy="install LightCRCF again; if you trained them anew, run `python -m lightcrcf.weights.sums`",
        )


def listed() -> dict[str, str]:
    """SHA-256 by file name, as the package lists them in the format of `sha256sum`."""
    lines = (_models() / _LIST).read_text(encoding="ascii").splitlines()
    return {name: digest for digest, name in (line.split(maxsplit=1) for line in lines)}


def sums_of(folder: Path) -> str:
    """The list for the models in a folder."""
    models = sorted(folder.glob("*.safetensors"))
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in models)


def renew(folder: Path) -> None:
    """Bring the list of a folder up to date, if it has one: after a model was written there."""
    if (folder / _LIST).is_file():
        (folder / _LIST).write_text(sums_of(folder), encoding="ascii")


def main() -> int:
    """Write the list of the models that lie in the package; returns the exit code."""
    renew(Path(str(_models())))
    return 0


def _models() -> Any:
    return resources.files("lightcrcf.weights") / "models"


if __name__ == "__main__":
    sys.exit(main())
