"""Maps of local volume change: the analytic determinant on any grid, what folds do to them, and the files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from lightcrcf.cli.main import run
from lightcrcf.evaluation.fields import deformation, deformation_determinant
from lightcrcf.evaluation.jacobian import LOG_FLOOR, jacobian_maps
from lightcrcf.geometry.determinant import jacobian_determinant
from lightcrcf.geometry.grid import Grid
from lightcrcf.registration.register import register
from lightcrcf.registration.save import save
from lightcrcf.run_record.schema import shipped_schema
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.transforms.field import DisplacementField
from lightcrcf.transforms.itk import write_field
from lightcrcf.volumes import Volume, read, write

Grids = Callable[..., Grid]
Float = NDArray[np.float64]

IDENTITY = Affine.identity()
MAPS = {"jacobian.nii.gz", "log_jacobian.nii.gz"}
SHEARED = Affine(np.array([[1.2, 0.1, 0.0, 5.0], [-0.2, 0.9, 0.3, -7.0], [0.0, 0.1, 1.1, 9.0], [0, 0, 0, 1]]))
PLACES = [
    {"axes": "RAS"},
    {"axes": "LPS"},
    {"axes": "ASL"},
    {"axes": "PIR"},
    {"axes": "LAS", "turn": (9, -14, 21), "centre": (30, -20, 10)},
]
WAVES = np.array([[0.06, 0.02, -0.01], [-0.03, 0.05, 0.02], [0.01, -0.04, 0.07]])  # 1/mm
SIZES = np.array([3.0, -2.5, 2.0])  # mm


def wavy_mm(points: Float) -> Float:
    """(..., 3) displacements in mm of (..., 3) places in mm."""
    return np.asarray(SIZES * np.sin(points @ WAVES.T))


def wavy_determinant(points: Float) -> Float:
    """Of what x + `wavy_mm` does to volumes."""
    slopes = SIZES[:, None] * np.cos(points @ WAVES.T)[..., None] * WAVES
    return np.asarray(np.linalg.det(np.eye(3) + slopes))


def voxels(grid: Grid) -> Float:
    return grid.world(np.moveaxis(np.indices(grid.shape), 0, -1))


def volume(grid: Grid) -> Volume:
    return Volume(np.zeros(grid.shape, np.int16), grid, "fixed")


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place["axes"])
@pytest.mark.parametrize("half", [False, True])
def test_a_smooth_field_has_the_determinant_of_the_formula(place: dict, half: bool, grids: Grids) -> None:
    fixed = grids((43, 36, 29), (1.5, 2.1, 2.9), **place)
    lattice = fixed.half() if half else fixed
    field = DisplacementField.from_world_mm(lattice, wavy_mm(voxels(lattice)).astype(np.float32))
    maps = jacobian_maps(Chain(IDENTITY, field, SHEARED), volume(fixed))
    expected, inner = wavy_determinant(voxels(fixed)), (slice(2, -2),) * 3
    assert np.ptp(expected) > 0.5
    scale = np.linalg.det(SHEARED.matrix[:3, :3])
    np.testing.assert_allclose(maps.determinant.data[inner], scale * expected[inner], atol=0.03)
    np.testing.assert_allclose(maps.log.data[inner], np.log(expected[inner]), atol=0.03)
    assert maps.summary.affine_determinant == pytest.approx(scale)
    assert maps.summary.folded_voxels == maps.summary.raised_voxels == 0
    assert maps.log.grid is fixed is maps.determinant.grid
    assert {maps.log.data.dtype, maps.determinant.data.dtype} == {np.dtype(np.float32)}


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place["axes"])
@pytest.mark.parametrize("half", [False, True])
def test_a_linear_field_has_one_determinant_whatever_the_voxels(place: dict, half: bool, grids: Grids) -> None:
    fixed = grids((21, 18, 35), (0.7, 1.9, 3.1), **place)
    lattice, slopes = fixed.half() if half else fixed, np.array([[0.2, 0.1, 0], [-0.1, -0.3, 0.2], [0, 0.1, 0.4]])
    field = DisplacementField.from_world_mm(lattice, (voxels(lattice) @ slopes.T).astype(np.float32))
    maps = jacobian_maps(Chain(SHEARED, field, SHEARED), volume(fixed))
    plain = jacobian_maps(Chain(IDENTITY, field, IDENTITY), volume(fixed))
    inner = (slice(2, -2),) * 3
    for found in (plain.determinant.data, np.exp(plain.log.data)):
        np.testing.assert_allclose(found[inner], np.linalg.det(np.eye(3) + slopes), rtol=1e-4)
    assert maps.summary.affine_determinant == pytest.approx(np.linalg.det(SHEARED.matrix[:3, :3]) ** 2)


def test_slabs_are_the_whole(grids: Grids) -> None:
    fixed = grids((50, 9, 8), (1.0, 2.0, 3.0), axes="PSR")
    rng = np.random.default_rng(4)
    field = DisplacementField(fixed.half(), rng.normal(scale=0.3, size=(3, 25, 5, 4)).astype(np.float32))
    chain = Chain(IDENTITY, field, SHEARED)
    whole = jacobian_determinant(deformation(chain, fixed))
    np.testing.assert_allclose(deformation_determinant(chain, fixed), whole, atol=1e-5)


def test_an_affine_alone_has_its_determinant_and_no_logarithm(grids: Grids) -> None:
    fixed = grids((5, 6, 7), (1.0, 2.0, 3.0))
    for affine, expected in ((IDENTITY, 1.0), (SHEARED, np.linalg.det(SHEARED.matrix[:3, :3]))):
        maps = jacobian_maps(Chain(IDENTITY, None, affine), volume(fixed))
        np.testing.assert_allclose(maps.determinant.data, expected, rtol=1e-6)
        assert not maps.log.data.any()
    mirrored = jacobian_maps(Chain(IDENTITY, None, Affine(np.diag([-1.0, 1, 1, 1]))), volume(fixed))
    assert (mirrored.determinant.data == -1).all()
    assert not mirrored.log.data.any()
    assert mirrored.summary.folded_voxels == 0


def test_folds_stay_in_one_map_and_are_told_where_the_other_has_the_floor(grids: Grids) -> None:
    fixed = grids((16, 17, 18), (1.0, 1.5, 2.0))
    u = np.zeros((3, *fixed.shape), np.float32)
    u[1, 8, 8, 8], u[1, 8, 10, 8] = 2.5, -2.5
    maps = jacobian_maps(Chain(IDENTITY, DisplacementField(fixed, u), IDENTITY), volume(fixed))
    folded = int((maps.determinant.data <= 0).sum())
    assert folded == maps.summary.folded_voxels > 0
    assert maps.summary.raised_voxels >= folded
    assert maps.summary.log_floor == LOG_FLOOR
    assert np.isfinite(maps.log.data).all()
    np.testing.assert_allclose(maps.log.data.min(), np.log(LOG_FLOOR), rtol=1e-6)
    assert int(np.isclose(maps.log.data, np.log(LOG_FLOOR)).sum()) == maps.summary.raised_voxels


def test_itk_finds_the_same_on_the_grid_of_the_field(grids: Grids, tmp_path: Path) -> None:
    """Where the axes are ITK's own: its filter takes those of all other images for them."""
    fixed = grids((23, 20, 17), (1.5, 2.1, 2.9), axes="LPS")
    field = DisplacementField.from_world_mm(fixed, wavy_mm(voxels(fixed)).astype(np.float32))
    write_field(tmp_path / "warp.nii.gz", field)
    theirs = sitk.DisplacementFieldJacobianDeterminant(
        sitk.ReadImage(str(tmp_path / "warp.nii.gz"), sitk.sitkVectorFloat64)
    )
    ours = jacobian_maps(Chain(IDENTITY, field, SHEARED), volume(fixed)).log.data
    inner = (slice(1, -1),) * 3
    np.testing.assert_allclose(ours[inner], np.log(sitk.GetArrayFromImage(theirs).T[inner]), atol=1e-3)


