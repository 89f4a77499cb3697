"""Every engine computes the same displacement from the same weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from lightcrcf.engines.base import ENGINES, Engine, open_engine
from lightcrcf.engines.bfloat16 import bfloat16_is_native
from lightcrcf.engines.native import NativeEngine
from lightcrcf.network.config import LEVELS, VARIANTS, NetworkConfig
from lightcrcf.weights.store import Weights, load, names

SHAPE = (32, 80, 48)
ODD = {
    "odd-dual": NetworkConfig(encoder=(3, 5, 7, 1), decoder=(1, 3, 5, 2), slope=0.1),
    "odd-single": NetworkConfig(stream="single", encoder=(3, 5, 7, 1), decoder=(1, 3, 5, 2)),
    "odd-correlation": NetworkConfig(correlation=True, encoder=(1, 2, 3, 5), decoder=(5, 1, 2, 3)),
    "odd-passes": NetworkConfig(correlation=True, encoder=(4, 2, 3, 5), decoder=(5, 1, 2, 3), passes=(2, 1, 1, 1)),
    "odd-force": NetworkConfig(force=True, encoder=(3, 5, 7, 1), decoder=(1, 3, 5, 2), passes=(1, 3, 2, 1)),
    "odd-antisymmetric": NetworkConfig(
        force=True,
        encoder=(3, 5, 7, 1),
        decoder=(1, 3, 5, 2),
        passes=(1, 3, 2, 1),
        antisymmetric=(True, False, True, True),
    ),
    "blind-antisymmetric": NetworkConfig(passes=(2, 1, 1, 1), antisymmetric=(True,) * 4),
    "wide": NetworkConfig(encoder=(17, 33, 24, 40), decoder=(35, 16, 18, 9)),
}
Make = Callable[[NetworkConfig], Weights]
Pair = Callable[[tuple[int, int, int]], tuple[np.ndarray, np.ndarray]]
engines = pytest.mark.parametrize("name", ENGINES)


@pytest.mark.parametrize("config", [*VARIANTS.values(), *ODD.values()], ids=[*VARIANTS, *ODD])
def test_engines_agree_on_every_variant(config: NetworkConfig, random_weights: Make, pair: Pair) -> None:
    weights, images = random_weights(config), pair(SHAPE)
    wanted = open_engine(weights, name="torch").displacement(*images)
    got = open_engine(weights, name="native").displacement(*images)
    assert np.abs(wanted).max() > 3
    # Where a window is flat but for rounding, that counts in the force, in each step again.
    np.testing.assert_allclose(got, wanted, atol=3e-2 if config.force else 1e-3, rtol=0)
    assert np.abs(got - wanted).mean() < 1e-4


@pytest.mark.parametrize("name", names())
def test_engines_agree_on_shipped_weights(name: str, pair: Pair) -> None:
    weights, images = load(name), pair(SHAPE)
    wanted = open_engine(weights, name="torch").displacement(*images)
    got = open_engine(weights, name="native").displacement(*images)
    np.testing.assert_allclose(got, wanted, atol=1e-3, rtol=0)


@engines
@pytest.mark.parametrize("force", [False, True])
def test_what_is_antisymmetric_at_every_level_leaves_one_image_alone(
    name: str, force: bool, random_weights: Make, pair: Pair
) -> None:
    config, images = NetworkConfig(passes=(1, 2, 1, 1), force=force, antisymmetric=(True,) * LEVELS), pair(SHAPE)
    engine = open_engine(random_weights(config), name=name)
    assert np.abs(engine.displacement(images[0], images[0].copy())).max() < 1e-4
    assert np.abs(engine.displacement(*images)).max() > 1


@engines
@pytest.mark.parametrize("shape", [(16, 16, 16), (16, 48, 32)])
def test_the_smallest_grids_work(name: str, shape: tuple[int, int, int], random_weights: Make, pair: Pair) -> None:
    field = open_engine(random_weights(NetworkConfig()), name=name).displacement(*pair(shape))
    assert field.shape == (3, *(n // 2 for n in shape))
    assert field.dtype == np.float32
    assert field.flags.c_contiguous
    assert np.isfinite(field).all()


@engines
@pytest.mark.parametrize("stream", ["dual", "single"])
def test_known_shifts_at_every_level_compose_to_their_doubled_sum(
    name: str, stream: str, random_weights: Make, pair: Pair
) -> None:
    weights = random_weights(NetworkConfig(stream=stream))
    shifts = [(0.5, -1.0, 2.0), (1.0, 0.25, -0.5), (-0.75, 0.5, 0.25), (0.5, 1.0, -1.5)]
    for level, shift in enumerate(shifts):
        weights.arrays[f"levels.{level}.head.weight"][:] = 0
        weights.arrays[f"levels.{level}.head.bias"][:] = shift
    field = open_engine(weights, name=name).displacement(*pair(SHAPE))
    wanted = sum(2**level * np.array(shifts[level]) for level in range(LEVELS))
    np.testing.assert_allclose(field, np.broadcast_to(wanted[:, None, None, None], field.shape), atol=1e-5)


@engines
@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
def test_the_same_input_gives_the_same_bytes(
    name: str, config: NetworkConfig, random_weights: Make, pair: Pair
) -> None:
    weights, first, second = random_weights(config), pair(SHAPE), pair((48, 16, 32))
    engine = open_engine(weights, name=name)
    field = engine.displacement(*first)
    before = field.tobytes()
    alone = open_engine(weights, name=name).displacement(*second)
    assert engine.displacement(*second).tobytes() == alone.tobytes()
    assert engine.displacement(*first).tobytes() == before
    assert field.tobytes() == before  # a later run does not write into an earlier result


@engines
def test_the_number_of_threads_does_not_change_the_result(name: str, random_weights: Make, pair: Pair) -> None:
    weights, images = random_weights(NetworkConfig()), pair(SHAPE)
    one, two = (open_engine(weights, name=name, threads=n).displacement(*images) for n in (1, 2))
    np.testing.assert_allclose(one, two, atol=1e-4)
    assert torch.get_num_threads() == 1  # as the fixture left it


@engines
def test_inputs_are_left_alone_and_may_be_views(name: str, random_weights: Make, pair: Pair) -> None:
    engine = open_engine(random_weights(NetworkConfig()), name=name)
    fixed, moving = pair(SHAPE)
    wanted, copies = engine.displacement(fixed, moving), (fixed.copy(), moving.copy())
    views = [np.asfortranarray(fixed), np.repeat(moving, 2, axis=1)[:, ::2]]
    for view in views:
        view.setflags(write=False)
    np.testing.assert_array_equal(engine.displacement(*views), wanted)
    np.testing.assert_array_equal((fixed, moving), copies)


def gentler(weights: Weights, factor: float) -> Weights:
    arrays = {k: a * np.float32(factor) if "head" in k else a for k, a in weights.arrays.items()}
    return replace(weights, arrays=arrays)


@engines
def test_bf16_stays_close(name: str, random_weights: Make, pair: Pair) -> None:
    if name == "native" and not bfloat16_is_native():
        pytest.skip("this processor has no bfloat16")
    weights, images = gentler(random_weights(NetworkConfig()), 0.2), pair(SHAPE)
    precise = open_engine(weights, name=name).displacement(*images)
    engine: Engine = open_engine(weights, name=name, precision="bf16")
    low = engine.displacement(*images)
    assert engine.precision == "bf16"
    assert low.dtype == np.float32
    assert 0 < np.abs(low - precise).mean() < 0.02 * np.abs(precise).max()


NATIVE = pytest.mark.skipif(not bfloat16_is_native(), reason="this processor has no bfloat16")


@NATIVE
@pytest.mark.parametrize("config", [*VARIANTS.values(), *ODD.values()], ids=[*VARIANTS, *ODD])
def test_bf16_is_as_close_as_pytorchs_on_every_variant(config: NetworkConfig, random_weights: Make, pair: Pair) -> None:
    weights, images = gentler(random_weights(config), 0.2), pair(SHAPE)
    precise = open_engine(weights, name="torch").displacement(*images)
    own, others = (
        open_engine(weights, name=name, precision="bf16").displacement(*images)  # type: ignore[arg-type]
        for name in ("native", "torch")
    )
    assert np.abs(own - others).max() > 0
    errors = [np.abs(field - precise).mean() for field in (own, others)]
    assert errors[0] < 1.5 * errors[1] + 1e-3 * np.abs(precise).max()


@NATIVE
@pytest.mark.parametrize("name", names())
def test_bf16_moves_voxels_of_shipped_models_by_little(name: str, pair: Pair) -> None:
    weights, images = load(name), pair(SHAPE)
    precise = open_engine(weights, name="torch").displacement(*images)
    low = open_engine(weights, precision="bf16").displacement(*images)
    assert np.abs(low - precise).mean() < 0.02  # voxels of the half grid


@NATIVE
def test_bf16_gives_the_same_bytes_whatever_ran_before_and_with_any_threads(random_weights: Make, pair: Pair) -> None:
    weights, first, second = random_weights(NetworkConfig()), pair(SHAPE), pair((48, 16, 32))
    engine = open_engine(weights, precision="bf16")
    field = engine.displacement(*first)
    before = field.tobytes()
    alone = open_engine(weights, precision="bf16", threads=1).displacement(*second)
    assert engine.displacement(*second).tobytes() == alone.tobytes()
    engine.release()
    assert engine.displacement(*first).tobytes() == before
    assert field.tobytes() == before  # a later run does not write into an earlier result


@NATIVE
@pytest.mark.parametrize("shape", [(16, 16, 16), (16, 48, 32)])
def test_the_smallest_grids_work_in_bf16(shape: tuple[int, int, int], random_weights: Make, pair: Pair) -> None:
    field = open_engine(random_weights(NetworkConfig()), precision="bf16").displacement(*pair(shape))
    assert field.shape == (3, *(n // 2 for n in shape))
    assert np.isfinite(field).all()


def test_preparing_changes_no_result_and_is_kept_for_a_shape(random_weights: Make, pair: Pair) -> None:
    weights, images = random_weights(NetworkConfig()), pair(SHAPE)
    engine = NativeEngine(weights, precision="f32", threads=None)
    engine.prepare(SHAPE)
    wanted = open_engine(weights).displacement(*images)
    assert engine.displacement(*images).tobytes() == wanted.tobytes()


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_that_was_released_runs_again_with_the_same_result(
    name: str, random_weights: Make, pair: Pair
) -> None:
    fixed, moving = pair((32, 48, 16))
    engine = open_engine(random_weights(NetworkConfig()), name=name)  # type: ignore[arg-type]
    first = engine.displacement(fixed, moving)
    kept = first.copy()
    engine.release()
    assert np.array_equal(first, kept)  # it owns its memory
    assert np.array_equal(engine.displacement(fixed, moving), kept)
