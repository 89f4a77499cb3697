"""Raw heads against bare brains, beside the same heads stripped by hand, and lungs of two persons in CT."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lightcrcf.demo.phantom import template
from lightcrcf.errors import InputError
from lightcrcf.transforms.chain import Chain
from lightcrcf.volumes import Volume, read
from lightcrcf_bench.accuracy.protocols import cycle
from lightcrcf_bench.quality.cases import STILL, Plan, Register, Run, counted
from lightcrcf_bench.records.disturbed import Disturbed
from lightcrcf_bench.smoothness.scores import mean_dice
from lightcrcf_bench.smoothness.study import subjects

__all__ = ["HEADS_CT_PROTOCOL", "heads_and_ct", "lungs_and_body"]

HEADS_CT_PROTOCOL = (
    "Heads: five of IXI; stripped by hand means by their own labels. A bare brain of OASIS moving: mean Dice of the "
    "structures that both have. Onto MNI152: mean Dice there of the labels of each two, but for lobar white matter. "
    "Lungs and bodies of LIDC-IDRI 1 and 2 by thresholds; outside: 99 % of the displacements 50 mm and more from the "
    "fixed body."
)
_HEADS = 5
_LOBAR_WHITE = range(81, 96)
_SCANS = ("lidc1", "lidc2")
_LUNG, _TISSUE, _BESIDE_MM, _STEP = -500.0, -400.0, 50.0, 97
_LEAST_LUNG = 0.15  # of the larger one
Mask = NDArray[np.bool_]


def heads_and_ct(folder: Path) -> list[Plan]:
    """Return what is measured.

    Args:
        folder: of the data sets.

    Raises:
        InputError: if the data are not there.
    """
    heads, brains = subjects(folder, "ixi-2mm", "val")[:_HEADS], subjects(folder, "oasis", "val")
    pairs = list(zip(heads, brains, strict=False))
    return [
        *(Plan(f"raw {head} {brain}", partial(_onto_a_head, folder, head, brain)) for head, brain in pairs),
        *(Plan(f"mni {one} {other}", partial(_onto_the_template, folder, one, other)) for one, other in cycle(heads)),
        *(Plan(f"lungs {one} {other}", partial(_lungs, folder, one, other)) for one, other in cycle(_SCANS)),
    ]


def _head(folder: Path, person: str) -> tuple[Volume, Volume]:
    image, labels = (read(folder / f"ixi-2mm/sub-{person}_{what}.nii.gz") for what in ("T1w", "dseg"))
    return image, labels


def _stripped(image: Volume, labels: Volume) -> Volume:
    return replace(image, data=np.where(labels.data > 0, image.data, 0))


def _onto_a_head(folder: Path, head: str, brain: str, register: Register) -> Iterator[Disturbed]:
    image, labels = _head(folder, head)
    moving, theirs = (read(folder / f"oasis/sub-{brain}_{what}.nii.gz") for what in ("T1w", "dseg"))
    found = register(image, moving)
    dice = mean_dice(found.chain, labels, theirs)
    by_hand = mean_dice(register(_stripped(image, labels), moving).chain, labels, theirs)
    yield counted("head-brain", f"{head} <- {brain}", found, {"dice_lost": by_hand - dice, "dice": dice})


def _onto_the_template(folder: Path, one: str, other: str, register: Register) -> Iterator[Disturbed]:
    mni = template()
    if mni is None:
        raise InputError("MNI152", expected="nilearn to be installed", got="none", remedy="pip install nilearn")
    fixed = mni[0]
    persons = [_head(folder, person) for person in (one, other)]
    raw = [register(fixed, image) for image, _ in persons]
    by_hand = [register(fixed, _stripped(*person)) for person in persons]
    there, lost = (_agreement(runs, persons, fixed) for runs in (raw, by_hand))
    worst = max(raw, key=lambda run: ("pass", "check", "fail").index(run.verdict))
    yield counted("head-template", f"{one}, {other}", worst, {"dice_lost": lost - there, "dice": there})


def _agreement(runs: list[Run], persons: list[tuple[Volume, Volume]], fixed: Volume) -> float:
    """Return mean Dice on the template of the labels of two persons."""
    moved = [run.chain.resample(labels, fixed.grid, "nearest") for run, (_, labels) in zip(runs, persons, strict=True)]
    kept = [replace(each, data=np.where(np.isin(each.data, _LOBAR_WHITE), 0, each.data)) for each in moved]
    return mean_dice(STILL, *kept)


def _lungs(folder: Path, one: str, other: str, register: Register) -> Iterator[Disturbed]:
    fixed, moving = (read(folder / f"ct/sub-{scan}_CT.nii.gz") for scan in (one, other))
    (lungs, body), (their_lungs, _) = (lungs_and_body(volume) for volume in (fixed, moving))
    masks = [replace(v, data=m.astype(np.uint8)) for v, m in ((fixed, lungs), (moving, their_lungs))]
    found = register(fixed, moving)
    alone = Chain(found.chain.before, None, found.affine)
    outside = ndimage.distance_transform_edt(~body, sampling=fixed.grid.spacing_mm) > _BESIDE_MM
    points = fixed.grid.world(np.argwhere(outside)[::_STEP])
    apart = np.linalg.norm(found.chain.points(points) - alone.points(points), axis=1)
    figures = {
        "affine_missed": 1 - mean_dice(alone, *masks),
        "missed": 1 - mean_dice(found.chain, *masks),
        "outside_mm": float(np.percentile(apart, 99)) if len(apart) else 0.0,
    }
    yield counted("lungs", f"{one} <- {other}", found, figures)


def lungs_and_body(volume: Volume) -> tuple[Mask, Mask]:
    """Return masks of the lungs and of the body in a CT of the chest, by thresholds.

    Args:
        volume: Hounsfield units; slices run along its third axis.
    """
    tissue = ndimage.binary_opening(volume.data > _TISSUE, iterations=2)
    body = _largest(tissue, 1, 0.0)
    body = np.stack([ndimage.binary_fill_holes(plane) for plane in np.moveaxis(body, 2, 0)], axis=2)
    air = ndimage.binary_opening((volume.data < _LUNG) & body)
    lungs = ndimage.binary_closing(_largest(air, 2, _LEAST_LUNG), iterations=2)
    return np.asarray(ndimage.binary_fill_holes(lungs)), body


def _largest(mask: Mask, count: int, least: float) -> Mask:
    """Return the largest pieces, so many of them at most, none smaller than that share of the largest."""
    pieces, _ = ndimage.label(mask)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    kept = [n for n in np.argsort(-sizes)[:count] if sizes[n] > least * sizes.max()]
    return np.asarray(np.isin(pieces, kept))
