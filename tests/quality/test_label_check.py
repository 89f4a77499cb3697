"""Labels that vanish or change their volume are named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightcrcf.errors import InputError
from lightcrcf.geometry.grid import Grid
from lightcrcf.preprocessing.brain import find_brain
from lightcrcf.preprocessing.validity import examine
from lightcrcf.quality.label_check import Structure, check_fixed_labels, label_record, misplaced, warnings_of
from lightcrcf.registration.heads import extract_brain
from lightcrcf.transforms.affine import Affine
from lightcrcf.volumes import Volume, read

GRID = Grid((12, 14, 16), np.diag([1.0, 2.0, 3.0, 1.0]))
IDENTITY = Affine.identity()


def labels(**boxes: int) -> Volume:
    """A label map with `b7=20`: 20 voxels of code 7."""
    data, at = np.zeros(GRID.shape, np.int32), 0
    for name, voxels in boxes.items():
        data.ravel()[at : at + voxels] = int(name[1:])
        at += voxels
    return Volume(data, GRID, "seg.nii.gz")


def test_volumes_are_in_mm3_and_ratios_leave_the_affine_out() -> None:
    double = Affine(np.diag([2.0, 1.0, 1.0, 1.0]))  # the moving space is twice as large as the fixed
    told = label_record(labels(b7=100, b2035=60), labels(b7=50, b2035=60), double, None)
    assert told.source == "seg.nii.gz"
    assert told.structures["7"] == Structure(moving_mm3=600.0, moved_mm3=300.0, ratio=1.0)
    assert told.structures["2035"].ratio == 2.0
    assert told.notes == ()


def test_what_vanishes_or_changes_more_than_threefold_is_named() -> None:
    before, after = labels(b1=100, b2=40, b3=9, b4=60, b5=50), labels(b1=100, b4=19, b5=151)
    told = label_record(before, after, IDENTITY, None)
    assert told.notes == (
        "lost altogether: 2",
        "gone, of fewer than 30 voxels: 3",
        "more than 3 times larger or smaller than the affine alone makes it: 4 (0.32 times), 5 (3 times)",
    )
    assert warnings_of([told]) == ["of the labels seg.nii.gz, lost altogether: 2"]


def test_many_names_are_cut_short() -> None:
    before = labels(**{f"b{code}": 40 for code in range(1, 21)})
    notes = label_record(before, labels(b1=40), IDENTITY, None).notes
    assert notes == ("lost altogether: 2, 3, 4, 5, 6, 7, 8, 9 and 11 more",)


def test_dice_is_there_for_labels_that_the_fixed_image_has() -> None:
    told = label_record(labels(b1=100, b2=40), labels(b1=100, b2=40), IDENTITY, labels(b1=50, b9=3))
    assert told.dice() == {"1": pytest.approx(2 * 50 / 150, abs=1e-6)}
    assert told.structures["2"].dice is None


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int64])
def test_any_dtype_that_holds_whole_numbers_counts_alike(dtype: type) -> None:
    before = labels(b1=100, b2=40)
    other = Volume(before.data.astype(dtype), GRID, before.source)
    assert label_record(other, other, IDENTITY, other) == label_record(before, before, IDENTITY, before)


def test_negative_and_huge_codes_count_too() -> None:
    data = np.zeros(GRID.shape, np.int64)
    data[:2], data[3:5] = -7, 3_000_000
    told = label_record(Volume(data, GRID), Volume(data, GRID), IDENTITY, None)
    assert [s.ratio for s in told.structures.values()] == [1.0, 1.0]
    assert list(told.structures) == ["-7", "3000000"]


def test_fixed_labels_must_lie_on_the_fixed_grid() -> None:
    fixed = Volume(np.zeros(GRID.shape, np.uint8), GRID, "fixed.nii")
    check_fixed_labels(None, fixed)
    check_fixed_labels(fixed, fixed)
    shifted = Volume(fixed.data, GRID.crop((1, 0, 0), GRID.shape), "labels.nii")
    with pytest.raises(InputError, match=r"labels\.nii: expected labels on the grid of fixed\.nii"):
        check_fixed_labels(shifted, fixed)


def test_labels_of_the_image_are_not_doubted(brains: Callable[..., tuple[Volume, Volume]], grids: Any) -> None:
    image, labels = brains(grids((47, 60, 43), (3.0, 3.0, 3.0), axes="LPS"))
    elsewhere = brains(grids((60, 51, 70), (2.5, 3.1, 2.4), axes="ASR", turn=(8, -5, 6)))[1]
    assert misplaced(labels, image) is None
    assert misplaced(elsewhere, image) is None


def test_labels_that_do_not_lie_on_the_image_are_told(brains: Callable[..., tuple[Volume, Volume]], grids: Any) -> None:
    image, labels = brains(grids((47, 60, 43), (3.0, 3.0, 3.0), axes="LPS"))
    away = labels.grid.affine.copy()
    away[:3, 3] += 100
    told = misplaced(Volume(labels.data, Grid(labels.grid.shape, away), "others.nii"), image)
    assert told is not None
    assert "others.nii do not lie on the moving image" in told


@pytest.mark.data
@pytest.mark.parametrize(
    ("image", "labels"),
    [
        ("oasis/sub-{}_T1w.nii.gz", "oasis/sub-{}_dseg.nii.gz"),
        ("ixi-2mm/sub-{}_T1w.nii.gz", "ixi-2mm/sub-{}_dseg.nii.gz"),
        ("chaos-t2/sub-{}_T2w.nii.gz", "chaos-t2/sub-{}_dseg.nii.gz"),
    ],
)
def test_labels_of_another_person_on_the_same_scanner_are_told(image: str, labels: str, data: Path) -> None:
    persons = json.loads((data / "splits.json").read_text())[image.split("/")[0]]["val"][:4]
    images = [read(data / image.format(person)) for person in persons]
    maps = [read(data / labels.format(person)) for person in persons]
    for number, shown in enumerate(images):
        assert misplaced(maps[number], shown) is None
        assert misplaced(maps[number - 1], shown) is not None


@pytest.mark.data
def test_a_mask_of_the_brain_may_fit_the_brain_of_a_head_that_was_cut_out(data: Path) -> None:
    head, extent = examine(read(data / "heads-t1-t2" / "sub-01_T1w.nii.gz"))
    mask = find_brain(head, extent).mask
    brain, _ = extract_brain(head, mask, extent)
    labels = Volume(mask.astype(np.uint8), head.grid, "mask")
    aside = replace(labels, data=np.roll(labels.data, 12, 1))
    assert misplaced(labels, head) is not None
    assert misplaced(labels, head, brain) is None
    assert misplaced(aside, head, brain) is not None
