"""The files against ANTs. Importing antspyx takes seconds, so that all of it is here."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf.geometry.grid import Grid
from lightcrcf.transforms import itk
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.field import DisplacementField
from lightcrcf.volumes.formats.nifti import write_nifti
from lightcrcf.volumes.volume import Volume

FLIP = np.array([-1.0, -1.0, 1.0])


@pytest.fixture(scope="module")
def ants() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own dependencies'
        import ants
    return ants


@pytest.fixture
def folder(tmp_path: Path, field: DisplacementField, affine: Affine) -> Path:
    itk.write_affine(tmp_path / "affine.tfm", affine)
    itk.write_field(tmp_path / "warp.nii.gz", field)
    return tmp_path


def transforms(folder: Path) -> list[str]:
    return [str(folder / "warp.nii.gz"), str(folder / "affine.tfm")]


def ants_points(ants: Any, points: NDArray, names: list[str]) -> NDArray:
    import pandas

    table = pandas.DataFrame(points * FLIP, columns=["x", "y", "z"])
    return ants.apply_transforms_to_points(3, table, names)[["x", "y", "z"]].to_numpy() * FLIP


def test_ants_moves_images_alike(
    ants: Any, folder: Path, moving: Volume, fixed_grid: Grid, difference: Callable
) -> None:
    write_nifti(folder / "moving.nii", moving, {})
    write_nifti(folder / "fixed.nii", Volume(np.zeros(fixed_grid.shape, np.float32), fixed_grid), {})
    fixed, image = (ants.image_read(str(folder / name)) for name in ("fixed.nii", "moving.nii"))
    expected = ants.apply_transforms(fixed, image, transforms(folder), defaultvalue=-3).numpy()
    moved = itk.read_transform_folder(folder).resample(moving, fixed_grid, "linear", fill=-3.0)
    assert (expected != -3).mean() > 0.3
    assert difference(moved.data, expected) <= 2e-3


def test_ants_moves_points_alike(ants: Any, folder: Path, fixed_points: NDArray) -> None:
    expected = itk.read_transform_folder(folder).points(fixed_points)
    np.testing.assert_allclose(ants_points(ants, fixed_points, transforms(folder)), expected, atol=1e-2)


def test_ants_goes_through_two_runs_as_the_refusal_of_two_transforms_says(
    ants: Any, folder: Path, field: DisplacementField, fixed_points: NDArray
) -> None:
    turn = np.eye(4)
    turn[:2, :2], turn[:3, 3] = [[0.8, -0.6], [0.6, 0.8]], (3.0, -4.0, 5.0)
    (folder / "second").mkdir()
    itk.write_affine(folder / "second" / "affine.tfm", Affine(turn))
    itk.write_field(folder / "second" / "warp.nii.gz", field)
    first, second = (itk.read_transform_folder(place) for place in (folder, folder / "second"))
    found = ants_points(ants, fixed_points, transforms(folder) + transforms(folder / "second"))
    np.testing.assert_allclose(found, second.points(first.points(fixed_points)), atol=2e-2)


def test_fields_that_ants_writes_are_read(ants: Any, tmp_path: Path, moving: Volume, moving_grid: Grid) -> None:
    write_nifti(tmp_path / "fixed.nii", moving, {})
    write_nifti(tmp_path / "moving.nii", Volume(np.roll(moving.data, 1, 1) ** 2, moving_grid), {})
    fixed, image = (ants.image_read(str(tmp_path / name)) for name in ("fixed.nii", "moving.nii"))
    result = ants.registration(
        fixed, image, "SyNOnly", initial_transform="Identity", reg_iterations=(3,), outprefix=f"{tmp_path}/"
    )
    name = next(n for n in result["fwdtransforms"] if n.endswith("1Warp.nii.gz") or n.endswith("0Warp.nii.gz"))
    field = itk.read_field(name)
    assert field.grid.isclose(moving_grid)
    assert np.abs(field.displacement).max() > 0.05
    points = moving_grid.world(np.random.default_rng(0).uniform(1, np.array(moving_grid.shape) - 2, (100, 3)))
    np.testing.assert_allclose(ants_points(ants, points, [name]), field.points(points), atol=1e-2)
