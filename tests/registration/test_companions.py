"""Masks and label maps that other tools stored in another order of axes, and those that lie elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lightcrcf.affine.pyramid import AlignmentImage
from lightcrcf.cache.registration import RegistrationCache
from lightcrcf.errors import InputError
from lightcrcf.evaluation.protocols import evaluate
from lightcrcf.geometry.grid import AxisOrder, Grid
from lightcrcf.registration.inputs import Inputs, RawInputs
from lightcrcf.volumes import Volume

REVERSED = AxisOrder((2, 0, 1), (True, False, True))


@pytest.fixture
def image(brains: Callable[..., tuple[Volume, Volume]], grids: Callable[..., Grid]) -> tuple[Volume, Volume]:
    return brains(grids((24, 30, 21), (6.0, 5.8, 6.4), axes="LPS", turn=(4, -3, 7)))


def reordered(volume: Volume) -> Volume:
    return replace(volume, data=REVERSED.array(volume.data), grid=REVERSED.grid(volume.grid))


def shifted(volume: Volume, mm: float) -> Volume:
    affine = volume.grid.affine.copy()
    affine[0, 3] += mm
    return replace(volume, grid=Grid(volume.grid.shape, affine))


def read(image: Volume, **companions: Volume) -> Inputs:
    given = {"fixed_mask": None, "moving_mask": None, "fixed_labels": None, **companions}
    return Inputs.read(RawInputs([image], [image], **given, moving_labels=(), also=()), RegistrationCache())


def companion(inputs: Inputs, role: str) -> Any:
    return inputs.fixed_labels if role == "fixed_labels" else getattr(inputs.first, role)


@pytest.mark.parametrize("role", ["fixed_mask", "moving_mask", "fixed_labels"])
def test_another_order_of_axes_is_the_same_companion(role: str, image: tuple[Volume, Volume]) -> None:
    volume, labels = image
    found = companion(read(volume, **{role: reordered(labels)}), role)
    assert np.array_equal(found.data, labels.data)
    assert found.grid.isclose(volume.grid, tolerance_mm=1e-9)


@pytest.mark.parametrize("role", ["fixed_mask", "moving_mask", "fixed_labels"])
def test_a_shifted_companion_is_refused_with_the_shift(role: str, image: tuple[Volume, Volume]) -> None:
    volume, labels = image
    with pytest.raises(InputError, match=r"shifted by \(3, 0, 0\) mm in RAS"):
        read(volume, **{role: shifted(labels, 3.0)})


@pytest.mark.parametrize("role", ["fixed_mask", "moving_mask"])
def test_nan_in_a_mask_does_not_count(role: str, image: tuple[Volume, Volume]) -> None:
    volume, labels = image
    inside = labels.data != 0
    mask = Volume(np.where(inside, np.float32(1), np.float32(np.nan)), labels.grid, "mask")
    found = companion(read(volume, **{role: mask}), role)
    np.testing.assert_array_equal(found.data != 0, inside)
    with pytest.raises(InputError, match="mask: expected a mask with nonzero voxels, got an empty one"):
        read(volume, **{role: Volume(np.full(inside.shape, np.nan), labels.grid, "mask")})


@pytest.mark.parametrize("change", [reordered, lambda mask: shifted(mask, 0.005)], ids=["reordered", "rounded"])
def test_the_affine_takes_the_masks_that_were_let_in(
    change: Callable[[Volume], Volume], image: tuple[Volume, Volume]
) -> None:
    volume, labels = image
    source = AlignmentImage.prepare(volume, change(labels))
    assert source.mask is not None
    assert np.array_equal(source.mask.data, labels.canonical().data)


def test_labels_and_images_to_score_may_be_stored_in_another_order(image: tuple[Volume, Volume]) -> None:
    volume, labels = image
    scores = evaluate(labels, moved_labels=reordered(labels), fixed=volume, moved=reordered(volume))
    assert (scores.mean_dice, scores.mean_hd95, scores.mse) == (1.0, 0.0, 0.0)
