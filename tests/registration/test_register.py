"""Registration of generated brains: what it finds, from whatever it is given, again and again."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from lightcrcf.errors import InputError, MemoryEstimateError, UsageError
from lightcrcf.evaluation.metrics import dice
from lightcrcf.geometry.grid import Grid
from lightcrcf.registration.register import Registration, register
from lightcrcf.run_record.schema import to_json
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.itk import write_affine
from lightcrcf.volumes import Volume, write
from lightcrcf.weights import store

Pair = tuple[Volume, Volume]


def same(a: Registration, b: Registration) -> None:
    """Equal to the bit."""
    np.testing.assert_array_equal(a.moved.data, b.moved.data)
    np.testing.assert_array_equal(a.transform.after.matrix, b.transform.after.matrix)
    assert (a.transform.field is None) == (b.transform.field is None)
    if a.transform.field is not None and b.transform.field is not None:
        np.testing.assert_array_equal(a.transform.field.displacement, b.transform.field.displacement)


@pytest.fixture(scope="module")
def found(pair: Pair, coarse_model: Path) -> Registration:
    return register(*pair, model=coarse_model, inverse=True)


@pytest.fixture(scope="module")
def short(pair: Pair, coarse_model: Path) -> Registration:
    """By the short refinement, which hardly amplifies rounding, and bends less."""
    return register(*pair, model=coarse_model, refine=4, inverse=True)


def test_it_gets_better_from_headers_to_affine_to_deformation(found: Registration) -> None:
    metrics = found.metrics
    assert metrics.correlation_header < 0.5 < metrics.correlation_affine < metrics.correlation_after
    assert 0.8 < metrics.overlap_before < metrics.overlap_after
    assert metrics.folding_percent <= 0.2
    assert found.quality.verdict != "fail"
    assert found.record.affine.rotation_deg == pytest.approx(13, abs=3)


def test_the_moved_volume_lies_on_the_fixed_grid(found: Registration, pair: Pair) -> None:
    assert found.moved.grid.isclose(pair[0].grid, tolerance_mm=0)
    assert found.moved.data.dtype == np.float32
    assert found.moved.source == pair[1].source


def test_nothing_of_the_caller_is_changed(pair: Pair, coarse_model: Path) -> None:
    before = [v.data.copy() for v in pair]
    for volume in pair:
        volume.data.setflags(write=False)
    register(*pair, model=coarse_model)
    for volume, data in zip(pair, before, strict=True):
        volume.data.setflags(write=True)
        np.testing.assert_array_equal(volume.data, data)


def test_one_pair_does_not_change_the_next(found: Registration, pair: Pair, coarse_model: Path) -> None:
    fixed, moving = pair
    register(moving, fixed, model=coarse_model)
    same(register(fixed, moving, model=coarse_model), found)


def test_threads_of_one_process_do_not_meet(found: Registration, pair: Pair, coarse_model: Path) -> None:
    fixed, moving = pair
    pairs = [(fixed, moving), (moving, fixed), (fixed, moving), (fixed, fixed)]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda images: register(*images, model=coarse_model), pairs))
    same(results[0], found)
    same(results[2], found)


def as_path(volume: Volume, folder: Path) -> Any:
    write(folder / "image.nii.gz", volume)
    return folder / "image.nii.gz"


def as_nrrd(volume: Volume, folder: Path) -> Any:
    write(folder / "image.nrrd", volume)
    return str(folder / "image.nrrd")


def as_nibabel(volume: Volume, folder: Path) -> Any:
    return nib.load(as_path(volume, folder))


def as_array(volume: Volume, folder: Path) -> Any:
    return volume.data, volume.grid.affine


def as_strided_array(volume: Volume, folder: Path) -> Any:
    return np.asfortranarray(volume.data)[::1], volume.grid.affine.tolist()


def as_simpleitk(volume: Volume, folder: Path) -> Any:
    return sitk.ReadImage(as_nrrd(volume, folder))


@pytest.mark.parametrize("give", [as_path, as_nrrd, as_nibabel, as_array, as_strided_array, as_simpleitk])
def test_every_kind_of_input_gives_the_same(
    give: Callable[[Volume, Path], Any], short: Registration, pair: Pair, coarse_model: Path, tmp_path: Path
) -> None:
    """NIfTI keeps its matrix in float32, NRRD and ITK split it: the grids differ by rounding.

    Windows as alike as noise allows exert no force, so that rounding may decide on a step of a few of them.
    """
    given = []
    for name, volume in zip("fm", pair, strict=True):
        (tmp_path / name).mkdir()
        given.append(give(volume, tmp_path / name))
    other = register(*given, model=coarse_model, refine=4)
    points = pair[0].grid.world(np.random.default_rng(3).uniform(5, 38, (500, 3)))
    apart = np.abs(other.transform.points(points) - short.transform.points(points))
    assert apart.max() < 5e-3  # up to .0019 when the matrices are changed by 4e-6 at random
    assert np.percentile(apart, 99) < 1e-3
    assert np.percentile(np.abs(other.moved.data - short.moved.data), 99.9) < 1e-3 * np.ptp(short.moved.data)
    if give in (as_array, as_strided_array):
        same(other, short)


def test_the_inverse_leads_back(short: Registration, pair: Pair) -> None:
    """The field has voxels of 6 mm here; the inverse is sampled on them too."""
    assert short.inverse is not None
    tissue = pair[0].grid.world(np.argwhere(pair[0].data > 0)[::7])
    there = short.transform.points(tissue)
    assert np.linalg.norm(there - tissue, axis=1).mean() > 5
    back = np.linalg.norm(short.inverse.points(there) - tissue, axis=1)
    assert back.mean() < 0.5
    assert np.percentile(back, 99) < 3  # half a voxel of the field
    exact = np.linalg.norm(short.transform.inverse_points(there) - tissue, axis=1)
    assert np.mean(exact < 1e-3) > 0.99  # where the field folds, two points go to one place
    assert short.metrics.inverse_consistency_mean_mm < 1
    assert short.metrics.inverse_consistency_max_mm >= short.metrics.inverse_consistency_mean_mm


def test_labels_and_further_images_move_along(
    pair: Pair, brains: Callable[..., Pair], coarse_model: Path, found: Registration
) -> None:
    labels = brains(pair[1].grid, person=1, turn=(-6, 4, 11), shift_mm=(14, -9, 20))[1]
    target = brains(pair[0].grid)[1]
    as_floats = Volume(labels.data.astype(np.float32), labels.grid)
    moved = register(*pair, model=coarse_model, moving_labels=[labels, as_floats], also=[labels, pair[1]])
    same(moved, found)
    assert list(moved.moved_labels) == [labels.source, "volume in memory"]
    assert list(moved.also) == [labels.source, pair[1].source]
    result = moved.moved_labels[labels.source]
    assert result.data.dtype == labels.data.dtype
    assert set(np.unique(result.data)) == {0, 1, 2, 3}
    np.testing.assert_array_equal(moved.moved_labels["volume in memory"].data, result.data)
    np.testing.assert_array_equal(moved.also[labels.source].data, result.data)  # auto knows a label map
    np.testing.assert_array_equal(moved.also[pair[1].source].data, moved.moved.data)
    assert np.mean(list(dice(target.data, result.data).values())) > 0.7


def test_several_arrays_are_told_apart(pair: Pair) -> None:
    labels = [((pair[1].data > threshold).astype(np.uint8), pair[1].grid.affine) for threshold in (0, 300, 500)]
    moved = register(*pair, model="none", init="none", moving_labels=labels)
    assert list(moved.moved_labels) == ["array", "array #2", "array #3"]
    sizes = [int(v.data.sum()) for v in moved.moved_labels.values()]
    assert sizes[0] > sizes[1] > sizes[2] > 0


def test_an_affine_file_is_taken_as_it_is(pair: Pair, found: Registration, coarse_model: Path, tmp_path: Path) -> None:
    write_affine(tmp_path / "start.tfm", found.transform.after)
    started = register(*pair, model=coarse_model, init=tmp_path / "start.tfm")
    np.testing.assert_allclose(started.transform.after.matrix, found.transform.after.matrix, atol=1e-12)
    assert np.abs(started.moved.data - found.moved.data).max() < 1
    assert started.record.affine.similarity_after is None


def test_init_none_trusts_the_headers(pair: Pair, coarse_model: Path) -> None:
    trusting = register(*pair, model=coarse_model, init="none")
    np.testing.assert_array_equal(trusting.transform.after.matrix, Affine.identity().matrix)
    assert trusting.transform.field is not None


def test_masks_guide_the_affine(pair: Pair) -> None:
    everywhere = [Volume(np.ones(v.data.shape, np.uint8), v.grid) for v in pair]
    plain = register(*pair, model="none", preset="fast")
    masked = register(*pair, model="none", preset="fast", fixed_mask=everywhere[0], moving_mask=everywhere[1])
    points = pair[0].grid.world(np.random.default_rng(3).uniform(5, 38, (500, 3)))
    apart = np.linalg.norm(masked.transform.points(points) - plain.transform.points(points), axis=1)
    assert apart.max() < 2
    left = everywhere[0].data.copy()
    left[: left.shape[0] // 2] = 0
    half = register(*pair, model="none", preset="fast", fixed_mask=Volume(left, pair[0].grid))
    apart = np.linalg.norm(half.transform.points(points) - plain.transform.points(points), axis=1)
    assert 0.01 < apart.max() < 10


def test_a_mask_must_lie_on_its_image(pair: Pair) -> None:
    fixed, moving = pair
    other = Volume(np.ones(moving.data.shape, np.uint8), moving.grid, "mask.nii")
    with pytest.raises(InputError, match=r"mask\.nii: expected a mask on the grid of person 0"):
        register(fixed, moving, fixed_mask=other)
    empty = Volume(np.zeros(moving.data.shape, np.uint8), moving.grid, "empty.nii")
    with pytest.raises(InputError, match=r"empty\.nii: expected a mask with nonzero voxels"):
        register(fixed, moving, moving_mask=empty)


def test_images_far_apart_are_refused_only_if_the_headers_are_trusted(pair: Pair) -> None:
    fixed, moving = pair
    shift = np.eye(4)
    shift[:3, 3] = 900, -400, 0
    far = Volume(moving.data, Grid(moving.grid.shape, shift @ moving.grid.affine), "far")
    with pytest.raises(InputError, match=r"far: expected a moving image that overlaps the fixed one.*--init auto"):
        register(fixed, far, model="none", init="none")
    assert register(fixed, far, model="none").metrics.overlap_before > 0.8


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_are_counted_from_one(threads: int, pair: Pair) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        register(*pair, threads=threads)


def test_an_unknown_preset_and_a_negative_number_of_steps_are_refused(pair: Pair) -> None:
    with pytest.raises(UsageError, match="fast, default, accurate"):
        register(*pair, preset="best")
    with pytest.raises(UsageError, match="number of steps"):
        register(*pair, refine=-1)


def test_presets_spend_more_to_find_more(found: Registration, pair: Pair, coarse_model: Path) -> None:
    fast, accurate = (register(*pair, model=coarse_model, preset=preset) for preset in ("fast", "accurate"))
    reached = [r.metrics.correlation_after for r in (fast, found, accurate)]
    assert reached == sorted(reached)
    assert reached[0] + 0.002 < reached[1]
    assert [len(r.record.refinement.levels) for r in (fast, found)] == [1, 5]
    for result in (fast, found, accurate):
        told = result.record.refinement
        assert told.objective_after > told.objective_before
        assert told.finest_scale == 1
        assert (told.levels[-1].scale, told.levels[-1].finer_images) == (2, True)
        assert 0 < told.levels[-1].steps_done <= told.levels[-1].steps
        assert told.folding_percent <= 0.01
        assert result.metrics.folding_percent <= 0.01
    for result in (fast, found):
        assert result.transform.field is not None
        assert result.transform.field.grid.shape == (24, 30, 22)


def test_refine_sets_the_steps_at_full_resolution(pair: Pair, coarse_model: Path) -> None:
    few = register(*pair, model=coarse_model, preset="fast", refine=2)
    assert [level.steps for level in few.record.refinement.levels] == [2]
    alone, fast = (register(*pair, model=coarse_model, preset="fast", refine=steps) for steps in (0, None))
    assert alone.record.refinement is None
    assert [level.steps for level in fast.record.refinement.levels] == [4]
    assert alone.metrics.correlation_after < fast.metrics.correlation_after


def test_without_a_model_it_refines_from_coarse_to_fine(pair: Pair) -> None:
    affine, refined = (register(*pair, model="none", preset=preset) for preset in ("fast", "default"))
    assert affine.transform.field is None
    assert refined.record.model.reason == "no model, as asked; refined from coarse to fine without a network"
    assert [level.scale for level in refined.record.refinement.levels] == [8, 4, 2, 2, 1]
    assert refined.metrics.correlation_after > refined.metrics.correlation_affine + 0.1
    assert refined.metrics.folding_percent <= 0.01
    assert refined.quality.verdict == "pass"


@pytest.mark.parametrize("role", ["fixed", "moving"])
def test_a_masked_lesion_does_not_pull(role: str, pair: Pair, coarse_model: Path) -> None:
    """Without the mask the tissue around is drawn into it."""
    affine = register(*pair, model="none", preset="fast").transform.after
    index = 0 if role == "fixed" else 1
    middle = np.array([[24.0, 10.0, 8.0]])
    image = pair[index]
    world = image.grid.world(np.moveaxis(np.indices(image.grid.shape), 0, -1))
    apart = np.linalg.norm(world - (middle if index == 0 else affine.points(middle)), axis=-1)
    sick = Volume(np.where(apart < 11, 900, image.data).astype(np.int16), image.grid, image.source)
    mask = Volume((apart > 15).astype(np.uint8), image.grid)
    images = (sick, pair[1]) if index == 0 else (pair[0], sick)
    around = middle + np.random.default_rng(5).uniform(-9, 9, (200, 3))

    def moved(*images: Volume, **masks: Volume) -> Any:
        return register(*images, model="none", **masks).transform.points(around)

    healthy, ignored, seen = moved(*pair), moved(*images, **{f"{role}_mask": mask}), moved(*images)
    off = [float(np.linalg.norm(found - healthy, axis=1).mean()) for found in (ignored, seen)]
    assert off[0] < 0.75 * off[1]


def test_masks_count_with_trusted_headers_too(pair: Pair) -> None:
    fixed = pair[0]
    nothing = np.zeros(fixed.data.shape, np.uint8)
    nothing[: fixed.grid.shape[0] // 2] = 1
    half = register(fixed, fixed, model="none", init="none", fixed_mask=Volume(nothing, fixed.grid))
    assert to_json(half.record.affine).keys() == {"fixed_to_moving_ras_mm"}
    assert half.metrics.overlap_after > 0.99


@pytest.mark.parametrize("given", [None, 3, np.zeros((4, 5, 6)), {"a": "b"}, [3]])
def test_what_is_no_volume_is_refused(given: Any, pair: Pair) -> None:
    with pytest.raises(InputError):
        register(given, pair[1])
    with pytest.raises(InputError):
        register(pair[0], given)


def test_an_image_and_itself_do_not_fail(pair: Pair, coarse_model: Path) -> None:
    fixed = pair[0]
    result = register(fixed, fixed, model=coarse_model)
    np.testing.assert_array_equal(result.transform.after.matrix, np.eye(4))
    assert result.quality.verdict != "fail"
    quality = register(fixed, fixed, model="none").quality
    assert (quality.verdict, quality.reasons) == ("pass", ())


def test_voxels_of_a_metre_are_refused_before_they_fill_the_memory(pair: Pair) -> None:
    """Units mistaken by a thousand, at a model's 1 mm."""
    huge = [Volume(v.data, Grid(v.grid.shape, np.diag([1e3, 1e3, 1e3, 1]) @ v.grid.affine), "huge") for v in pair]
    with pytest.raises(MemoryEstimateError, match=r"huge: .* check its voxel size"):
        register(*huge, model="brain", init="none")


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_any_unit_of_length_registers_without_a_model(scale: float, pair: Pair) -> None:
    scaled = [Volume(v.data, Grid(v.grid.shape, np.diag([scale] * 3 + [1]) @ v.grid.affine)) for v in pair]
    result = register(*scaled, model="none")
    assert result.metrics.overlap_before > 0.8
    assert result.metrics.correlation_affine > 0.5


