"""No data is not zero: partial fields of view, padding, NaN, and what moved images are filled with."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf.cli.main import run
from lightcrcf.evaluation.metrics import dice
from lightcrcf.geometry.grid import Grid
from lightcrcf.registration.register import Registration, register
from lightcrcf.volumes import Volume, read, write

GridMaker = Callable[..., Grid]
BodyMaker = Callable[..., Volume]

SHAPE, SPACING_MM = (64, 56, 68), (3.0, 2.8, 2.6)
SHIFT_MM = (6.0, -4.0, 5.0)


def tissue_points(volume: Volume, level: float = 150, step: int = 23) -> NDArray[np.float64]:
    """(N, 3) RAS mm."""
    return volume.grid.world(np.argwhere(volume.data > level)[::step])


def distances(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.linalg.norm(a - b, axis=1)


def part_of(volume: Volume, axis: int, first: int, end: int) -> Volume:
    """The slices from `first` to `end`."""
    where = [slice(None)] * 3
    where[axis] = slice(first, end)
    data, start = volume.data[tuple(where)], [0, 0, 0]
    start[axis] = first
    return Volume(np.ascontiguousarray(data), volume.grid.crop(start, data.shape), f"part of {volume.source}")


@pytest.fixture(scope="module")
def fixed(bodies: BodyMaker, grids: GridMaker) -> Volume:
    return bodies(grids(SHAPE, SPACING_MM))


@pytest.fixture(scope="module")
def person(bodies: BodyMaker, grids: GridMaker) -> Volume:
    """Another one, elsewhere, turned, with other voxels."""
    grid = grids((70, 50, 72), (2.7, 3.1, 2.5), axes="LPS", turn=(4, -3, 5), centre=SHIFT_MM)
    return bodies(grid, SHIFT_MM, bend_mm=4)


@pytest.fixture(scope="module")
def whole(fixed: Volume, person: Volume) -> Registration:
    return register(fixed, person, model="none")


@pytest.mark.parametrize(("keep", "verdict"), [(0.8, "pass"), (0.6, "check"), (0.4, "check")])
@pytest.mark.parametrize("axis", [1, 2])
def test_the_same_body_in_a_part_of_the_field_of_view(fixed: Volume, keep: float, verdict: str, axis: int) -> None:
    gone = round(SHAPE[axis] * (1 - keep))
    shifted = np.eye(4)
    shifted[:3, 3] = SHIFT_MM
    part = part_of(fixed, axis, gone, SHAPE[axis])
    moving = replace(part, grid=Grid(part.grid.shape, shifted @ part.grid.affine))
    found = register(fixed, moving, model="none")
    points = tissue_points(fixed)
    seen = fixed.grid.voxels(points)[:, axis] >= gone + 1
    off = distances(found.transform.points(points), points + SHIFT_MM)
    assert np.percentile(off[seen], 95) <= 1.0  # 0.2
    assert off[seen].max() <= 3.0
    assert off[~seen].max() <= 3.0  # nothing is dragged to where the moving image ends
    assert found.metrics.covered == pytest.approx(seen.mean(), abs=0.08)
    if axis == 2:
        assert found.quality.verdict == verdict
    if keep == 0.4:
        assert found.quality.verdict == "check"
        assert "the moving image covers only" in " ".join(found.quality.reasons)


@pytest.mark.parametrize("keep", [0.8, 0.6])
@pytest.mark.parametrize("way", ["cropped", "zeroed"])
def test_a_part_of_another_person_lies_where_the_whole_one_did(
    fixed: Volume, person: Volume, whole: Registration, keep: float, way: str
) -> None:
    """In what both show; what the part does not show goes on smoothly."""
    points = tissue_points(fixed)
    wanted = whole.transform.points(points)
    gone = round(72 * (1 - keep))
    if way == "cropped":
        part = part_of(person, 2, gone, 72)
    else:
        data = person.data.copy()
        data[:, :, :gone] = 0
        part = replace(person, data=data)
    found = register(fixed, part, model="none")
    off = distances(found.transform.points(points), wanted)
    seen = person.grid.voxels(wanted)[:, 2] >= gone + 2
    assert np.percentile(off[seen], 95) <= 2.0
    assert np.median(off[seen]) <= 1.0
    assert off[~seen].max() < 12  # another person's points lie up to 10 mm from where an affine sends them
    assert found.metrics.folding_percent == 0
    assert found.metrics.covered == pytest.approx(seen.mean(), abs=0.08)


def as_ct(volume: Volume, seed: int) -> Volume:
    """In HU, as integers, with noise."""
    noise = np.random.default_rng(seed).normal(0, 8, volume.data.shape)
    return replace(volume, data=np.round(volume.data - 1000 + noise).clip(-1024).astype(np.int16))


def beyond_the_circle(grid: Grid, radius_mm: float = 92.0) -> NDArray[np.bool_]:
    """What a scanner does not reconstruct."""
    places = grid.world(np.moveaxis(np.indices(grid.shape), 0, -1))
    return np.asarray(np.hypot(places[..., 0], places[..., 1]) > radius_mm)


@pytest.fixture(scope="module")
def scans(fixed: Volume, bodies: BodyMaker) -> tuple[Volume, Volume]:
    """Two scans of one body that was moved."""
    return as_ct(fixed, 1), as_ct(bodies(fixed.grid, SHIFT_MM), 2)


@pytest.fixture(scope="module")
def in_air(scans: tuple[Volume, Volume]) -> Registration:
    return register(*scans, model="none")


@pytest.mark.parametrize("padding", [-1024, -2000, -3024, 0])
def test_padding_makes_no_difference(padding: int, scans: tuple[Volume, Volume], in_air: Registration) -> None:
    outside = beyond_the_circle(scans[0].grid)
    padded = [replace(v, data=np.where(outside, np.int16(padding), v.data)) for v in scans]
    found = register(*padded, model="none")
    points = tissue_points(scans[0], -850)
    moved, wanted = found.transform.points(points), in_air.transform.points(points)
    assert distances(moved, points + SHIFT_MM).max() <= 1.0
    assert distances(moved, wanted).max() <= 0.7
    assert found.quality.verdict == in_air.quality.verdict == "pass"
    told = {"padding": int(outside.sum())} if padding != -1024 else {}
    assert found.record.inputs.fixed.unknown == found.record.inputs.moving.unknown == told
    assert found.moved.data.min() > -1100


def test_nan_around_is_as_a_mask(fixed: Volume, person: Volume, whole: Registration) -> None:
    known = person.data > 5
    data = np.where(known, person.data, np.nan).astype(np.float32)
    found = register(fixed, replace(person, data=data), model="none")
    masked = register(fixed, person, model="none", moving_mask=replace(person, data=known.astype(np.uint8)))
    points = tissue_points(fixed)
    by_mask = masked.transform.points(points)
    assert np.percentile(distances(found.transform.points(points), by_mask), 95) <= 1.0
    assert np.percentile(distances(by_mask, whole.transform.points(points)), 95) <= 3.0
    assert found.record.inputs.moving.unknown == {"not finite": int((~known).sum())}
    assert np.isfinite(found.moved.data).all()
    assert found.quality.verdict != "fail"


@pytest.fixture(scope="module")
def ct_files(tmp_path_factory: pytest.TempPathFactory, fixed: Volume, bodies: BodyMaker) -> Path:
    """fixed, moving, a label map and a map with NaN of moving, and a table of one pair."""
    folder = tmp_path_factory.mktemp("ct")
    moving = bodies(fixed.grid, (30.0, -8.0, 40.0))
    write(folder / "fixed.nii.gz", as_ct(fixed, 1))
    write(folder / "moving.nii.gz", as_ct(moving, 2))
    write(folder / "labels.nii.gz", replace(moving, data=(moving.data > 500).astype(np.uint8) * 3))
    outside = beyond_the_circle(moving.grid)
    write(folder / "map.nii.gz", replace(moving, data=np.where(outside, np.nan, moving.data - np.float32(1000))))
    (folder / "pairs.csv").write_text("id,fixed,moving\na,fixed.nii.gz,moving.nii.gz\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("fill", ["auto", "7"])
def test_a_ct_is_filled_with_air_or_what_was_asked_for(ct_files: Path, fill: str, tmp_path: Path) -> None:
    """Outside of the moving image there is no water: by register, --also, apply and batch."""
    folder, out = ct_files, tmp_path / "run"
    files = ["--fixed", str(folder / "fixed.nii.gz"), "--moving", str(folder / "moving.nii.gz")]
    more = ["--also", str(folder / "map.nii.gz"), "--also", str(folder / "labels.nii.gz"), "--fill", fill]
    assert run(["register", *files, "--model", "none", "--preset", "fast", "--out", str(out), *more]) == 0
    record: dict[str, Any] = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert record["options"]["fill"] == ("auto" if fill == "auto" else 7)
    moved = read(out / "moved.nii.gz")
    step = np.array(record["affine"]["fixed_to_moving_ras_mm"])
    places = moved.grid.world(np.moveaxis(np.indices(moved.grid.shape), 0, -1)) @ step[:3, :3].T + step[:3, 3]
    voxels = read(folder / "moving.nii.gz").grid.voxels(places)
    outside = ((voxels < -1) | (voxels > np.array(moved.grid.shape))).any(axis=-1)
    assert outside.mean() > 0.1
    wanted = pytest.approx(-1000, abs=30) if fill == "auto" else 7

    def check(path: Path) -> None:
        volume = read(path)
        assert np.isfinite(volume.data).all()
        (value,) = np.unique(volume.data[outside])
        assert value == wanted

    also = sorted(out.glob("*map*.nii.gz"))
    labels = sorted(out.glob("*labels*.nii.gz"))
    assert len(also) == len(labels) == 1
    check(out / "moved.nii.gz")
    check(also[0])
    assert set(np.unique(read(labels[0]).data)) <= {0, 3, 7 if fill == "7" else 0}
    for name in ("moving", "map"):
        applied = tmp_path / f"{name}.nii.gz"
        given = ["--reference", str(folder / "fixed.nii.gz"), "--input", str(folder / f"{name}.nii.gz")]
        assert run(["apply", *given, "--transform", str(out), "--output", str(applied), "--fill", fill]) == 0
        check(applied)
    table = ["batch", str(folder / "pairs.csv"), "--model", "none", "--preset", "fast", "--fill", fill]
    assert run([*table, "--out", str(tmp_path / "batch")]) == 0
    check(next((tmp_path / "batch").glob("**/moved.nii.gz")))


Head = tuple[Volume, Volume, Volume, Volume]  # fixed, its labels, moving, its labels


@pytest.fixture(scope="module")
def heads(data: Path) -> Head:
    names = [f"sub-{person}_{what}.nii.gz" for person in ("IXI048", "IXI049") for what in ("T1w", "dseg")]
    fixed, fixed_labels, moving, labels = (read(data / "ixi-2mm" / name) for name in names)
    return fixed, fixed_labels, moving, labels


@pytest.fixture(scope="module")
def whole_head(heads: Head) -> Registration:
    fixed, _, moving, labels = heads
    return register(fixed, moving, model="none", moving_labels=[labels])


@pytest.mark.data
@pytest.mark.parametrize("share", [0.2, 0.4])
@pytest.mark.parametrize(("way", "axis"), [("cropped", 2), ("zeroed", 2), ("cropped", 1)], ids=str)
def test_a_real_head_of_which_a_part_is_missing(
    share: float, way: str, axis: int, heads: Head, whole_head: Registration
) -> None:
    """It loses at most .03 Dice in what is left: without one of its sides, or without jaw and neck."""
    fixed, fixed_labels, moving, labels = heads
    end = moving.grid.shape[axis]
    gone = round(share * end)
    first, last = (0, end - gone) if moving.grid.directions[2, axis] < -0.5 else (gone, end)
    if way == "cropped":
        part, part_labels = (part_of(volume, axis, first, last) for volume in (moving, labels))
    else:
        part, part_labels = (replace(volume, data=volume.data.copy()) for volume in (moving, labels))
        part.data[:, :, :gone] = part_labels.data[:, :, :gone] = 0
    left = register(fixed, part, moving_labels=[part_labels])
    places = fixed.grid.world(np.argwhere(fixed_labels.data > 0))
    where = moving.grid.voxels(whole_head.transform.points(places))[:, axis]
    shown = (where >= first + (first > 0)) & (where <= last - 1 - (last < end))
    assert 0.3 < shown.mean() <= 1
    mask = np.zeros(fixed.grid.shape, np.bool_)
    mask[tuple(np.argwhere(fixed_labels.data > 0)[shown].T)] = True
    full, rest = (
        float(np.nanmean(list(dice(fixed_labels.data * mask, moved.data * mask).values())))
        for found in (whole_head, left)
        for moved in found.moved_labels.values()
    )
    assert full > 0.5
    assert rest >= full - 0.03
    assert left.record.deformed is True
    assert left.quality.verdict != "fail"


Brains = tuple[Volume, Volume, Registration]


@pytest.fixture(scope="module")
def whole_brain(data: Path) -> Brains:
    fixed, moving = (read(data / "oasis" / f"sub-{name}_T1w.nii.gz") for name in ("1000", "1001"))
    return fixed, moving, register(fixed, moving)


@pytest.mark.data
@pytest.mark.parametrize("way", ["cropped", "zeroed"])
def test_half_of_a_real_brain(way: str, whole_brain: Brains) -> None:
    """The same points lie where the whole brain sent them, by the median within 1.5 mm."""
    fixed, moving, whole = whole_brain
    half = moving.grid.shape[2] // 2
    if way == "cropped":
        part = part_of(moving, 2, half, moving.grid.shape[2])
    else:
        part = replace(moving, data=moving.data.copy())
        part.data[:, :, :half] = 0
    points = tissue_points(fixed, 0, 997)
    found = register(fixed, part)
    wanted, moved = (done.transform.points(points) for done in (whole, found))
    seen = moving.grid.voxels(wanted)[:, 2] >= half + 3
    assert 0.2 < seen.mean() < 0.8
    assert np.median(distances(moved, wanted)[seen]) < 1.5
    assert found.record.model.name == whole.record.model.name == "brain"
