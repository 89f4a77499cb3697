"""What quality control measures of a pair, on pairs whose answer is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lightcrcf.geometry.grid import Grid
from lightcrcf.pipeline.inspection import inspect
from lightcrcf.pipeline.pair import WorkingPair
from lightcrcf.pipeline.quality import Evidence, overlap, verdict
from lightcrcf.pipeline.register import register
from lightcrcf.pipeline.shared import Shared
from lightcrcf.transforms.affine import Affine
from lightcrcf.volumes import Volume

Pair = tuple[Volume, Volume]


def measured(fixed: Volume, moving: Volume, field: Any = None, affine: Any = None) -> Evidence:
    chain = Affine.identity() if affine is None else Affine(affine)
    working = WorkingPair.prepare(fixed, moving, (None, None), chain, None, Shared())
    displacement = None if field is None else field(working.grid.half(working.pool).shape)
    return inspect(working, displacement, overlap, ())


def still(shape: tuple[int, ...]) -> Any:
    return np.zeros((3, *shape), np.float32)


def test_an_image_and_itself_agree_in_everything(pair: Pair) -> None:
    found = measured(pair[0], pair[0], still)
    assert found.covered == 1
    assert found.correlation_global == pytest.approx(1)
    assert found.histogram_distance == 0
    assert found.there_and_back_mm == pytest.approx(0, abs=1.0)  # of voxels of 12 mm
    assert found.border_displacement_mm == 0
    assert found.extent_mm == pytest.approx(100, rel=0.1)  # a litre or so
    assert verdict(found)["verdict"] == "pass"


def test_a_shifted_result_disagrees_with_the_way_back_by_the_shift(pair: Pair) -> None:
    def shifted(shape: tuple[int, ...]) -> Any:
        field = still(shape)
        field[1] = 2.0  # half-resolution voxels of 6 mm
        return field

    found = measured(pair[0], pair[0], shifted)
    assert found.there_and_back_mm == pytest.approx(12, abs=1.5)
    assert found.border_displacement_mm == pytest.approx(12, abs=0.1)


def test_a_moving_image_that_ends_half_way_covers_half(pair: Pair) -> None:
    fixed = pair[0]
    shape = (fixed.grid.shape[0] // 2, *fixed.grid.shape[1:])
    half = Volume(np.ascontiguousarray(fixed.data[: shape[0]]), Grid(shape, fixed.grid.affine), "half")
    found = measured(fixed, half, still)
    assert found.covered == pytest.approx(0.5, abs=0.06)
    assert any("covers only" in reason for reason in verdict(found)["reasons"])


def test_bright_and_dark_exchanged_is_told_by_the_sign(pair: Pair) -> None:
    data = pair[0].data.astype(np.float32)
    inside = data > 0
    found = measured(pair[0], Volume(np.where(inside, 900 - data, 0), pair[0].grid), still)
    assert found.correlation_global is not None
    assert found.correlation_global < 0.1
    assert found.histogram_distance is not None
    assert found.histogram_distance > 0.1
    assert any("bright and dark do not correspond" in reason for reason in verdict(found)["reasons"])


@pytest.mark.parametrize(
    ("linear", "scales", "turn", "mirrored"),
    [
        (np.diag([1.5, 1.0, 0.5]), (1.5, 1.0, 0.5), 0, False),
        (np.array([[0, -1.0, 0], [1, 0, 0], [0, 0, 1]]), (1.0, 1.0, 1.0), 90, False),
        (np.diag([-1.0, 1.0, 1.0]), (1.0, 1.0, 1.0), None, True),
    ],
)
def test_an_affine_is_taken_apart(linear: Any, scales: Any, turn: float | None, mirrored: bool) -> None:
    evidence, matrix = Evidence(), np.eye(4)
    matrix[:3, :3] = linear
    evidence.shape_of(Affine(matrix))
    assert evidence.affine_scales == pytest.approx(scales)
    assert evidence.mirrored is mirrored
    if turn is not None:
        assert evidence.affine_rotation_deg == pytest.approx(turn)
    assert (verdict(evidence)["reasons"] == ["the affine exchanges left and right"]) is mirrored


def test_noise_and_shuffled_blocks_do_not_pass(pair: Pair) -> None:
    fixed, moving = pair
    random = np.random.default_rng(3)
    shuffled = random.permutation(moving.data.ravel()).reshape(moving.data.shape)
    for data in (shuffled, random.normal(500, 200, moving.data.shape)):
        spoiled = register(fixed, Volume(data, moving.grid, "noise"), model="none")
        assert spoiled.qc["verdict"] != "pass"
    assert register(fixed, moving, model="none").qc["verdict"] == "pass"