def test_progress_runs_from_reading_to_quality(pair: Pair) -> None:
    heard: list[tuple[str, float]] = []
    register(*pair, model="none", init="none", progress=lambda stage, fraction: heard.append((stage, fraction)))
    assert [heard[0][0], heard[-1][0]] == ["read", "quality"]
    fractions = [fraction for _, fraction in heard]
    assert fractions == sorted(fractions)
    assert 0 <= fractions[0] <= fractions[-1] < 1


def test_auto_takes_the_brain_model_at_its_own_spacing(grids: Callable[..., Grid], brains: Callable[..., Pair]) -> None:
    """Half a brain's length at 2 mm, to be quick: still half a litre, masked."""
    fixed = brains(grids((52, 50, 50), (2.0, 2.0, 2.2)))[0]
    moving = brains(grids((50, 52, 50), (2.1, 2.0, 2.2), turn=(3, 0, 0)), person=2)[0]
    for volume in (fixed, moving):
        radius = np.linalg.norm(volume.grid.world(np.moveaxis(np.indices(volume.grid.shape), 0, -1)), axis=-1)
        volume.data[radius > 48] = 0
    result = register(fixed, moving)
    assert result.record.model.name == "brain"
    assert result.record.model.sha256 == store.load("brain").sha256
    assert result.record.working_grid.spacing_mm == pytest.approx([1, 1, 1])
    assert result.transform.field is not None
    assert result.transform.field.grid.isclose(fixed.grid)  # 2 mm is no finer than the network's field
