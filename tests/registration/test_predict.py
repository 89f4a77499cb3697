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
from lightcrcf.refinement.working_pair import WorkingPair
from lightcrcf.registration.predict import predict
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
        found = register(pair[0], inverted(pair[1]), model=path, preset=preset)  # type: ignore[arg-type]
        assert found.record.similarity.contrasts == "any"
        assert found.record.model.name == "across"
        assert (found.record.engine is not None) == runs
        assert found.record.refinement.objective == "explained"
    assert register(*pair, model=path, preset="fast").record.similarity.contrasts == "same"
