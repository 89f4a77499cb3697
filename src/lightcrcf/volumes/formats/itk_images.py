"""Conversion between volumes and SimpleITK images: the only place with ITK's LPS world and (z, y, x) arrays."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

import numpy as np
import SimpleITK as sitk

from lightcrcf.errors import InputError
from lightcrcf.files import atomic_path
from lightcrcf.volumes.arrays import array_volume, to_storable
from lightcrcf.volumes.formats.itk_headers import image_io, stored_bytes
from lightcrcf.volumes.limits import check_memory, check_shape, check_stored
from lightcrcf.volumes.volume import Volume

__all__ = ["check_scalar", "from_image", "quiet", "read_image", "reason", "to_image", "write_image"]

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # RAS+ to LPS+ and back
_stderr = threading.RLock()


@contextmanager
def quiet() -> Iterator[list[str]]:
    """Capture what ITK's C++ code prints to standard error; the list holds the lines after the block.

    The file descriptor of the process is redirected, for all threads. Other callers wait.
    """
    printed: list[str] = []
    with _stderr, TemporaryFile() as sink:
        try:
            saved = os.dup(2)
        except OSError:  # standard error is closed
            yield printed
            return
        try:
            os.dup2(sink.fileno(), 2)
            yield printed
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            sink.seek(0)
            printed.extend(sink.read().decode(errors="replace").splitlines())


def reason(error: Exception) -> str:
    """Return the last line of an ITK message, which is the specific one, shortened and without addresses in memory."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return re.sub(r"^ITK ERROR: |\(0x[0-9a-f]+\)", "", lines[-1])[-160:] if lines else type(error).__name__


def read_image(path: str | os.PathLike[str]) -> Volume:
    """Read a 3-D volume from any file that ITK reads (NRRD, MHA, MHD, ...).

    Raises:
        InputError: if it cannot be read, or is not a 3-D scalar volume with a usable geometry.
        MemoryEstimateError: if it would not fit into memory.
    """
    source = str(path)
    stored, packed = stored_bytes(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(source)
    reader.SetImageIO(image_io(path))
    try:
        with quiet():
            reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(source, error) from error
    shape = check_shape(source, reader.GetSize())
    itemsize = check_scalar(source, reader)
    needed = check_stored(source, shape, itemsize, stored=stored, compressed=packed)
    check_memory(source, 2 * needed)  # ITK's buffer and the array
    try:
        with quiet() as printed:
            image = reader.Execute()
    except RuntimeError as error:
        raise _unreadable(source, error) from error
    if reader.GetImageIO() == "MetaImageIO" and printed:  # of data that do not decompress, for which it returns zeros
        raise _unreadable(source, RuntimeError(printed[-1]))
    return from_image(image, source)


def _unreadable(source: str, error: Exception) -> InputError:
    return InputError(
        source,
        expected="a whole image file (NIfTI, NRRD, MHA, MHD, MGZ) or a folder with a DICOM series",
        got=f"what ITK cannot read ({reason(error)})",
        remedy="copy it again or convert it",
    )


def check_scalar(source: str, image: Any) -> int:
    """Return the bytes per pixel of a SimpleITK image or reader.

    Raises:
        InputError: if it has several components or is complex.
    """
    count = getattr(image, "GetNumberOfComponentsPerPixel", None) or image.GetNumberOfComponents
    kind = sitk.GetPixelIDValueAsString(image.GetPixelID())
    itemsize = next((int(n) // 8 for n in ("8", "16", "32", "64") if kind.startswith(f"{n}-bit")), 0)
    if count() != 1 or itemsize == 0 or ("integer" not in kind and "float" not in kind):
        raise InputError(
            source,
            expected="one real number per voxel",
            got=f"{count()} components, {kind}",
            remedy="convert it to a grey-scale volume",
        )
    return itemsize


def from_image(image: sitk.Image, source: str) -> Volume:
    """Return a volume of a SimpleITK image: array axes i, j, k, world RAS+ mm.

    Raises:
        InputError: if it is not a 3-D scalar volume with a usable geometry.

    Example:
        >>> image = sitk.Image((5, 7, 11), sitk.sitkInt16)
        >>> image.SetOrigin((1.0, 2.0, 3.0))
        >>> volume = from_image(image, "image")
        >>> volume.data.shape, volume.grid.world([0, 0, 0]).tolist()
        ((5, 7, 11), [-1.0, -2.0, 3.0])
    """
    check_shape(source, image.GetSize())
    check_scalar(source, image)
    n = image.GetDimension()
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (n, n))[:3, :3] * image.GetSpacing()[:3]
    affine[:3, 3] = image.GetOrigin()[:3]
    return array_volume(sitk.GetArrayFromImage(image).T, _LPS @ affine, source)


def to_image(volume: Volume) -> sitk.Image:
    """Return a SimpleITK image of a volume; the inverse of `from_image`.

    Example:
        >>> image = to_image(from_image(sitk.Image((5, 7, 11), sitk.sitkInt16), "image"))
        >>> image.GetSize(), image.GetDirection()[:4]
        ((5, 7, 11), (1.0, 0.0, 0.0, 0.0))
    """
    image = sitk.GetImageFromArray(np.ascontiguousarray(to_storable(volume.data).T))
    affine = _LPS @ volume.grid.affine
    image.SetSpacing(volume.grid.spacing_mm.tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((affine[:3, :3] / volume.grid.spacing_mm + 0.0).ravel().tolist())  # + 0.0: no negative zeros
    return image


def write_image(path: str | os.PathLike[str], volume: Volume) -> None:
    """Write a volume through ITK in the format that the name ends in; a .mhd comes with its .raw.

    Raises:
        InputError: if it cannot be written.
    """
    image = to_image(volume)
    if Path(path).suffix.lower() != ".mhd":
        with atomic_path(path) as temporary:
            _write(image, temporary, path)
        return
    # The header contains the name of the data file, so both are written under their final names in a folder first.
    raw = Path(path).with_suffix(".raw")
    with atomic_path(path) as header, atomic_path(raw) as data, TemporaryDirectory(dir=header.parent) as folder:
        _write(image, Path(folder, Path(path).name), path)
        Path(folder, raw.name).replace(data)
        Path(folder, Path(path).name).replace(header)


def _write(image: sitk.Image, temporary: Path, path: str | os.PathLike[str]) -> None:
    try:
        with quiet():
            sitk.WriteImage(image, str(temporary), useCompression=False)
    except RuntimeError as error:
        raise InputError(
            str(path),
            expected="a place that can be written to",
            got=reason(error).replace(str(temporary), str(path)),
            remedy="check the folder and the free space",
        ) from error
