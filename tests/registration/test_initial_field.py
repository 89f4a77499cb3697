"""The network's field of a pair of one contrast and of two."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf.cache.registration import RegistrationCache
from lightcrcf.engines.base import Engine
from lightcrcf.preprocessing.local_regression import in_contrast_of
from lightcrcf.refinement.initial_field import predict
from lightcrcf.refinement.schedule import plan
from lightcrcf.refinement.working_pair import WorkingPair
from lightcrcf.registration.contrast import REMARK, select_across_contrasts
from lightcrcf.registration.models import ModelSelection
from lightcrcf.registration.register import register
from lightcrcf.transforms.affine import Affine
from lightcrcf.volumes import Volume
from lightcrcf.weights import store

Pair = tuple[Volume, Volume]


class Recorder:
    """An engine that moves everything by a voxel, and keeps what it was shown."""

    name, device, precision = "recorder", "cpu", "f32"

    def __init__(self) -> None:
        self.seen: list[tuple[NDArray, NDArray]] = []

    def displacement(self, fixed: NDArray, moving: NDArray) -> NDArray:
        self.seen.append((fixed, moving))
        return np.full((3, *(-(-n // 2) for n in fixed.shape)), 0.5, np.float32)


def inverted(volume: Volume) -> Volume:
    return replace(volume, data=np.where(volume.data > 0, 1.2 * volume.data.max() - volume.data, 0).astype(np.float32))


def working(fixed: Volume, moving: Volume) -> WorkingPair:
    return WorkingPair.prepare(fixed, moving, (None, None), Affine.identity(), None, RegistrationCache())


def shown(pair: WorkingPair, *, across: bool) -> list[tuple[NDArray, NDArray]]:
    recorder = Recorder()
    engine: Engine = recorder  # type: ignore[assignment]
    assert predict(engine, pair, across=across).shape[0] == 3
    return recorder.seen


def test_one_contrast_is_shown_once_and_as_it_is(pair: Pair) -> None:
    prepared = working(*pair)
    (seen,) = shown(prepared, across=False)
    for image, expected in zip(seen, prepared.for_network(), strict=True):
        np.testing.assert_array_equal(image, expected)


def test_two_contrasts_are_shown_twice_in_that_of_the_fixed_image(pair: Pair) -> None:
    prepared = working(pair[0], inverted(pair[1]))
    fixed, moving = prepared.for_network()
    first, second = shown(prepared, across=True)
    for seen in (first, second):
        np.testing.assert_array_equal(seen[0], fixed)
    np.testing.assert_array_equal(first[1], in_contrast_of(fixed, moving))
    assert not np.array_equal(first[1], second[1])  # mapped where the first field aligned them


def test_the_image_with_larger_voxels_is_mapped(pair: Pair) -> None:
    coarse = replace(pair[0], data=pair[0].data[::2, ::2, ::2], grid=pair[0].grid.half((2, 2, 2)))
    prepared = working(inverted(coarse), pair[1])
    fixed, moving = prepared.for_network()
    for seen in shown(prepared, across=True):
        np.testing.assert_array_equal(seen[1], moving)
        assert not np.array_equal(seen[0], fixed)


def test_what_does_not_count_is_filled_after_the_mapping(pair: Pair) -> None:
    """Then both images agree there, and the fill is no evidence for the map."""
    mask = Volume(np.ones(pair[0].data.shape, np.uint8), pair[0].grid)
    mask.data[: mask.data.shape[0] // 2] = 0
    masks = (mask, None)
    prepared = WorkingPair.prepare(pair[0], inverted(pair[1]), masks, Affine.identity(), None, RegistrationCache())
    assert prepared.network_masks[0] is not None
    left_out = prepared.network_masks[0] == 0
    fixed, moving = prepared.counted()
    assert not fixed[left_out].any()
    first = shown(prepared, across=True)[0]
    np.testing.assert_array_equal(first[0][left_out], first[1][left_out])
    np.testing.assert_array_equal(first[1], in_contrast_of(fixed, moving))


@pytest.mark.parametrize("init", ["network", "identity"])
def test_a_model_for_two_contrasts_runs_on_them(pair: Pair, coarse_model: Path, tmp_path: Path, init: str) -> None:
    weights = store.load(coarse_model)
    knowing = replace(weights.preparation, across=init)
    path = tmp_path / "across.safetensors"
    store.write_weights(
        path, weights.arrays, name="across", config=weights.config, preparation=knowing, content=weights.content,
        profile=weights.profile, supervision="none",
    )  # fmt: skip
    for preset, runs in (("fast", True), ("default", init == "network")):
        found = register(pair[0], inverted(pair[1]), model=path, preset=preset, similarity="any")  # type: ignore[arg-type]
        assert found.record.similarity.contrasts == "any"
        assert found.record.model.name == "across"
        assert (found.record.engine is not None) == runs
        assert found.record.refinement.objective == "explained"
    named = register(pair[0], inverted(pair[1]), model=path, preset="fast")
    assert named.record.similarity.contrasts == "same"  # a model that was asked for decides


def test_a_named_model_that_does_not_suit_says_so_across_contrasts_too(coarse_model: Path) -> None:
    """Limits of two contrasts are for models that suit."""
    weights = store.load(coarse_model)
    chosen = ModelSelection(weights, "as asked", ("it was trained on something else",))
    knowing = replace(weights, preparation=replace(weights.preparation, across="network"))
    kept = select_across_contrasts(replace(chosen, weights=knowing))
    assert kept.mismatch == ("it was trained on something else", REMARK)
    assert select_across_contrasts(chosen).weights is None


def test_a_smoother_field_starts_from_the_identity() -> None:
    """A refined field that gains too little to be kept would leave the network's, as rough as it is."""
    brain = store.load("brain").preparation
    starts = [plan("default", brain, across=True, smoothness=s) for s in (0.5, 1.0, 1.4, 4.0)]
    assert [each.network for each in starts] == [True, True, False, False]
    assert [each.schedule[0].scale for each in starts] == [4, 4, 8, 8]


def test_quick_steps_after_a_network() -> None:
    brain = store.load("brain").preparation
    plans = [plan("fast", brain, across=across, steps=n) for across in (False, True) for n in (None, 7, 0)]
    assert [[level.steps for level in each.schedule] for each in plans] == [[4], [7], [], [12, 4], [12, 7], []]
    assert all(each.network for each in plans)
