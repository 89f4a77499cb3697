"""Resampling of images and label maps through the transform, filled where they have no data."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from lightcrcf.errors import UsageError
from lightcrcf.options import Fill
from lightcrcf.preprocessing.missing_data import can_hold, estimate_background, fill_unknown, measured_mask
from lightcrcf.preprocessing.validity import Extent
from lightcrcf.registration.inputs import Inputs
from lightcrcf.transforms.chain import Chain, Interpolation
from lightcrcf.transforms.labels import is_label_map
from lightcrcf.volumes.volume import Volume

__all__ = ["ResampledImages", "move", "move_labels", "resample_inputs"]

_MIN_KNOWN = 0.99  # interpolation weight of known voxels, below which a value becomes NaN


def move(
    chain: Chain, volume: Volume, onto: Volume, interpolation: Interpolation, fill: Fill, extent: Extent | None = None
) -> Volume:
    """Resample `volume` onto the grid of `onto`, interpolating once.

    Args:
        chain: from points of `onto` to points of `volume`.
        volume: an image or a label map.
        onto: gives grid and header.
        interpolation: as for `Chain.resample`.
        fill: value of voxels outside of `volume`, of NaN and of padding; "auto" is the background of an image, and 0
            for a label map.
        extent: valid region of the image, if it was examined already.

    Raises:
        UsageError: for a value that the data type of a label map cannot hold.
    """
    if interpolation in ("auto", "nearest") and is_label_map(volume.data):
        return move_labels(chain, volume, onto, fill)
    interpolation = "linear" if interpolation == "auto" else interpolation
    known = measured_mask(volume) if extent is None else extent.measured
    value = estimate_background(volume, known) if fill == "auto" else float(fill)
    if interpolation == "nearest":
        _check_representable(volume, value)
    between = math.isnan(value) and interpolation != "nearest"  # NaN would spread to all voxels interpolated from one
    seen = fill_unknown(volume, known, estimate_background(volume, known) if between else value)
    moved = chain.resample(seen, onto.grid, interpolation, fill=value)
    if between and known is not None:
        whole = chain.resample(replace(volume, data=known.astype(np.float32)), onto.grid, "linear", fill=1.0)
        moved = replace(moved, data=np.where(whole.data > _MIN_KNOWN, moved.data, np.float32(np.nan)))
    return replace(moved, header=onto.header)


def move_labels(chain: Chain, labels: Volume, onto: Volume, fill: Fill = "auto") -> Volume:
    """Resample a label map onto the grid of `onto` by nearest neighbour; arguments as in `move`.

    Raises:
        UsageError: for a value that its data type cannot hold.
    """
    value = 0.0 if fill == "auto" else float(fill)
    _check_representable(labels, value)
    return replace(chain.resample(labels, onto.grid, "nearest", fill=value), header=onto.header)


def _check_representable(volume: Volume, value: float) -> None:
    if not can_hold(volume.data.dtype, value):
        raise UsageError(
            "fill", expected=f"a value of {volume.data.dtype}, as {volume.source} has", got=f"{value:g}",
            remedy="choose another value, or --interpolation linear",
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class ResampledImages:
    """Everything that was moved onto the fixed grid.

    Args:
        moved: the moving image of the first pair.
        labels: label maps, by source.
        also: moving images of further pairs, and further images, by source.
    """

    moved: Volume
    labels: dict[str, Volume]
    also: dict[str, Volume]


def resample_inputs(chain: Chain, inputs: Inputs, fill: Fill) -> ResampledImages:
    """Resample all moving images and label maps onto the fixed grid, interpolating each once.

    Args:
        chain: fixed points to moving points.
        inputs: of the registration.
        fill: as for `move`.

    Raises:
        UsageError: for a fill value that a data type cannot hold.
    """
    onto = inputs.fixed
    moved, *more = [
        (p.moving.source, move(chain, p.shown[1], onto, "linear", fill, p.shown_extents[1])) for p in inputs.pairs
    ]
    fills: list[Fill] = ["auto" if is_label_map(v.data) else fill for v in inputs.also]  # labels get 0
    also = [(v.source, move(chain, v, onto, "auto", f)) for v, f in zip(inputs.also, fills, strict=True)]
    labels = _by_source((v.source, move_labels(chain, v, onto)) for v in inputs.moving_labels)
    return ResampledImages(moved[1], labels, _by_source([*more, *also]))


def _by_source(volumes: Iterable[tuple[str, Volume]]) -> dict[str, Volume]:
    """Return volumes by source; repeated sources, such as arrays in memory, get a number."""
    named: dict[str, Volume] = {}
    for source, volume in volumes:
        number = sum(key == source or key.startswith(f"{source} #") for key in named) + 1
        named[source if number == 1 else f"{source} #{number}"] = volume
    return named
