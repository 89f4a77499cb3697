import json
import math
from types import MappingProxyType

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from lightcrcf.errors import InputError, UsageError
from lightcrcf.evaluation import metrics
from lightcrcf.evaluation.protocols import Evaluation, evaluate, learn2reg_aggregates
from lightcrcf.geometry.grid import Grid
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.transforms.field import DisplacementField
from lightcrcf.volumes.volume import Volume

SHAPE = (12, 15, 18)
GRID = Grid(SHAPE, np.diag([1.0, 2.0, 3.0, 1.0]))


def boxes(offset: int = 0) -> NDArray[np.int16]:
    """Three labels away from the border, moved along the second axis."""
    labels = np.zeros(SHAPE, dtype=np.int16)
    for code, start in ((4, 2), (17, 7), (2035, 12)):
        labels[3:8, 4 + offset : 9 + offset, start : start + 4] = code
    return labels


def volume(data: NDArray[np.generic], grid: Grid = GRID, source: str = "labels") -> Volume:
    return Volume(data, grid, source)


def smooth_chain() -> Chain:
    x, y, z = np.indices(SHAPE)
    bump = np.exp(-(((x - 5) / 3) ** 2 + ((y - 6) / 3) ** 2 + ((z - 9) / 4) ** 2))
    field = np.stack([1.3 * bump, -1.7 * bump, 0.9 * bump]).astype(np.float32)
    return Chain(Affine.identity(), DisplacementField(GRID, field), Affine.identity())


def test_moved_labels_are_scored_in_mm() -> None:
    scores = evaluate(volume(boxes()), moved_labels=volume(boxes(1)))
    assert scores.dice == {4: pytest.approx(0.8), 17: pytest.approx(0.8), 2035: pytest.approx(0.8)}
    assert scores.mean_dice == pytest.approx(0.8)
    assert scores.mean_hd95 == pytest.approx(2.0)
    assert scores.hd95_unit == "mm"
    assert (scores.folding_percent, scores.sdlogj, scores.mse) == (None, None, None)
    assert "never had" in scores.notes[0]


def test_learn2reg_measures_distance_in_voxels() -> None:
    scores = evaluate(volume(boxes()), moved_labels=volume(boxes(1)), protocol="learn2reg")
    assert scores.mean_hd95 == pytest.approx(1.0)
    assert scores.hd95_unit == "voxel"


def test_moving_labels_go_through_the_transform() -> None:
    shift = np.eye(4)
    shift[1, 3] = 4.0  # two voxels of 2 mm
    scores = evaluate(
        volume(boxes()), moving_labels=volume(boxes(2)), transform=Chain(Affine.identity(), None, Affine(shift))
    )
    assert scores.mean_dice == 1.0
    assert (scores.folding_percent, scores.sdlogj) == (0.0, 0.0)
    assert scores.notes == ()


def test_labels_that_the_moving_volume_lacks_are_left_out() -> None:
    moving = boxes()
    moving[moving == 17] = 0
    moving[0, 0, 0] = 99
    scores = evaluate(volume(boxes()), moved_labels=volume(moving), moving_labels=volume(moving))
    assert list(scores.dice) == [4, 2035]
    assert scores.notes == ("left out, not in the moving volume: 17",)


@pytest.mark.parametrize(("protocol", "mean"), [("default", 0.0), ("learn2reg", math.inf)])
def test_a_label_lost_on_the_way_counts_zero(protocol: str, mean: float) -> None:
    moved = boxes()
    moved[moved == 4] = 0
    scores = evaluate(
        volume(boxes()),
        moved_labels=volume(moved),
        moving_labels=volume(boxes()),
        protocol=protocol,  # type: ignore[arg-type]
    )
    assert scores.dice[4] == 0.0
    assert math.isinf(scores.hd95[4])
    assert scores.mean_dice == pytest.approx(2 / 3)
    assert scores.mean_hd95 == mean
    assert "lost on the way" in scores.notes[0]


