"""Protocols of the accuracy benchmark: pairs of each anatomy, and the settings of the tools for it.

Only persons of the validation split are here, and only to measure: nothing of ours is chosen by them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lightcrcf.errors import InputError
from lightcrcf_bench.records.schema import Data

__all__ = ["PROTOCOLS", "Images", "Pair", "PeerSettings", "Protocol", "cycle", "ordered", "pairs"]

Subjects = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Images:
    """Files of one registration, with the names of their subjects; masks are 0 where voxels are excluded."""

    fixed: str
    moving: str
    fixed_image: Path
    moving_image: Path
    fixed_mask: Path | None = field(default=None, kw_only=True)
    moving_mask: Path | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class Pair(Images):
    """Files of one registration, with labels for its scores."""

    fixed_labels: Path
    moving_labels: Path


@dataclass(frozen=True)
class PeerSettings:
    """One way to run a tool of `lightcrcf_bench.accuracy.peers`.

    Args:
        tool: a key of `peers.TOOLS`.
        title: for tables.
        affine: words for its affine stage; empty for none.
        deform: words for its deformable stage; empty for none.
        about: what the settings mean.
    """

    tool: str
    title: str
    affine: str
    deform: str
    about: str


_ANTS = {
    "ants-affine": PeerSettings(
        "ants", "ANTs affine", "Affine", "",
        "antspyx defaults: 12 parameters, Mattes mutual information",
    ),
    "ants-syn": PeerSettings(
        "ants", "ANTs SyN", "Affine", "SyN",
        "antspyx defaults: affine, then SyN by Mattes mutual information, 40 x 20 x 0 iterations",
    ),
    "ants-syncc": PeerSettings(
        "ants", "ANTs SyNCC", "Affine", "SyNCC",
        "antspyx defaults: rigid, affine, then SyN by cross-correlation of radius 4, up to 2100 x 1200 x 1200 x 20 "
        "iterations",
    ),
    "ants-script": PeerSettings(
        "ants", "ANTs SyN by its script", "Affine", "antsRegistrationSyN[s]",
        "antsRegistrationSyN.sh as antspyx has it: rigid, affine, then SyN by cross-correlation of radius 2, up to "
        "100 x 70 x 50 x 20 iterations",
    ),
}  # fmt: skip
_NCC = "-m NCC 2x2x2 -n 100x50x10"


def _greedy(parameters: int, about: str) -> dict[str, PeerSettings]:
    """Return greedy with both smoothings, after an affine stage with a number of parameters."""
    affine = f"-ia-image-centers -dof {parameters} {_NCC}"
    return {
        "greedy-ncc": PeerSettings(
            "greedy", "greedy NCC", affine, _NCC,
            f"{about}, then greedy; its default smoothing",
        ),
        "greedy-ncc-s2": PeerSettings(
            "greedy", "greedy NCC, smoother", affine, f"{_NCC} -s 2vox 0.5vox",
            f"{about}, then greedy; smoothing as in its documentation's example",
        ),
    }  # fmt: skip


_ELASTIX = "elastix's default parameter maps: 4 resolutions, Mattes mutual information, 256 iterations each"
_DEMONS = "SimpleITK's diffeomorphic demons at 1/4, 1/2 and full resolution after matching histograms"
_CONVEX = "ConvexAdam's defaults: MIND features, coupled convex optimisation, 80 Adam steps"


def _others(affine: str, deform: str, demons: str) -> dict[str, PeerSettings]:
    """Return elastix, demons and ConvexAdam.

    Args:
        affine: SimpleITK's affine of the latter two; empty for none.
        deform: elastix's B-spline.
        demons: iterations and smoothing.
    """
    about = "SimpleITK's affine by Mattes mutual information" if affine else "no affine"
    return {
        "elastix-bspline": PeerSettings(
            "elastix", "elastix B-spline", "affine" if affine else "", deform,
            f"{_ELASTIX}; B-spline of 10 mm",
        ),
        "demons": PeerSettings("demons", "SimpleITK demons", affine, demons, f"{about}, then {_DEMONS}"),
        "convexadam": PeerSettings("convexadam", "ConvexAdam", affine, "MIND", f"{about}, then {_CONVEX}"),
    }  # fmt: skip


_OTHERS = _others("moments 200", "bspline 10", "100x50x10 1.0")
_OTHERS_CROPS = _others("geometry 200", "bspline 10", "100x50x10 1.0")
_OTHERS_CINE = _others("", "bspline 10", "200 1.0")
_GREEDY = _greedy(12, "12-parameter affine")
_GREEDY_CROPS = _greedy(6, "rigid (12 parameters diverged on crops of training persons)")
_CINE = "no affine, as both frames are one scan; one resolution, as greedy halves no axis of fewer than eight slices"
_GREEDY_CINE = {
    "greedy-ncc": PeerSettings(
        "greedy", "greedy NCC", "", "-m NCC 4x4x1 -n 100 -s 4vox 1vox", f"{_CINE}; window wide in plane"
    ),
    "greedy-ssd": PeerSettings("greedy", "greedy SSD", "", "-m SSD -n 200 -s 3vox 0.7vox", _CINE),
}  # fmt: skip


@dataclass(frozen=True)
class Protocol:
    """A protocol: pairs of files, and the settings of the tools.

    Args:
        name: of the row; its record is `NAME-accuracy`.
        title: one line for people.
        folder: of the data set, below the folder of all data.
        image: name of a subject's image, with `{subject}`.
        labels: name of its labels.
        data: what the record says of the data.
        model: our model for it.
        peers: settings of the other tools.
    """

    name: str
    title: str
    folder: str
    image: str
    labels: str
    data: Data
    model: str
    peers: Mapping[str, PeerSettings] = field(default_factory=lambda: {**_ANTS, **_GREEDY, **_OTHERS})


def cycle(subjects: Sequence[str]) -> Subjects:
    """Return each subject with the next, the last with the first, as (fixed, moving).

    Example:
        >>> cycle(["a", "b", "c"])
        (('a', 'b'), ('b', 'c'), ('c', 'a'))
    """
    return tuple(zip(subjects, (*subjects[1:], subjects[0]), strict=True))


def ordered(subjects: Sequence[str]) -> Subjects:
    """Return every subject with every other.

    Example:
        >>> len(ordered(["a", "b", "c"]))
        6
    """
    return tuple((fixed, moving) for fixed in subjects for moving in subjects if fixed != moving)


def pairs(protocol: Protocol, folder: Path) -> list[Pair]:
    """Return the files of a protocol's pairs.

    Args:
        protocol: the row.
        folder: of all data sets.

    Raises:
        InputError: if a file is missing.
    """
    return [_pair(protocol, folder / protocol.folder, *names) for names in protocol.data.pairs]


def _pair(protocol: Protocol, folder: Path, fixed: str, moving: str) -> Pair:
    names = [name.format(subject=s) for name in (protocol.image, protocol.labels) for s in (fixed, moving)]
    files = [folder / name for name in names]
    for file in files:
        if not file.is_file():
            raise InputError(str(file), expected="a volume", got="no such file", remedy="check --data")
    return Pair(fixed, moving, *files)


_OASIS = ("1101", "1104", "1107", "1110", "1113")
_HEADS = ("IXI161", "IXI167", "IXI216", "IXI217", "IXI262")
_HIPPOCAMPI = tuple(
    f"hippocampus_{number:03}"
    for number in (42, 105, 130, 141, 144, 145, 154, 158, 177, 224, 238, 250, 277, 326, 329, 345, 349, 352, 353, 394)
)
_HEARTS = tuple(f"patient{number:03}" for number in (17, 18, 37, 38, 57, 58, 77, 78, 97, 98))


_T1, _T2, _LABELS = "sub-{subject}_T1w.nii.gz", "sub-{subject}_T2w.nii.gz", "sub-{subject}_dseg.nii.gz"
_IMAGE, _TRUTH = "{subject}.nii.gz", "{subject}_gt.nii.gz"
_BRAIN = Protocol(
    name="brain",
    title="Accuracy on brain scans of people never seen",
    folder="oasis",
    image=_T1,
    labels=_LABELS,
    data=Data(
        name="OASIS-1 scans of the MICCAI 2012 multi-atlas challenge, skull-stripped T1, 1 mm",
        split="five persons that were not used in training, in a cycle",
        labels="138 structures, manual, Neuromorphometrics",
        terms="CC BY-NC 3.0; OASIS; labels provided by Neuromorphometrics, Inc. under academic subscription",
        distance_unit="mm",
        pairs=cycle(_OASIS),
    ),
    model="brain",
)
_EVERY_BRAIN = {"split": "five persons that were not used in training, every one with every other"}
_ROWS = (
    _BRAIN,
    replace(
        _BRAIN,
        name="brain-ordered",
        title=f"{_BRAIN.title}, every ordered pair",
        data=_BRAIN.data.model_copy(update={**_EVERY_BRAIN, "pairs": ordered(_OASIS)}),
    ),
    Protocol(
        name="heads",
        title="Accuracy on whole heads of people never seen",
        folder="ixi-2mm",
        image=_T1,
        labels=_LABELS,
        data=Data(
            name="IXI T1 of whole heads, not skull-stripped, 2 mm",
            split="the first five of ten persons held out, by number, in a cycle",
            labels="129 structures, automatic (DLMUSE), so Dice is agreement with a method and not with people",
            terms="images CC BY-SA 3.0 (IXI); labels for research use",
            distance_unit="mm",
            pairs=cycle(_HEADS),
        ),
        model="none",
    ),
    Protocol(
        name="hippocampus",
        title="Accuracy on hippocampi of people never seen",
        folder="hippocampus",
        image=_IMAGE,
        labels=_TRUTH,
        data=Data(
            name="Medical Segmentation Decathlon task 04, MR around the hippocampus, 1 mm",
            split="20 persons held out, in a cycle",
            labels="2 structures, manual",
            structures={1: "anterior hippocampus", 2: "posterior hippocampus"},
            terms="CC BY-SA 4.0",
            distance_unit="mm",
            pairs=cycle(_HIPPOCAMPI),
        ),
        model="hippocampus-mr",
        peers={**_ANTS, **_GREEDY_CROPS, **_OTHERS_CROPS},
    ),
    Protocol(
        name="cardiac",
        title="Accuracy on beating hearts of people never seen",
        folder="acdc",
        image=_IMAGE,
        labels=_TRUTH,
        data=Data(
            name="ACDC cine MR, end-diastole and end-systole, in a release without voxel sizes",
            split="10 patients held out, two of each diagnosis, each in both directions",
            labels="3 structures, manual",
            structures={1: "right ventricle", 2: "myocardium", 3: "left ventricle"},
            terms="CC BY-NC-SA 4.0",
            distance_unit="voxel",
            pairs=tuple(
                (f"{patient}_{fixed}", f"{patient}_{moving}")
                for patient in _HEARTS
                for fixed, moving in (("ED", "ES"), ("ES", "ED"))
            ),
        ),
        model="cardiac-cine",
        peers={**_ANTS, **_GREEDY_CINE, **_OTHERS_CINE},
    ),
    Protocol(
        name="abdomen",
        title="Accuracy on abdomens of people never seen",
        folder="chaos-t2",
        image=_T2,
        labels=_LABELS,
        data=Data(
            name="CHAOS abdominal T2-SPIR MR, 1.25 x 1.25 x 7.7 mm",
            split="three persons held out, every one with every other",
            labels="4 structures, manual",
            structures={1: "liver", 2: "right kidney", 3: "left kidney", 4: "spleen"},
            terms="CC BY-NC-SA 4.0",
            distance_unit="mm",
            pairs=ordered(("32", "33", "34")),
        ),
        model="abdomen-mr",
    ),
)
PROTOCOLS: dict[str, Protocol] = {row.name: row for row in _ROWS}
