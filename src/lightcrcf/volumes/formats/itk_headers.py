"""Checks of the text headers of NRRD and MetaImage before ITK reads the voxels."""

from __future__ import annotations

import os
import re
from pathlib import Path

from lightcrcf.errors import InputError
from lightcrcf.files import check_readable, open_binary

__all__ = ["data_file", "image_io", "stored_bytes"]

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
        InputError: as `data_file`, or if that is unreadable.
    """
    name, packed = _named(path)
    data = _beside(Path(path), name)
    check_readable(data)
    return data.stat().st_size, packed


def data_file(path: str | os.PathLike[str]) -> Path:
    """Return the file that holds the voxels: the header's own, or the one that it names in its folder.

    Raises:
        InputError: if the header names several files, one in another folder, or one that is missing.
    """
    return _beside(Path(path), _named(path)[0])


def _beside(path: Path, name: str) -> Path:
    """Return the data file of this name beside a header, or the header itself for LOCAL."""
    if name.upper() == "LOCAL":
        return path
    if name.upper().startswith("LIST") or "%" in name:
        raise _wrong_data_file(
            path, "one data file", f"a list of files ({name})", "convert it to .nrrd, .mha or .nii.gz"
        )
    if Path(os.path.normpath(name)).name != os.path.normpath(name):
        raise _wrong_data_file(path, "a data file in the folder of its header", name, "put both into one folder")
    data = path.parent / name
    if not data.is_file():
        raise _wrong_data_file(path, f"its data file {name} beside it", "none", "copy both files")
    return data


def _named(path: str | os.PathLike[str]) -> tuple[str, bool]:
    """Return the data file that a header names, LOCAL for itself, and whether the voxels may be compressed."""
    head = _head(path)
    fields: dict[str, str]
    if head.startswith("NRRD000"):
        fields = dict(re.findall(r"^([^:\n]+): (.*?)\r?$", head.split("\n\n")[0], re.MULTILINE))
        return fields.get("data file", fields.get("datafile", "LOCAL")), fields.get("encoding", "raw") != "raw"
    fields = dict(re.findall(r"^(\w+)\s*=[ \t]*(.*?)\r?$", head, re.MULTILINE))
    packed = fields.get("CompressedData", "False").lower().startswith("t") or "NDims" not in fields
    return fields.get("ElementDataFile", "LOCAL"), packed


def _wrong_data_file(path: Path, expected: str, got: str, remedy: str) -> InputError:
    return InputError(str(path), expected=expected, got=got, remedy=remedy)


def _head(path: str | os.PathLike[str]) -> str:
    with open_binary(path) as stream:
        return stream.read(_HEAD).decode("latin-1")
