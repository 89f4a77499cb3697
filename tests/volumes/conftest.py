from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

SHAPE = (5, 7, 11)
SPACING = (1.5, 2.0, 3.25)
OFFSET = (-17.0, 23.5, 41.0)

# Columns: where the array axes point, in RAS.
_AXES = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}


def directions(name: str) -> np.ndarray:
    if name != "oblique":
        return np.array([_AXES[letter] for letter in name], dtype=float).T
    turn = np.deg2rad(20)
    c, s = np.cos(turn), np.sin(turn)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) * (1, -1, 1)


@pytest.fixture(params=["RAS", "LAS", "LPS", "ASL", "oblique"])
def affine(request: pytest.FixtureRequest) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = directions(request.param) * SPACING
    matrix[:3, 3] = OFFSET
    return matrix


@pytest.fixture
def data() -> np.ndarray:
    """Noise in (5, 7, 11) int16 with the one voxel of value 3000 at (1, 4, 9)."""
    values = np.random.default_rng(3).integers(-900, 900, SHAPE).astype(np.int16)
    values[1, 4, 9] = 3000
    return values


@pytest.fixture(scope="session")
def write_series() -> Callable[..., None]:
    """Write DICOM slices with SimpleITK, called as `_write_series` below."""
    return _write_series


def _write_series(
    folder: Path,
    array: np.ndarray,
    affine: np.ndarray,
    *,
    uid: int = 1,
    skip: tuple[int, ...] = (),
    tilt_mm: float = 0,
    compress: bool = False,
) -> None:
    folder.mkdir(exist_ok=True)
    lps = np.diag([-1.0, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    turn = lps[:3, :3] / spacing
    series = f"1.2.826.0.1.3680043.2.1125.{uid}"
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetUseCompression(compress)
    writer.SetCompressor("JPEG")  # lossless; the JPEG 2000 encoder crashes on images this small
    for k in set(range(array.shape[2])) - set(skip):
        image = sitk.GetImageFromArray(np.ascontiguousarray(array[:, :, k : k + 1].T))
        position = lps[:3, 3] + k * (lps[:3, 2] + tilt_mm * turn[:, 1])
        image.SetSpacing(spacing.tolist())
        image.SetOrigin(position.tolist())
        image.SetDirection(turn.ravel().tolist())
        tags = {
            "0008|0060": "MR",
            "0008|0018": f"{series}.{k + 1}",
            "0008|103e": f"T1 number {uid}",
            "0020|000d": "1.2.826.0.1.3680043.2.1125.9",
            "0020|000e": series,
            "0020|0013": str(k),
            "0020|0032": "\\".join(f"{x:.8f}" for x in position),
            "0020|0037": "\\".join(f"{x:.8f}" for x in turn[:, :2].T.ravel()),
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{uid}_{99 - k}.dcm"))  # names in the wrong order: positions count
        writer.Execute(image)
