"""Invariance to orientation: one pair with all axis orders must give the same points in world coordinates.

The greatest deviation is that of 1000 points of the fixed image, taken to the moving one, from where the pair as it is
takes them. Thick slices see less of the anatomy, and theirs is another, coarser registration: half of the points are
within the reported distance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from lightcrcf.geometry.grid import AxisOrder, Grid
from lightcrcf.geometry.matrices import rotation_about_axes
from lightcrcf.registration.register import Registration, register
from lightcrcf.volumes import Volume, read
from lightcrcf_bench.stress.trials import Subjects, TrialResult

__all__ = ["ORDERS", "arrange"]

Float = NDArray[np.float64]
Moves = Callable[[Float], Float]

ORDERS = tuple(
    AxisOrder((p[0], p[1], p[2]), (f[0], f[1], f[2]))
    for p in permutations(range(3))
    for f in product((False, True), repeat=3)
)
"""All 48 of them."""
_TURNS = ((12.0, -8.0, 15.0), (-20.0, 5.0, 30.0))
_EXACT_MM, _FILE_MM, _TURNED_MM, _THICK_MM = 1e-3, 1e-2, 0.3, 2.5
_THICK = 5


def arrange(subjects: Subjects, orders: Sequence[int]) -> list[TrialResult]:
    """Register the pair in these axis orders, turned, with thick slices, and from files of other kinds."""
    fixed, moving = read(subjects.fixed), read(subjects.moving)
    native = register(fixed, moving)
    points = fixed.grid.world(np.random.default_rng(0).uniform(0, np.array(fixed.grid.shape) - 1, (1000, 3)))
    wanted = native.transform.points(points)

    def deviation(found: Registration, moves: Moves = lambda at: at, share: float = 1.0) -> float:
        """Return the quantile of the distances of points in mm after a transform of the world."""
        apart = np.linalg.norm(found.transform.points(moves(points)) - moves(wanted), axis=1)
        return float(np.quantile(apart, share))

    reordered = [
        deviation(register(_reordered(fixed, ORDERS[n]), _reordered(moving, ORDERS[(7 * n + 5) % 48]))) for n in orders
    ]
    turned = []
    for angles in _TURNS:
        matrix = np.eye(4)
        matrix[:3, :3] = rotation_about_axes(angles)
        pair = (_placed(volume, matrix) for volume in (fixed, moving))
        turned.append(deviation(register(*pair), lambda at, matrix=matrix: at @ matrix[:3, :3].T))  # type: ignore[misc]
    thick = [deviation(register(_thick(fixed, axis), _thick(moving, axis)), share=0.5) for axis in range(3)]
    rows = [
        _row("axis orders", reordered, _EXACT_MM),
        _row("oblique", turned, _TURNED_MM),
        _row("slices five times as thick, median", thick, _THICK_MM),
    ]
    with TemporaryDirectory() as folder:
        for what, write in _WRITERS.items():
            paths = [write(Path(folder, f"{n}.nii"), volume) for n, volume in enumerate((fixed, moving))]
            rows.append(_row(what, [deviation(register(*paths))], _FILE_MM))
    return rows


def _row(what: str, deviations: Sequence[float], limit_mm: float) -> TrialResult:
    faults = tuple(f"{n}: {mm:.4g} mm" for n, mm in enumerate(deviations) if not mm <= limit_mm)
    worst = {"mm": float(f"{max(deviations):.3g}")}
    return TrialResult(what, len(deviations), faults, worst, {"limit_mm": limit_mm})


def _reordered(volume: Volume, order: AxisOrder) -> Volume:
    return Volume(order.array(volume.data), order.grid(volume.grid), volume.source)


def _placed(volume: Volume, matrix: Float) -> Volume:
    return Volume(volume.data, Grid(volume.grid.shape, matrix @ volume.grid.affine), volume.source)


def _thick(volume: Volume, axis: int) -> Volume:
    """Return means of five voxels along an axis; a remainder is dropped."""
    count = volume.data.shape[axis] // _THICK
    data = np.moveaxis(volume.data, axis, 0)[: count * _THICK].astype(np.float32)
    data = np.moveaxis(data.reshape(count, _THICK, *data.shape[1:]).mean(axis=1), 0, axis)
    step = np.eye(4)
    step[axis, axis], step[axis, 3] = _THICK, (_THICK - 1) / 2
    shape = (data.shape[0], data.shape[1], data.shape[2])
    return Volume(np.ascontiguousarray(data), Grid(shape, volume.grid.affine @ step), volume.source)


def _written(path: Path, volume: Volume, *, order: Literal["<", ">"] = "<", forms: tuple[int, int] = (1, 1)) -> Path:
    """Return a NIfTI file with that byte order, and with the sform and qform that have a code."""
    header = nib.Nifti1Header(endianness=order)
    header.set_data_dtype(volume.data.dtype)
    header.set_data_shape(volume.data.shape)
    header.set_xyzt_units("mm")
    for put, code in zip((header.set_sform, header.set_qform), forms, strict=True):
        put(volume.grid.affine if code else None, code=code)
    if not forms[1]:  # its sizes are those of the voxels all the same
        header.set_zooms(volume.grid.spacing_mm)
    header["vox_offset"] = 352
    voxels = volume.data.astype(volume.data.dtype.newbyteorder(order)).tobytes(order="F")
    path.write_bytes(header.binaryblock + bytes(4) + voxels)
    return path


_WRITERS: dict[str, Callable[[Path, Volume], Path]] = {
    "big-endian": lambda path, volume: _written(path, volume, order=">"),
    "qform only": lambda path, volume: _written(path, volume, forms=(0, 1)),
    "sform only": lambda path, volume: _written(path, volume, forms=(1, 0)),
}