@pytest.fixture(scope="module")
def sizes(grids: Grids, brains: Callable[..., tuple[Volume, Volume]]) -> tuple[Volume, Volume]:
    """A brain, and the same a tenth larger along each axis, with its axes in another order."""
    fixed = brains(grids((47, 60, 43), (3.0, 3.0, 3.0), axes="LAS"))[0]
    data = brains(grids((44, 46, 58), (3.1, 2.9, 3.2), axes="ASR"))[0]
    return fixed, Volume(data.data, Grid(data.grid.shape, np.diag([1.1, 1.1, 1.1, 1.0]) @ data.grid.affine))


def test_what_is_larger_in_the_moving_image_is_above_one(sizes: tuple[Volume, Volume]) -> None:
    for init in ("none", "auto"):
        there, back = (register(*pair, model="none", init=init, jacobian=True) for pair in (sizes, sizes[::-1]))
        for found, expected in ((there, 1.1**3), (back, 1.1**-3)):
            assert found.jacobian is not None
            inside = found.fixed.data > 0
            assert np.median(found.jacobian.determinant.data[inside]) == pytest.approx(expected, rel=0.05)
            logarithm = float(np.median(found.jacobian.log.data[inside]))
            assert logarithm == pytest.approx(np.log(expected) if init == "none" else 0, abs=0.05)


