"""A head that meets a bare brain is registered by its brain alone; nothing else is touched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from lightcrcf.cache.registration import RegistrationCache
from lightcrcf.errors import InputError
from lightcrcf.geometry.grid import Grid
from lightcrcf.preprocessing.brain import Brain, find_brain
from lightcrcf.preprocessing.foreground import ImageType, classify
from lightcrcf.preprocessing.validity import examine
from lightcrcf.registration import heads
from lightcrcf.registration.heads import extract_brain, extract_brains
from lightcrcf.registration.inputs import ImagePair, Inputs, RawInputs
from lightcrcf.volumes import Volume

Pair = tuple[Volume, Volume]


@pytest.fixture(scope="module")
def grid(grids: Callable[..., Grid]) -> Grid:
    return grids((70, 84, 74), (3.0, 3.0, 3.2))


@pytest.fixture(scope="module")
def head(grid: Grid, brains: Callable[..., Pair]) -> Pair:
    return brains(grid, head=True)


@pytest.fixture(scope="module")
def bare(grid: Grid, brains: Callable[..., Pair]) -> Pair:
    return brains(grid, person=1)


def inputs(fixed: Volume, moving: Volume, fixed_mask: Volume | None = None) -> Inputs:
    return Inputs.read(RawInputs([fixed], [moving], fixed_mask, None, None, (), ()), RegistrationCache())


def cut(given: Inputs, *, wanted: bool = False) -> ImagePair:
    return extract_brains(given, RegistrationCache(), wanted=wanted).first


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero((a != 0) & (b != 0)) / (np.count_nonzero(a) + np.count_nonzero(b))


def test_the_head_is_replaced_by_its_brain(head: Pair, bare: Pair) -> None:
    for fixed, moving, at in ((head, bare, 0), (bare, head, 1)):
        found = cut(inputs(fixed[0], moving[0]))
        assert found.cut_out
        assert found.shown == (fixed[0], moving[0])
        brain, other = found.brains[at], found.brains[1 - at]
        assert other is None
        assert brain is not None
        assert brain.by == "network"
        assert overlap(brain.mask.data, head[1].data) > 0.7  # skull and scalp are like no real ones
        alone = (found.fixed, found.moving)[at]
        assert classify(alone).kind == "skull-stripped brain"
        assert found.extents[at].background_masked
        assert (found.moving, found.fixed)[at] is (moving[0], fixed[0])[at]


def test_further_contrasts_are_cut_by_the_brain_of_the_first(head: Pair, bare: Pair) -> None:
    inverted = np.ascontiguousarray(300 - head[0].data[::2, ::2, ::2])
    coarse = Volume(inverted, Grid(inverted.shape, head[0].grid.affine @ np.diag([2, 2, 2, 1])), "other contrast")
    given = Inputs.read(RawInputs([head[0], coarse], [bare[0], bare[0]], None, None, None, (), ()), RegistrationCache())
    first, second = extract_brains(given, RegistrationCache(), wanted=False).pairs
    assert second.cut_out
    assert second.shown[0] is coarse
    assert first.brains[0] is not None
    brain = first.brains[0].mask.data[::2, ::2, ::2]
    outside = second.fixed.data[~brain]
    assert np.mean(outside == np.median(outside)) > 0.99
    assert np.mean(second.fixed.data[brain] == coarse.data[brain]) > 0.99


def test_two_heads_and_two_brains_stay_as_they_are(head: Pair, bare: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "find_brain", lambda *_: pytest.fail("looked for a brain"))
    for pair in ((head[0], head[0]), (bare[0], bare[0])):
        given = inputs(*pair)
        assert extract_brains(given, RegistrationCache(), wanted=False) is given


def test_a_body_beside_something_masked_is_not_looked_into(
    bare: Pair, grids: Callable[..., Grid], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "find_brain", lambda *_: pytest.fail("looked for a brain"))
    body = np.random.default_rng(0).normal(10, 2, (60, 60, 60)).astype(np.float32)
    body[4:-4, 4:-4, 4:-4] += 100
    given = inputs(Volume(body, grids((60, 60, 60), (6.0, 6.0, 6.0))), bare[0])
    assert classify(given.fixed).foreground_litres > 8
    assert extract_brains(given, RegistrationCache(), wanted=False) is given


@pytest.mark.parametrize(
    "change",
    [{"litres": 0.3}, {"litres": 2.5}, {"certainty": 0.7}, {"fraction": 0.6, "pieces": 3}],
    ids=lambda change: next(iter(change)),
)
def test_what_is_hardly_a_brain_is_left_alone(
    change: dict[str, float], head: Pair, bare: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    sure = Brain(head[1].data > 0, 1.1, 1, 1.0, 0.95)
    monkeypatch.setattr(heads, "find_brain", lambda image, _: replace(sure, **change) if image is head[0] else sure)
    given = inputs(head[0], bare[0])
    assert extract_brains(given, RegistrationCache(), wanted=False) is given


def test_something_masked_that_is_no_brain_changes_nothing(
    head: Pair, bare: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = np.zeros(head[1].data.shape, np.bool_)
    elsewhere[:20] = True
    masks = {True: head[1].data > 0, False: elsewhere}
    monkeypatch.setattr(heads, "find_brain", lambda image, _: Brain(masks[image is head[0]], 1.1, 1, 1.0, 0.95))
    given = inputs(head[0], bare[0])
    assert extract_brains(given, RegistrationCache(), wanted=False) is given


def test_a_mask_that_outlines_the_brain_is_believed(head: Pair, bare: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "find_brain", lambda *_: pytest.fail("looked for a brain"))
    counts = (head[1].data > 0).astype(np.uint8)
    counts[33:37, 50:54, 36:40] = 0  # a lesion
    found = cut(inputs(head[0], bare[0], Volume(counts, head[0].grid)))
    brain = found.brains[0]
    assert brain is not None
    assert brain.by == "mask"
    assert brain.certainty is None
    assert brain.mask.data[35, 52, 38]  # within the brain, and the mask goes on leaving it out
    assert found.fixed_mask is not None
    assert np.count_nonzero(found.fixed_mask.data == 0) == 4**3


def test_a_mask_of_lesions_is_kept(head: Pair, bare: Pair) -> None:
    counts = np.ones(head[0].grid.shape, np.uint8)
    counts[33:37, 50:54, 36:40] = counts[:5] = 0
    found = cut(inputs(head[0], bare[0], Volume(counts, head[0].grid)))
    assert found.brains[0] is not None
    assert found.brains[0].by == "network"
    assert found.fixed_mask is not None
    assert np.count_nonzero(found.fixed_mask.data == 0) == 4**3


def test_the_air_of_ct_does_not_take_the_contrast(head: Pair) -> None:
    brain = head[1].data > 0
    hounsfield = np.where(brain, 30 + head[1].data * 10, -1000).astype(np.int16)
    image, extent = examine(Volume(hounsfield, head[0].grid))
    alone, _ = extract_brain(image, brain, extent)
    assert alone.data[~brain].min() == alone.data[~brain].max() >= 40 - 2 * 20
    np.testing.assert_array_equal(alone.data[brain], hounsfield[brain])


def test_what_is_unknown_in_the_brain_stays_unknown(head: Pair) -> None:
    data = head[0].data.astype(np.float32)
    data[30:40, 40:50, 30:40] = np.nan
    brain = head[1].data > 0
    _, extent = extract_brain(*_examined(data, head[0].grid, brain))
    assert extent.known is not None
    assert not extent.known[35, 45, 35]
    assert extent.known[~brain].all()


def _examined(data: np.ndarray, grid: Grid, brain: np.ndarray) -> tuple:
    image, extent = examine(Volume(data, grid))
    return image, brain, extent


def test_a_mask_that_is_asked_for_is_made_or_refused(head: Pair, grid: Grid) -> None:
    found = cut(inputs(head[0], head[0]), wanted=True)
    assert not found.cut_out
    assert found.brain_masks[1] is None
    assert found.brain_masks[0] is not None
    assert found.brain_masks[0].data.dtype == np.uint8
    noise = Volume(np.random.default_rng(0).normal(100, 5, grid.shape).astype(np.float32), grid, "noise")
    with pytest.raises(InputError, match="noise: expected an image that shows a brain"):
        extract_brains(inputs(noise, head[0]), RegistrationCache(), wanted=True)


def test_only_the_head_is_told_to_be_registered_by_its_brain_alone(head: Pair, bare: Pair) -> None:
    for fixed, moving, alone in ((bare, head, [False, True]), (head, bare, [True])):
        found = cut(inputs(fixed[0], moving[0]), wanted=True)
        told = zip(found.brains, found.extracted, strict=True)
        assert [extracted for brain, extracted in told if brain is not None] == alone


def test_pieces_specks_and_nothing_are_doubted() -> None:
    mask = np.zeros((2, 2, 2), np.bool_)
    assert Brain(mask, 0.0, 0, 0.0, 0.0).doubt == "none"
    assert Brain(mask, 0.03, 1, 1.0, 0.9).doubt == "30 ml"
    assert Brain(mask, 3.1, 1, 1.0, 0.9).doubt == "3.1 l, more than a head holds"
    assert Brain(mask, 0.9, 3, 0.6, 0.9).doubt == "3 pieces, the largest with 60 % of their volume"
    assert Brain(mask, 1.2, 2, 0.98, 0.9).doubt is None


def test_half_a_head_has_half_a_brain(head: Pair) -> None:
    upper = head[0].grid.crop((0, 0, 37), (70, 84, 37))
    image = Volume(head[0].data[:, :, 37:], upper)
    found = find_brain(*examine(image))
    assert found.doubt is None
    assert overlap(found.mask, head[1].data[:, :, 37:]) > 0.65


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (ImageType(4.0, 0.0, False, "whole head or body"), 1),
        (ImageType(1.8, 0.0, False, "other"), 1),  # a T2 whose scalp is dark
        (ImageType(0.9, 0.0, False, "other"), None),
        (ImageType(1.8, 0.5, True, "other"), None),
        (ImageType(1.8, 0.0, False, "other", ct=True), None),
        (ImageType(14.0, 0.0, False, "whole head or body"), None),
    ],
)
def test_what_may_be_a_head_is_searched_for_a_brain(one: ImageType, expected: int | None) -> None:
    assert heads._head_index(ImageType(1.2, 0.6, True, "skull-stripped brain"), one) == expected