def test_learn2reg_agrees_with_its_code_written_out() -> None:
    chain = smooth_chain()
    assert chain.field is not None
    displacement = chain.field.displacement
    fixed, moving = boxes(), boxes(1)
    warped = map_coordinates(moving, np.indices(SHAPE) + displacement, order=0)
    scores = evaluate(volume(fixed), moving_labels=volume(moving), transform=chain, protocol="learn2reg")
    assert scores.dice == metrics.dice(fixed, warped)
    assert scores.hd95 == metrics.hd95_by_label(fixed, warped, np.ones(3), scores.dice)
    assert scores.sdlogj == pytest.approx(metrics.sdlogj_l2r(displacement), rel=1e-4)


def test_the_field_is_scored_on_the_fixed_grid() -> None:
    chain = smooth_chain()
    assert chain.field is not None
    labels = boxes()
    scores = evaluate(volume(labels), moving_labels=volume(labels), transform=chain)
    field = chain.field.displacement
    assert scores.folding_percent == pytest.approx(metrics.folding_percent(field))
    assert scores.folding_percent_labelled == pytest.approx(metrics.folding_percent(field, labels))
    assert scores.ndv_percent == pytest.approx(metrics.ndv_percent(field, labels), abs=1e-6)
    assert scores.sdlogj == pytest.approx(metrics.sdlogj(field), rel=1e-4)


def test_images_give_the_mean_squared_error() -> None:
    fixed = np.ones(SHAPE, dtype=np.float32)
    scores = evaluate(
        volume(boxes()), moved_labels=volume(boxes()), fixed=volume(fixed), moved=volume(fixed + np.float32(2))
    )
    assert scores.mse == pytest.approx(4.0)


def test_one_image_is_not_enough() -> None:
    with pytest.raises(UsageError, match="both images"):
        evaluate(volume(boxes()), moved_labels=volume(boxes()), fixed=volume(boxes()))


def test_moving_labels_need_a_transform() -> None:
    with pytest.raises(UsageError, match="moving labels and a transform"):
        evaluate(volume(boxes()), moving_labels=volume(boxes()))


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(UsageError, match="default or learn2reg"):
        evaluate(volume(boxes()), moved_labels=volume(boxes()), protocol="l2r")  # type: ignore[arg-type]


def test_moved_labels_must_lie_on_the_fixed_grid() -> None:
    elsewhere = Grid(SHAPE, np.diag([1.0, 2.0, 3.5, 1.0]))
    with pytest.raises(InputError, match=r"moved\.nii: expected labels on the grid of"):
        evaluate(volume(boxes()), moved_labels=volume(boxes(), elsewhere, "moved.nii"))


def test_nothing_to_score_is_refused() -> None:
    with pytest.raises(InputError, match="labels to score"):
        evaluate(volume(boxes()), moved_labels=volume(boxes()), moving_labels=volume(np.zeros(SHAPE, np.int16)))


def test_scores_become_json() -> None:
    scores = evaluate(volume(boxes()), moved_labels=volume(boxes()))
    assert json.loads(json.dumps(scores.as_dict()))["dice"]["2035"] == 1.0


def case(dice: float, hd95: float, sdlogj: float | None) -> Evaluation:
    empty: MappingProxyType[int, float] = MappingProxyType({})
    return Evaluation("learn2reg", empty, dice, empty, hd95, "voxel", None, None, None, sdlogj, None, ())


def test_aggregates_are_those_of_the_challenge() -> None:
    # Quantiles interpolate linearly and the deviation divides by n - 1, as pandas does.
    cases = [case(0.5, 4.0, 0.02), case(0.8, 1.0, 0.05), case(0.6, 3.0, 0.03)]
    aggregates = learn2reg_aggregates(cases)
    assert aggregates["mean"] == pytest.approx({"dice": 1.9 / 3, "hd95": 8 / 3, "sdlogj": 0.1 / 3})
    assert aggregates["std"]["dice"] == pytest.approx(math.sqrt((0.4**2 + 0.5**2 + 0.1**2) / 9 / 2))
    assert aggregates["30"] == pytest.approx({"dice": 0.56, "hd95": 2.2, "sdlogj": 0.038})


def test_aggregates_of_cases_without_fields() -> None:
    aggregates = learn2reg_aggregates([case(0.5, 4.0, None)])
    assert math.isnan(aggregates["mean"]["sdlogj"])
    assert math.isnan(aggregates["std"]["dice"])
    assert aggregates["30"]["dice"] == 0.5