def test_the_same_image_twice_is_one_and_zero(sizes: tuple[Volume, Volume]) -> None:
    found = register(sizes[0], sizes[0], model="none", jacobian=True)
    assert found.jacobian is not None
    np.testing.assert_allclose(found.jacobian.determinant.data, 1, atol=1e-3)
    np.testing.assert_allclose(found.jacobian.log.data, 0, atol=1e-3)


def test_without_being_asked_there_is_none(sizes: tuple[Volume, Volume]) -> None:
    found = register(*sizes, model="none", preset="fast", init="none")
    assert found.jacobian is None
    assert found.record.jacobian is None


def test_files_come_and_go_with_the_others(sizes: tuple[Volume, Volume], tmp_path: Path) -> None:
    words = []
    for name, image in zip(("fixed", "moving"), sizes, strict=True):
        write(tmp_path / f"{name}.nii.gz", image)
        words += [f"--{name}", str(tmp_path / f"{name}.nii.gz")]
    out = tmp_path / "run"
    assert run(["register", *words, "--model", "none", "--jacobian", "--out", str(out)]) == 0
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    jsonschema.validate(record, shipped_schema())
    assert set(record["files"]) >= MAPS
    assert set(record["files_sha256"]) >= MAPS
    assert record["options"]["jacobian"] is True
    assert record["jacobian"]["folded_voxels"] == 0
    maps = {name: read(out / name) for name in MAPS}
    assert all(image.grid.isclose(sizes[0].grid) for image in maps.values())
    factor = record["jacobian"]["affine_determinant"]
    np.testing.assert_allclose(
        maps["jacobian.nii.gz"].data, factor * np.exp(maps["log_jacobian.nii.gz"].data), rtol=1e-4
    )
    assert run(["register", "--from", str(out), "--out", str(tmp_path / "again")]) == 0
    assert all((out / name).read_bytes() == (tmp_path / "again" / name).read_bytes() for name in MAPS)
    save(register(*sizes, model="none", preset="fast", init="none"), out)
    assert not MAPS & {path.name for path in out.iterdir()}


def test_a_batch_leaves_them_for_each_pair(sizes: tuple[Volume, Volume], tmp_path: Path) -> None:
    for name, image in zip(("a", "b"), sizes, strict=True):
        write(tmp_path / f"{name}.nii.gz", image)
    words = ["batch", "--to", *(str(tmp_path / f"{name}.nii.gz") for name in "ab"), "--out", str(tmp_path / "out")]
    quick = ["--model", "none", "--preset", "fast"]
    assert run([*words, *quick, "--jacobian"]) == 0
    assert {path.name for path in (tmp_path / "out" / "pairs" / "b").iterdir()} >= MAPS
    assert set(json.loads((tmp_path / "out" / "manifest" / "b.json").read_text(encoding="utf-8"))["files"]) >= MAPS
    assert run([*words, *quick, "--resume"]) == 2


def test_the_estimate_of_memory_counts_them(sizes: tuple[Volume, Volume]) -> None:
    with_maps, without = (
        register(*sizes, model="none", preset="fast", init="none", jacobian=asked).record.estimated_memory_mb
        for asked in (True, False)
    )
    assert with_maps >= without
