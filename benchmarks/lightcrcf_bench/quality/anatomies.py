"""Data sets for the calibration of quality control, and mixtures of two of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lightcrcf.geometry.grid import Grid
from lightcrcf.geometry.kernels import resample
from lightcrcf.preprocessing.brain import brain_mask
from lightcrcf.volumes import Volume, read
from lightcrcf_bench.accuracy.pseudo_contrasts import pseudo_contrast, smoothed
from lightcrcf_bench.quality.corruptions import rotation

__all__ = ["ANATOMIES", "MIXTURES", "SUCCESS", "Anatomy", "Mixture", "anatomy_of", "loaded", "shared"]

# A CT that was taken again.
_TURN_DEG, _SCALE, _SHIFT_MM, _NOISE_HU = 10.0, 1.06, 25.0, 20.0
_AIR, _LUNG_LITRES = -400, 0.2  # HU; of each lung, at least
# OASIS and IXI have these otherwise or not at all: liquor, white matter, which IXI divides by lobes, and what is rare.
_NOT_SHARED = (1, 15, 42, 43, 44, 45, 63, 64, 74, *range(81, 96))


@dataclass(frozen=True)
class Anatomy:
    """A data set that cases are made from.

    Args:
        name: of its folder, unless `folder` says another one.
        image, labels: file names, with {subject}; `labels` is empty where an outline takes their place.
        good_dice: mean Dice from which a registration of it is a success; of a mixture the mixture's counts.
        weight: how often it is drawn: small volumes often, since they are quick.
        one_person: whether pairs are two frames of one person, ED and ES.
        folder: of the files.
        contrast: as which its images are shown, of `contrasts.CONTRASTS`; as they are by default.
        around: how bright it is around the brain then; see `contrasts.pseudo_contrast`.
        outlined: what makes labels of an image that has none.
        again: whether its images lie and are held as in another scan, with other noise.
    """

    name: str
    image: str
    labels: str
    good_dice: float = 0.0
    weight: int = 0
    one_person: bool = False
    folder: str = ""
    contrast: str = ""
    around: float = 0.0
    outlined: Callable[[Volume], Volume] | None = None
    again: bool = False

    @property
    def varies(self) -> bool:
        """Return whether all cases show different images."""
        return bool(self.contrast) or self.again

    @property
    def place(self) -> str:
        """The folder of the files, and the name of the splits."""
        return self.folder or self.name


@dataclass(frozen=True)
class Mixture:
    """Pairs of two sources.

    Args:
        name: of what they have in common.
        group: whose limits come from them, "none" if none do; see `thresholds.group_of`.
        sources: names of the fixed and the moving anatomy; each pair has its turn.
        good_dice: as that of an anatomy.
        one_person: whether pairs are of one person.
        most: how often its turn comes, at most.
        alike: whether labels of both sources have the same codes.
    """

    name: str
    group: str
    sources: tuple[tuple[str, str], ...]
    good_dice: float
    one_person: bool = False
    most: int = 1000
    alike: bool = True


def _lungs(image: Volume) -> Volume:
    """Return the mask of air inside the body, in components as large as a lung."""
    import SimpleITK as sitk

    canonical = image.canonical()
    parts = sitk.GetArrayFromImage(
        sitk.ConnectedComponent(sitk.GetImageFromArray((canonical.data < _AIR).astype(np.uint8)))
    )
    sizes = np.bincount(parts.ravel()) * float(np.prod(canonical.grid.spacing_mm)) / 1e6
    outside = np.unique([part for axis in (0, 1) for end in (0, -1) for part in np.unique(parts.take(end, axis))])
    lungs = [n for n in range(1, len(sizes)) if sizes[n] >= _LUNG_LITRES and n not in outside]
    return Volume(np.isin(parts, lungs).astype(np.uint8), canonical.grid, f"outline of {image.source}")


def _brain(image: Volume) -> Volume:
    mask = brain_mask(image)
    return Volume((mask.data > 0).astype(np.uint8), mask.grid, f"outline of {image.source}")


_BRAIN, _HEAD = ("sub-{subject}_T1w.nii.gz", "sub-{subject}_dseg.nii.gz"), ("T2", "FLAIR", "PD")

ANATOMIES = (
    Anatomy("hippocampus", "{subject}.nii.gz", "{subject}_gt.nii.gz", 0.65, 4),
    Anatomy("acdc", "{subject}.nii.gz", "{subject}_gt.nii.gz", 0.65, 3, one_person=True),
    Anatomy("chaos-t2", "sub-{subject}_T2w.nii.gz", "sub-{subject}_dseg.nii.gz", 0.4, 1),
    Anatomy("oasis", *_BRAIN, 0.5, 2),
    Anatomy("ixi-2mm", *_BRAIN, 0.45, 2),
)
"""Data sets of one contrast each, of which two images make a pair."""

_SOURCES = (
    *ANATOMIES,
    *(Anatomy(f"oasis-{name}", *_BRAIN, folder="oasis", contrast=name) for name in ("T2", "FLAIR", "CT", "PD", "EPI")),
    *(Anatomy(f"ixi-{name}", *_BRAIN, folder="ixi-2mm", contrast=name, around=0.6) for name in _HEAD),
    *(Anatomy(f"ixi-{name}-dark-fat", *_BRAIN, folder="ixi-2mm", contrast=name, around=0.12) for name in _HEAD),
    Anatomy("head-t1", "sub-{subject}_T1w.nii.gz", "", folder="heads-t1-t2", outlined=_brain),
    Anatomy("head-t2", "sub-{subject}_T2w.nii.gz", "", folder="heads-t1-t2", outlined=_brain),
    Anatomy("ct", "sub-{subject}_CT.nii.gz", "", outlined=_lungs),
    Anatomy("ct-again", "sub-{subject}_CT.nii.gz", "", folder="ct", outlined=_lungs, again=True),
)


def _both_roles(one: str, others: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Return pairs of two groups, with alternating roles."""
    roles = [(one, other) if n % 2 == 0 else (other, one) for n, other in enumerate(others)]
    return (*roles, *((moving, fixed) for fixed, moving in roles))


