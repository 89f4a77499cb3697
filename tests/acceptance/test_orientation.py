"""However the axes of a file run, the brains in it meet in the same place."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightcrcf.geometry.grid import AxisOrder
from lightcrcf.registration.register import Registration, register
from lightcrcf.volumes import Volume, read

ORDERS = [AxisOrder(p, f) for p in permutations(range(3)) for f in product((False, True), repeat=3)]  # type: ignore[arg-type]


def reordered(volume: Volume, order: AxisOrder) -> Volume:
    return Volume(order.array(volume.data), order.grid(volume.grid), volume.source)


@pytest.fixture(scope="module")
def native(pair: tuple[Volume, Volume], coarse_model: Path) -> Registration:
    return register(*pair, model=coarse_model)


@pytest.mark.parametrize("number", range(48))
def test_all_48_axis_orders_give_the_same_world_result(
    number: int, native: Registration, pair: tuple[Volume, Volume], coarse_model: Path
) -> None:
    """The fixed image in each order, the moving image in each other order once. Only rounding differs."""
    order, other = ORDERS[number], ORDERS[(7 * number + 5) % 48]
    turned = register(reordered(pair[0], order), reordered(pair[1], other), model=coarse_model)
    points = pair[0].grid.world(np.random.default_rng(0).uniform(0, np.array(pair[0].grid.shape) - 1, (1000, 3)))
    np.testing.assert_allclose(turned.transform.points(points), native.transform.points(points), rtol=0, atol=1e-5)
    moved = order.inverse().array(turned.moved.data)
    np.testing.assert_allclose(moved, native.moved.data, rtol=0, atol=5e-5 * np.ptp(native.moved.data))
    told, wanted = turned.quality, native.quality
    assert (told.verdict, told.reasons, told.remarks) == (wanted.verdict, wanted.reasons, wanted.remarks)
    for mine, theirs in zip(told.judged, wanted.judged, strict=True):
        assert (mine.figure, mine.state) == (theirs.figure, theirs.state)
        assert mine.value == pytest.approx(theirs.value, rel=1e-3, abs=1e-4)


@pytest.mark.data
def test_a_scan_that_lies_anterior_superior_left_registers_as_well_as_a_native_one(real_run: Any, data: Path) -> None:
    """The same person twice: as released by another project (cropped by another mask), and as in `oasis`."""
    fixed, moving = read(real_run.fixed), read(real_run.moving)
    assert moving.grid.canonical().permutation != (0, 1, 2)
    chain = real_run.chain()
    straight = register(fixed, moving.canonical())
    points = fixed.grid.world(np.argwhere(fixed.data > 0)[::997])
    # The file keeps the field in float32 mm.
    np.testing.assert_allclose(chain.points(points), straight.transform.points(points), rtol=0, atol=1e-3)

    native = register(fixed, data / "oasis" / "sub-1000_T1w.nii.gz")
    for name in ("correlation_affine", "correlation_after", "overlap_after"):
        assert getattr(straight.metrics, name) == pytest.approx(getattr(native.metrics, name), abs=0.05)
    assert native.quality.verdict == straight.quality.verdict == "pass"
