from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lightcrcf.errors import InputError
from lightcrcf.geometry.grid import Grid
from lightcrcf.training import data as module
from lightcrcf.training.augmentation.pair import (
    AugmentationParams,
    augment_intensity,
    render,
    render_labels,
    sample_augmentation,
)
from lightcrcf.training.config import Cohort, TrainingConfig, load_config
from lightcrcf.training.data import Subject, choose_pair, load_cohort, profile
from lightcrcf.volumes import Volume, read, write

STILL = AugmentationParams(pose=None, misalign=np.eye(4), flip=False, gammas=(1.0, 1.0), noise_seed=0)


@pytest.fixture
def config(recipe: Callable[..., Path]) -> TrainingConfig:
    return load_config(recipe())


@pytest.fixture
def cohort(config: TrainingConfig, persons: Path) -> tuple[list[Subject], list[Subject]]:
    return load_cohort(config.data.cohorts[0], config.data, persons.parent / "cache")


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


def test_only_monitored_subjects_bring_labels(cohort: tuple[list[Subject], list[Subject]]) -> None:
    train, monitored = cohort
    assert [s.name for s in train] == ["0", "1", "2"]
    assert all(s.labels is None for s in train)
    assert all(s.labels is not None for s in monitored)


def test_affines_are_computed_once(
    config: TrainingConfig, persons: Path, cohort: tuple[list[Subject], list[Subject]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("aligned again")

    monkeypatch.setattr(module, "align", refuse)
    again, _ = load_cohort(config.data.cohorts[0], config.data, persons.parent / "cache")
    for old, new in zip(cohort[0], again, strict=True):
        assert np.array_equal(old.from_reference.matrix, new.from_reference.matrix)


def test_a_damaged_cache_is_made_again(config: TrainingConfig, tmp_path: Path) -> None:
    cohort = config.data.cohorts[0].model_copy(update={"train": ["0", "1"], "monitor": []})
    first, _ = load_cohort(cohort, config.data, tmp_path / "cache")
    for entry in (tmp_path / "cache").iterdir():
        entry.write_text("[[1, 0", encoding="utf-8")
    again, _ = load_cohort(cohort, config.data, tmp_path / "cache")
    for old, new in zip(first, again, strict=True):
        assert np.array_equal(old.from_reference.matrix, new.from_reference.matrix)
    assert all(json.loads(entry.read_text()) for entry in (tmp_path / "cache").iterdir())


def test_the_cache_goes_by_content(config: TrainingConfig, persons: Path, tmp_path: Path) -> None:
    """Another image under the same name is aligned anew; a cohort's own folder is left alone."""
    for name in ("0", "1"):
        shutil.copy(persons / f"person-{name}_T1w.nii.gz", tmp_path)
    cohort = config.data.cohorts[0].model_copy(update={"train": ["0", "1"], "monitor": []})
    data = config.data.model_copy(update={"root": tmp_path})
    load_cohort(cohort, data, tmp_path / "cache")
    entries = set((tmp_path / "cache").iterdir())
    shutil.copy(persons / "person-2_T1w.nii.gz", tmp_path / "person-1_T1w.nii.gz")
    load_cohort(cohort, data, tmp_path / "cache")
    assert len(set((tmp_path / "cache").iterdir()) - entries) == 1
    assert {path.name for path in tmp_path.iterdir()} - {"recipe"} == {
        "cache",
        *(f"person-{n}_T1w.nii.gz" for n in "01"),
    }


@pytest.mark.parametrize(
    ("value", "said"), [(np.nan, "got NaN or infinity in every voxel"), (7.0, "with contrast, got 7 in")]
)
def test_an_unusable_image_is_named(value: float, said: str, config: TrainingConfig, tmp_path: Path) -> None:
    for name in ("0", "1"):
        data = np.full((20, 22, 24), value, np.float32)
        write(tmp_path / f"person-{name}_T1w.nii.gz", Volume(data, Grid(data.shape, np.eye(4))))
    data_section = config.data.model_copy(update={"root": tmp_path})
    cohort = config.data.cohorts[0].model_copy(update={"train": ["0", "1"], "monitor": []})
    with pytest.raises(InputError, match=rf"person-0_T1w.*{said}"):
        load_cohort(cohort, data_section, tmp_path / "cache")


def test_voxels_without_data_become_background(config: TrainingConfig, persons: Path, tmp_path: Path) -> None:
    for name in ("0", "1"):
        person = read(persons / f"person-{name}_T1w.nii.gz")
        holed = person.data.astype(np.float32)
        holed[:2], holed[2, 3, 4] = np.nan, np.inf
        write(tmp_path / f"person-{name}_T1w.nii.gz", Volume(holed, person.grid))
    cohort = config.data.cohorts[0].model_copy(update={"train": ["0", "1"], "monitor": []})
    train, _ = load_cohort(cohort, config.data.model_copy(update={"root": tmp_path}), tmp_path / "cache")
    for subject in train:
        assert np.isfinite(subject.image.data).all()
        assert 0.9 < subject.image.data.max() <= 1.25


def test_labels_that_strip_must_lie_on_their_image(config: TrainingConfig, persons: Path, tmp_path: Path) -> None:
    shutil.copy(persons / "person-0_T1w.nii.gz", tmp_path)
    shutil.copy(persons / "person-1_dseg.nii.gz", tmp_path / "person-0_dseg.nii.gz")
    alone = {"skull_strip_with_labels": True, "train": ["0"], "monitor": []}
    stripped = config.data.cohorts[0].model_copy(update=alone)
    with pytest.raises(InputError, match=r"person-0_dseg.* labels on the grid of "):
        load_cohort(stripped, config.data.model_copy(update={"root": tmp_path}), tmp_path / "cache")


def test_drawing_is_random_only_in_its_generator(config: TrainingConfig) -> None:
    one, two, other = (sample_augmentation(np.random.default_rng([5, step]), config.augment) for step in (1, 1, 2))
    assert (one.flip, one.gammas, one.noise_seed) == (two.flip, two.gammas, two.noise_seed)
    np.testing.assert_array_equal(one.misalign, two.misalign)
    assert one.noise_seed != other.noise_seed


def test_every_change_can_be_switched_off(config: TrainingConfig) -> None:
    off = dict.fromkeys(type(config.augment).model_fields, 0.0)
    change = sample_augmentation(np.random.default_rng(1), config.augment.model_copy(update=off))
    assert change.pose is None
    assert not change.flip
    assert change.gammas == (1.0, 1.0)
    np.testing.assert_array_equal(change.misalign, np.eye(4))


def test_identical_pairs_are_as_frequent_as_asked_for_and_not_misaligned(config: TrainingConfig) -> None:
    often = config.augment.model_copy(update={"identical_probability": 0.25})
    drawn = [sample_augmentation(np.random.default_rng([8, n]), often) for n in range(400)]
    identical = [change for change in drawn if change.known == 0]
    assert 70 < len(identical) < 130
    for change in identical:
        np.testing.assert_array_equal(change.misalign, np.eye(4))
    assert not any(np.array_equal(change.misalign, np.eye(4)) for change in drawn if change.known is None)


def test_identical_pairs_leave_all_else_that_is_drawn_as_it_was(config: TrainingConfig) -> None:
    """So that a run of an older recipe goes on exactly."""
    often = config.augment.model_copy(update={"identical_probability": 1.0})
    before, after = (sample_augmentation(np.random.default_rng(4), how) for how in (config.augment, often))
    assert (before.flip, before.gammas, before.noise_seed) == (after.flip, after.gammas, after.noise_seed)
    assert (before.known, after.known) == (None, 0)


def test_shading_is_smooth_and_spares_the_background() -> None:
    image = torch.ones(32, 24, 40)
    image[:, :4] = 0
    shaded = augment_intensity(image.clone(), 1.0, 0.0, torch.Generator().manual_seed(1), 0.2)
    inside = shaded[:, 4:]
    assert float(shaded[:, :4].abs().max()) == 0
    assert 0.05 < float(inside.log().std()) < 0.3
    assert float(inside.log().diff(dim=0).abs().max()) < 0.1
    unshaded = augment_intensity(image.clone(), 1.0, 0.0, torch.Generator().manual_seed(1))
    assert torch.equal(unshaded, image)


def test_a_missing_subject_is_named(config: TrainingConfig, tmp_path: Path) -> None:
    wanted = config.data.cohorts[0].model_copy(update={"train": ["0", "nobody"]})
    with pytest.raises(InputError, match="person-nobody"):
        load_cohort(wanted, config.data, tmp_path)


def test_pairs_are_aligned(cohort: tuple[list[Subject], list[Subject]], config: TrainingConfig) -> None:
    (first, second, _), _ = cohort
    fixed, moving = render(first, second, STILL, config.data, config.augment.model_copy(update={"noise": 0.0}))
    assert fixed.shape == moving.shape == config.data.shape
    assert correlation(fixed, moving) > 0.7


def test_the_pose_moves_both_images_alike(cohort: tuple[list[Subject], list[Subject]], config: TrainingConfig) -> None:
    (first, second, _), _ = cohort
    pose = np.eye(4)
    pose[:3, 3] = first.image.grid.directions @ (15, -10, 5)
    quiet = config.augment.model_copy(update={"noise": 0.0})
    still = render(first, second, dataclasses.replace(STILL, pose=np.eye(4)), config.data, quiet)
    posed = render(first, second, dataclasses.replace(STILL, pose=pose), config.data, quiet)
    for before, after in zip(still, posed, strict=True):
        # 15, -10 and 5 mm along the axes are 3, -2 and 1 voxels.
        assert torch.allclose(before[3:, :-2, 1:], after[:-3, 2:, :-1], atol=1e-4)


def test_a_flip_mirrors_left_and_right(cohort: tuple[list[Subject], list[Subject]], config: TrainingConfig) -> None:
    (first, second, _), _ = cohort
    quiet = config.augment.model_copy(update={"noise": 0.0})
    straight = render(first, second, STILL, config.data, quiet)
    mirrored = render(first, second, dataclasses.replace(STILL, flip=True), config.data, quiet)
    for a, b in zip(straight, mirrored, strict=True):
        assert torch.equal(a.flip(0), b)


def test_rendering_is_deterministic_and_leaves_the_subjects_alone(
    cohort: tuple[list[Subject], list[Subject]], config: TrainingConfig
) -> None:
    (first, second, _), _ = cohort
    before = first.image.data.copy()
    change = sample_augmentation(np.random.default_rng([1, 2]), config.augment)
    one = render(first, second, change, config.data, config.augment)
    two = render(first, second, change, config.data, config.augment)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert np.array_equal(before, first.image.data)
    assert not torch.equal(one[0], render(first, second, STILL, config.data, config.augment)[0])


def test_whole_heads_can_be_stripped_with_their_labels(
    config: TrainingConfig, persons: Path, cohort: tuple[list[Subject], list[Subject]], tmp_path: Path
) -> None:
    stripped = config.data.cohorts[0].model_copy(update={"skull_strip_with_labels": True, "monitor": []})
    train, _ = load_cohort(stripped, config.data, tmp_path)
    # The generated brains have no skull: stripping changes nothing.
    assert np.array_equal(train[0].image.data, cohort[0][0].image.data)


def test_label_maps_follow_their_images(cohort: tuple[list[Subject], list[Subject]], config: TrainingConfig) -> None:
    first, second = cohort[1]
    matrix = np.eye(4)
    matrix[:3, 3] = 3, -4, 2
    change = dataclasses.replace(STILL, pose=matrix, flip=True)
    fixed, moving = render(first, second, change, config.data, config.augment.model_copy(update={"noise": 0.0}))
    for image, maps in zip((fixed, moving), render_labels(first, second, change, config.data, 99), strict=True):
        assert maps.shape == (3, *config.data.shape)
        assert set(maps.unique().tolist()) == {0.0, 1.0}
        assert maps.sum(dim=0).max() == 1
        tissue, brain = image > 0.02, maps.sum(dim=0) > 0
        assert 2 * (tissue & brain).sum() / (tissue.sum() + brain.sum()) > 0.85  # .92, for borders


def test_blocks_of_label_maps_are_means(cohort: tuple[list[Subject], list[Subject]], config: TrainingConfig) -> None:
    first, second = cohort[1]
    change = dataclasses.replace(STILL, flip=True)
    full = render_labels(first, second, change, config.data, 2)
    blocks = render_labels(first, second, change, config.data, 2, (2, 2, 1))
    for maps, means in zip(full, blocks, strict=True):
        assert torch.allclose(torch.nn.functional.avg_pool3d(maps, (2, 2, 1)), means, atol=1e-6)


def test_structures_are_drawn_by_the_seed(cohort: tuple[list[Subject], list[Subject]], config: TrainingConfig) -> None:
    first, second = cohort[1]
    drawn = [
        render_labels(first, second, dataclasses.replace(STILL, noise_seed=seed), config.data, 1)[0]
        for seed in (0, 0, 1, 2, 3, 4, 5)
    ]
    assert torch.equal(drawn[0], drawn[1])
    assert len({float(maps.sum()) for maps in drawn}) == 3


def test_pairs_are_of_two_persons_or_of_one(cohort: tuple[list[Subject], list[Subject]]) -> None:
    train, _ = cohort
    rng = np.random.default_rng(0)
    pairs = {tuple(s.name for s in choose_pair(train, False, rng)) for _ in range(100)}
    assert pairs == {(a.name, b.name) for a in train for b in train if a is not b}
    phases = [dataclasses.replace(s, name=s.name) for s in train for _ in range(2)]
    for _ in range(20):
        fixed, moving = choose_pair(phases, True, rng)
        assert fixed.name == moving.name
        assert fixed is not moving


def test_a_profile_holds_the_extremes(cohort: tuple[list[Subject], list[Subject]]) -> None:
    seen = profile(cohort[0])
    shapes = np.array([s.image.grid.shape for s in cohort[0]])
    assert seen.voxels == tuple(zip(shapes.min(axis=0), shapes.max(axis=0), strict=True))
    assert seen.extent_mm[0] == pytest.approx(np.array(seen.voxels[0]) * 5.0)
    assert seen.kinds == ("skull-stripped brain",)
    assert 0.5 < seen.litres[0] <= seen.litres[1] < 2.5


def test_several_images_of_a_subject_share_their_frame(config: TrainingConfig, persons: Path, tmp_path: Path) -> None:
    for person in "012":
        for phase, other in (("ED", person), ("ES", str((int(person) + 1) % 3))):
            for what in ("T1w", "dseg"):
                (tmp_path / f"p{person}_{phase}_{what}.nii.gz").symlink_to(persons / f"person-{other}_{what}.nii.gz")
    cohort = Cohort(
        folder=tmp_path,
        image=["p{id}_ED_T1w.nii.gz", "p{id}_ES_T1w.nii.gz"],
        labels=["p{id}_ED_dseg.nii.gz", "p{id}_ES_dseg.nii.gz"],
        train=["0"],
        monitor=["2"],
    )
    train, monitored = load_cohort(cohort, config.data, tmp_path, pool=(2, 2, 1), train_labels=True)
    assert [s.name for s in train] == ["0", "0"]
    assert [s.name for s in monitored] == ["2", "2"]
    assert all(s.codes == (1, 2, 3) for s in (*train, *monitored))
    assert all(np.array_equal(s.from_reference.matrix, np.eye(4)) for s in train)
    assert not list(tmp_path.glob("affine-*"))


def test_a_label_map_among_found_images_is_refused(config: TrainingConfig, persons: Path, tmp_path: Path) -> None:
    cohort = Cohort(folder=persons, image="person-{id}.nii.gz")
    with pytest.raises(
        InputError, match=r"dseg\.nii\.gz: expected an image, got a label map; name label maps in labels"
    ):
        load_cohort(cohort, config.data, tmp_path)