MIXTURES = (
    Mixture(
        "brain contrasts", "brain, two contrasts",
        (*_both_roles("oasis", tuple(f"oasis-{name}" for name in ("T2", "FLAIR", "CT", "PD", "EPI"))),
         ("oasis-T2", "oasis-FLAIR"), ("oasis-FLAIR", "oasis-CT")),
        0.45,
    ),
    Mixture(
        "brains cut out", "brain, cut out of a head", (("ixi-2mm", "oasis"), ("oasis", "ixi-2mm")), 0.5, alike=False
    ),
    Mixture(
        "head contrasts", "head, two contrasts", _both_roles("ixi-2mm", tuple(f"ixi-{name}" for name in _HEAD)), 0.45
    ),
    Mixture(
        "heads T1 and T2", "head, two contrasts", (("head-t1", "head-t2"), ("head-t2", "head-t1")), 0.85,
        one_person=True, most=8,
    ),
    Mixture("ct", "none", (("ct", "ct"), ("ct", "ct-again"), ("ct-again", "ct")), 0.9),
    Mixture(
        "cut out, contrasts", "brain, two contrasts, cut out of a head",
        (("ixi-2mm", "oasis-T2"), ("oasis", "ixi-T2"), ("ixi-FLAIR", "oasis"), ("oasis-FLAIR", "ixi-2mm"),
         ("ixi-PD", "oasis"), ("oasis-PD", "ixi-2mm")),
        0.45, alike=False,
    ),
    Mixture(
        "head contrasts, fat dark", "head, two contrasts",
        _both_roles("ixi-2mm", tuple(f"ixi-{name}-dark-fat" for name in _HEAD)), 0.45, most=6,
    ),
)  # fmt: skip
"""Pairs of images that are unlike by themselves, and CT, of which there are few persons. New ones come last."""

SUCCESS = {each.name: each.good_dice for each in (*ANATOMIES, *MIXTURES)}
"""By name, from which Dice on a registration is a success."""


def anatomy_of(name: str) -> Anatomy:
    """Return the source of that name."""
    return next(anatomy for anatomy in _SOURCES if anatomy.name == name)


def loaded(anatomy: Anatomy, subject: str, folder: Path, seed: int) -> tuple[Volume, Volume]:
    """Return an image and its labels, on one grid.

    Args:
        anatomy: its source.
        subject: who.
        folder: of the data sets.
        seed: of what is random in another contrast.
    """
    image = read(folder / anatomy.place / anatomy.image.format(subject=subject))
    if anatomy.again:
        image = _taken_again(image, np.random.default_rng(seed))
    if anatomy.outlined is not None:
        return image, _on(image, anatomy.outlined(image))
    labels = read(folder / anatomy.place / anatomy.labels.format(subject=subject))
    if not anatomy.contrast:
        return image, labels
    shown = pseudo_contrast(image, labels, anatomy.contrast, seed, around=anatomy.around)
    return shown, _on(shown, labels)


def shared(labels: Volume) -> Volume:
    """Return labels without the codes that OASIS and IXI do not share."""
    return replace(labels, data=np.where(np.isin(labels.data, _NOT_SHARED), 0, labels.data).astype(labels.data.dtype))


def _taken_again(image: Volume, random: np.random.Generator) -> Volume:
    """Simulate a rescan in another position and spacing, with noise filtered as in CT."""
    axis, moved = random.normal(size=3), np.eye(4)
    turn = rotation(axis / np.linalg.norm(axis), np.radians(_TURN_DEG) * random.uniform(0.3, 1))
    moved[:3, :3] = turn * random.uniform(1 / _SCALE, _SCALE, 3)
    moved[:3, 3] = random.uniform(-_SHIFT_MM, _SHIFT_MM, 3)
    (noise,) = smoothed((0.6,) * 3, random.standard_normal(image.data.shape, np.float32))
    data = image.data + np.float32(_NOISE_HU / noise.std()) * noise
    grid = Grid(image.grid.shape, moved @ image.grid.affine)
    return Volume(np.maximum(data, image.data.min()).astype(np.int16), grid, f"{image.source}, again")


def _on(image: Volume, labels: Volume) -> Volume:
    step: Any = (labels.grid.inverse @ image.grid.affine)[:3]
    data = resample(labels.data, image.grid.shape, step, interpolation="nearest")
    return Volume(data.astype(labels.data.dtype), image.grid, labels.source)
