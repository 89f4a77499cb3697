"""Evaluation protocols: labels scored, spacing of distances, and measures of the field.

`default`    Labels are resampled by nearest neighbour. Every label of the fixed volume that the moving volume has is
             scored; a label that vanishes has Dice 0. HD95 is in mm. Folding and SDlogJ are those of the field without
             affines (which only scale it) on the fixed grid.
`learn2reg`  As the evaluation code of the Learn2Reg challenge: the same labels and interpolation, HD95 in voxels (it
             passes a spacing of 1), SDlogJ of the whole displacement with its + 3. Folding is exact, unlike there.

Source: Hering et al., "Learn2Reg", IEEE TMI 2023; MDL-UzL/L2R, evaluation code. It maps positions up to half a voxel
outside of the moving volume to background, where this module takes the border voxel, as ITK does; labels that touch
the border can differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lightcrcf.errors import InputError, UsageError
from lightcrcf.evaluation.fields import deformation, total_displacement
from lightcrcf.evaluation.labels import check_label_map
from lightcrcf.evaluation.metrics import (
    dice,
    folding_percent,
    hd95_by_label,
    label_codes,
    mse,
    ndv_percent,
    sdlogj,
    sdlogj_l2r,
)
from lightcrcf.volumes.check import on_grid_of

if TYPE_CHECKING:
    from lightcrcf.transforms.chain import Chain
    from lightcrcf.volumes.volume import Volume

__all__ = ["PROTOCOLS", "Evaluation", "Protocol", "evaluate", "learn2reg_aggregates"]

Protocol = Literal["default", "learn2reg"]
PROTOCOLS: tuple[Protocol, ...] = ("default", "learn2reg")


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one registration; None if the input of a metric was not given.

    Args:
        protocol: `default` or `learn2reg`.
        dice: overlap of each scored label.
        mean_dice: their mean.
        hd95: robust Hausdorff distance of each scored label; infinite for a label that vanished.
        mean_hd95: their mean: of the finite ones in `default`, of all in `learn2reg`.
        hd95_unit: `mm` or `voxel`.
        folding_percent: voxels of the fixed grid with a Jacobian determinant <= 0.
        folding_percent_labelled: the same among voxels that carry a label in the fixed volume.
        ndv_percent: non-diffeomorphic volume among voxels that carry a label in the fixed volume.
        sdlogj: standard deviation of log J over the fixed grid, in the variant of `protocol`.
        mse: mean squared difference of the images, in squared units of theirs.
        notes: remarks for the interpretation of the metrics.
    """

    protocol: Protocol
    dice: Mapping[int, float]
    mean_dice: float
    hd95: Mapping[int, float]
    mean_hd95: float
    hd95_unit: Literal["mm", "voxel"]
    folding_percent: float | None
    folding_percent_labelled: float | None
    ndv_percent: float | None
    sdlogj: float | None
    mse: float | None
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain types for JSON; NaN and infinity are kept."""
        return asdict(self)


@dataclass(frozen=True)
class _FieldScores:
    folding_percent: float | None = None
    folding_percent_labelled: float | None = None
    ndv_percent: float | None = None
    sdlogj: float | None = None


def evaluate(
    fixed_labels: Volume,
    *,
    moved_labels: Volume | None = None,
    moving_labels: Volume | None = None,
    transform: Chain | None = None,
    fixed: Volume | None = None,
    moved: Volume | None = None,
    protocol: Protocol = "default",
) -> Evaluation:
    """Evaluate one registration.

    Args:
        fixed_labels: labels of the fixed subject.
        moved_labels: labels of the moving subject on the fixed grid; by default `moving_labels` resampled by
            `transform`.
        moving_labels: labels of the moving subject on their own grid. With `moved_labels`, they determine which labels
            the moving subject has.
        transform: from fixed to moving points; also for the measures of the field.
        fixed: fixed image, for the mean squared error.
        moved: moved image on the fixed grid, for the mean squared error.
        protocol: see the module.

    Raises:
        UsageError: if there is nothing to score, or only one of `fixed` and `moved` is given.
        InputError: if labels are not integers or are an image, grids differ, or no label is in both subjects.
    """
    if protocol not in PROTOCOLS:
        raise UsageError("protocol", expected=" or ".join(PROTOCOLS), got=str(protocol), remedy="name one of them")
    for labels_given in (fixed_labels, moved_labels, moving_labels):
        if labels_given is not None:
            check_label_map(labels_given.data, labels_given.source)
    carried = _labels_on_fixed_grid(fixed_labels, moved_labels, moving_labels, transform)
    labels, notes = _scored_labels(fixed_labels, moving_labels)
    l2r = protocol == "learn2reg"
    spacing = np.ones(3) if l2r else fixed_labels.grid.spacing_mm
    overlap = dice(fixed_labels.data, carried.data, labels)
    distance = hd95_by_label(fixed_labels.data, carried.data, spacing, labels.tolist())
    field = _FieldScores() if transform is None else _field_scores(transform, fixed_labels, moving_labels, protocol)
    return Evaluation(
        protocol=protocol,
        dice=overlap,
        mean_dice=float(np.mean(list(overlap.values()))),
        hd95=distance,
        mean_hd95=_mean_distance(distance, keep_infinite=l2r),
        hd95_unit="voxel" if l2r else "mm",
        mse=_image_difference(fixed, moved),
        notes=(*notes, *_lost_note(distance, l2r)),
        **vars(field),
    )


def learn2reg_aggregates(cases: Sequence[Evaluation]) -> dict[str, dict[str, float]]:
    """Compute mean, sample standard deviation and the "30" quantile of the challenge over cases.

    The quantile is that of the worst 30 % by the challenge's convention: 0.3 for Dice and HD95, 0.7 for SDlogJ.

    Returns:
        {"mean" | "std" | "30": {"dice", "hd95", "sdlogj"}}; NaN if no case has the metric.
    """
    columns = {
        "dice": [case.mean_dice for case in cases],
        "hd95": [case.mean_hd95 for case in cases],
        "sdlogj": [case.sdlogj for case in cases if case.sdlogj is not None],
    }
    quantiles = {"dice": 0.3, "hd95": 0.3, "sdlogj": 0.7}
    nan = float("nan")
    return {
        "mean": {name: float(np.mean(values)) if values else nan for name, values in columns.items()},
        "std": {name: float(np.std(values, ddof=1)) if len(values) > 1 else nan for name, values in columns.items()},
        "30": {name: float(np.quantile(v, quantiles[name])) if v else nan for name, v in columns.items()},
    }


def _labels_on_fixed_grid(
    fixed_labels: Volume, moved_labels: Volume | None, moving_labels: Volume | None, transform: Chain | None
) -> Volume:
    if moved_labels is not None:
        return on_grid_of(moved_labels, fixed_labels, what="labels")
    if moving_labels is None or transform is None:
        raise UsageError(
            "labels to score",
            expected="moved labels, or moving labels and a transform",
            got="neither",
            remedy="add what is missing",
        )
    return transform.resample(moving_labels, fixed_labels.grid, interpolation="nearest")


def _scored_labels(fixed: Volume, moving: Volume | None) -> tuple[NDArray[np.int64], list[str]]:
    codes, notes = label_codes(fixed.data), []
    if moving is None:
        notes.append("labels that the moving volume never had count Dice 0: give its labels to leave them out")
    else:
        missing = np.setdiff1d(codes, label_codes(moving.data))
        codes = np.setdiff1d(codes, missing)
        if len(missing):
            notes.append(f"left out, not in the moving volume: {', '.join(map(str, missing))}")
    if len(codes) == 0:
        raise InputError(fixed.source, expected="labels to score", got="none", remedy="check the label volumes")
    return codes, notes


def _lost_note(distance: Mapping[int, float], infinite_mean: bool) -> list[str]:
    lost = [str(label) for label, value in distance.items() if np.isinf(value)]
    if not lost:
        return []
    effect = "which makes their mean infinite, as in that code" if infinite_mean else "left out of its mean"
    return [f"lost on the way, Dice 0 and HD95 infinite, {effect}: {', '.join(lost)}"]


def _mean_distance(distance: Mapping[int, float], *, keep_infinite: bool) -> float:
    values = np.array(list(distance.values()))
    if not keep_infinite:
        values = values[np.isfinite(values)]
    return float(values.mean()) if values.size else float("inf")


def _field_scores(
    transform: Chain, fixed_labels: Volume, moving_labels: Volume | None, protocol: Protocol
) -> _FieldScores:
    field = deformation(transform, fixed_labels.grid)
    labelled = np.asarray(fixed_labels.data) != 0
    if protocol == "default":
        spread = sdlogj(field)
    else:
        moving_grid = fixed_labels.grid if moving_labels is None else moving_labels.grid
        spread = sdlogj_l2r(total_displacement(transform, fixed_labels.grid, moving_grid))
    return _FieldScores(folding_percent(field), folding_percent(field, labelled), ndv_percent(field, labelled), spread)


def _image_difference(fixed: Volume | None, moved: Volume | None) -> float | None:
    if fixed is None and moved is None:
        return None
    if fixed is None or moved is None:
        raise UsageError(
            "mean squared error", expected="both images", got="one", remedy="give the fixed and the moved image"
        )
    return mse(fixed.data, on_grid_of(moved, fixed, what="an image").data)
