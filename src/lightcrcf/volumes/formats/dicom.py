"""Reading of a folder with one DICOM series."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from lightcrcf.errors import InputError
from lightcrcf.volumes.formats.itk_images import check_scalar, from_image, quiet, reason
from lightcrcf.volumes.limits import check_memory, check_stored
from lightcrcf.volumes.volume import Volume

__all__ = ["read_series"]

_POSITION, _DESCRIPTION = "0020|0032", "0008|103e"
_META = 4096  # bytes of a file that hold its file meta header, some hundred bytes long
_LARGEST_OFFSET = 0.1  # of the slice spacing: scanners round positions; a missing slice or a tilt exceeds this


def read_series(folder: str | os.PathLike[str]) -> Volume:
    """Read the only DICOM series of a folder (not of folders below it).

    Raises:
        InputError: if there is none or more than one, slices are missing or unevenly spaced, the gantry was tilted, or
            the pixels are colours.
        MemoryEstimateError: if the voxels would not fit into memory.
    """
    source = str(folder)
    names = _files(source, _only_series(source))
    _check_complete(Path(folder), names)
    _check_memory(source, names)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(names)
    reader.SetImageIO("GDCMImageIO")
    reader.MetaDataDictionaryArrayUpdateOn()
    try:
        with quiet():
            image = reader.Execute()
    except RuntimeError as error:
        raise _unreadable(source, error) from error
    if len(names) > 1:
        _check_positions(source, reader, image)
    return from_image(image, source)


def _only_series(source: str) -> str:
    try:
        with quiet():
            found = sitk.ImageSeriesReader.GetGDCMSeriesIDs(source)
    except RuntimeError as error:
        raise _unreadable(source, error) from error
    if len(found) == 1:
        return str(found[0])
    if not found:
        _check_permissions(Path(source))
    listed = ", ".join(_describe(source, series) for series in found[:8]) + (", ..." if len(found) > 8 else "")
    raise InputError(
        source,
        expected="a folder with one DICOM series",
        got=f"{len(found)} series: {listed}" if found else "no DICOM images",
        remedy="give a folder with one series"
        if found
        else "give a file, or the folder that holds the slices themselves",
    )


def _check_permissions(folder: Path) -> None:
    """Raise PermissionError for a file that may not be read, which GDCM skips without a word."""
    for path in filter(Path.is_file, folder.iterdir()):
        path.open("rb").close()


def _files(source: str, series: str) -> tuple[str, ...]:
    """Return the files of a series, in slice order."""
    try:
        with quiet():
            names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(source, series)
    except RuntimeError as error:
        raise _unreadable(source, error) from error
    if not names:
        raise _unreadable(source, RuntimeError(f"no readable slices in series {series}"))
    return tuple(names)


def _check_complete(folder: Path, names: tuple[str, ...]) -> None:
    """Refuse a folder of which GDCM left out a damaged slice: a DICOM file of the class of those that it can read.

    GDCM skips what it cannot read without a word, such as the last slice if that is cut off.
    """
    classes = {b"", _storage_class(Path(names[0]))}
    read = {Path(name).name for name in names}
    for path in sorted(folder.iterdir()):
        if path.name not in read and path.is_file() and _storage_class(path) in classes:
            raise InputError(
                str(path),
                expected="a whole DICOM file",
                got="one that is cut off or damaged",
                remedy="export the series again",
            )


def _storage_class(path: Path) -> bytes | None:
    """Return the SOP class UID of a DICOM file, empty if it has none; None for other files."""
    with path.open("rb") as stream:
        head = stream.read(_META)
    if head[128:132] != b"DICM":
        return None
    found = re.search(rb"\x02\x00\x02\x00UI..([0-9.]*)", head[132:], re.DOTALL)
    return found[1] if found else b""


def _describe(source: str, series: str) -> str:
    names = _files(source, series)
    text = _information(source, names[0])[1]
    return f"{text or series} ({len(names)} files, such as {Path(names[0]).name})"


def _information(source: str, name: str) -> tuple[sitk.ImageFileReader, str]:
    reader = sitk.ImageFileReader()
    reader.SetFileName(name)
    reader.SetImageIO("GDCMImageIO")
    try:
        with quiet():
            reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(source, error) from error
    return reader, reader.GetMetaData(_DESCRIPTION).strip() if reader.HasMetaDataKey(_DESCRIPTION) else ""


def _unreadable(source: str, error: Exception) -> InputError:
    return InputError(source, expected="a whole DICOM series", got=reason(error), remedy="export the series again")


def _check_memory(source: str, names: tuple[str, ...]) -> None:
    first = _information(source, names[0])[0]
    itemsize = check_scalar(source, first)
    shape = (*first.GetSize(), len(names))
    stored = sum(Path(name).stat().st_size for name in names)
    check_memory(source, 2 * check_stored(source, shape, itemsize, stored=stored, compressed=True))


def _check_positions(source: str, reader: sitk.ImageSeriesReader, image: sitk.Image) -> None:
    """Refuse slices whose positions do not lie on a regular grid."""
    count = image.GetSize()[2]
    positions = np.array([_position(reader, k) for k in range(count)])
    lost = int(np.isnan(positions).any(axis=1).sum())
    if lost:
        raise InputError(
            source,
            expected="slices with positions",
            got=f"{lost} of {count} without",
            remedy="export the original series, or convert it with dcm2niix",
        )
    grid = np.array([image.TransformIndexToPhysicalPoint((0, 0, k)) for k in range(count)])
    apart = float(np.linalg.norm(positions - grid, axis=1).max())
    if apart > _LARGEST_OFFSET * image.GetSpacing()[2]:
        raise InputError(
            source,
            expected="evenly spaced slices, stacked at a right angle",
            got=f"slices up to {apart:.2g} mm off (missing slices, several time points, or a tilted gantry)",
            remedy="export the whole series, or convert it with dcm2niix",
        )


def _position(reader: sitk.ImageSeriesReader, k: int) -> tuple[float, ...]:
    """Return the position of slice k in its header, or NaN."""
    text = reader.GetMetaData(k, _POSITION) if reader.HasMetaDataKey(k, _POSITION) else ""
    try:
        x, y, z = (float(number) for number in text.split("\\"))
    except ValueError:
        return (float("nan"),) * 3
    return x, y, z
