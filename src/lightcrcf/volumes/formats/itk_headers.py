"""Checks of the text headers of NRRD and MetaImage before ITK reads the voxels."""

from __future__ import annotations

import os
import re
from pathlib import Path

from lightcrcf.errors import InputError
from lightcrcf.files import check_readable, open_binary

__all__ = ["image_io", "stored_bytes"]

_HEAD = 1 << 16


def image_io(path: str | os.PathLike[str]) -> str:
    """Return the name of the ITK reader for the content; "" leaves the choice to ITK.

    Raises:
        InputError: if the file is missing or cannot be read, or has a number of axes that ITK hangs on.
    """
    head = _head(path)
    if head.startswith("NRRD000"):
        return "NrrdImageIO"
    if axes := re.findall(r"^NDims\s*=[ \t]*(.*?)\s*$", head, re.MULTILINE):
        if wrong := [value for value in axes if not re.fullmatch(r"[1-9]|10", value)]:
            raise InputError(
                str(path), expected="NDims from 1 to 10", got=wrong[0][:40], remedy="the header is damaged"
            )
        return "MetaImageIO"
    return "GDCMImageIO" if head[128:132] == "DICM" else ""


def stored_bytes(path: str | os.PathLike[str]) -> tuple[int, bool]:
    """Return the size in bytes of the file that holds the voxels, and whether they may be compressed.

    Raises:
        InputError: if the header names a data file that is missing or unreadable.
    """
    head = _head(path)
    fields: dict[str, str]
    if head.startswith("NRRD000"):
        fields = dict(re.findall(r"^([^:\n]+): (.*?)\r?$", head.split("\n\n")[0], re.MULTILINE))
        name = fields.get("data file", fields.get("datafile", "LOCAL"))
        packed = fields.get("encoding", "raw") != "raw"
    else:
        fields = dict(re.findall(r"^(\w+)\s*=[ \t]*(.*?)\r?$", head, re.MULTILINE))
        name = fields.get("ElementDataFile", "LOCAL")
        packed = fields.get("CompressedData", "False").lower().startswith("t") or "NDims" not in fields
    return _size(Path(path), name), packed


def _head(path: str | os.PathLike[str]) -> str:
    with open_binary(path) as stream:
        return stream.read(_HEAD).decode("latin-1")


def _size(path: Path, name: str) -> int:
    if name.upper() == "LOCAL":
        return path.stat().st_size
    if name.upper().startswith("LIST") or "%" in name:
        raise InputError(
            str(path),
            expected="one data file",
            got=f"a list of files ({name})",
            remedy="convert it to .nrrd, .mha or .nii.gz",
        )
    data = path.parent / name
    if not data.is_file():
        raise InputError(str(path), expected=f"its data file {name} beside it", got="none", remedy="copy both files")
    check_readable(data)
    return data.stat().st_size
