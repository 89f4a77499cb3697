"""Layouts and splits of public data sets.

The paper (Liu et al., Medical Physics 2025, doi 10.1002/mp.17827) publishes numbers of pairs, not subjects. The splits
below reproduce its numbers; they do not depend on which files are present:

- LPBA40, 30 and 9 pairs: S01 is the atlas, S02 to S10 test, S11 to S40 train.
- OASIS, 1275, 110 and 660 pairs: 5 atlases, and 255, 22 and 132 subjects; drawn by `SEED`.
- ACDC, 180, 20 and 100 pairs: the 100 training patients less every tenth (two of each diagnosis), those ten, and the 50
  patients of the publisher's own test set, end-diastole and end-systole each to the other.
- Abdomen CT, 380, 6 and 42 pairs: all ordered pairs of subjects 1 to 20, 21 to 23 and 24 to 30.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from lightcrcf.training.datasets.listing import Listing, Problem, Scan

__all__ = ["LAYOUTS", "SEED", "Layout", "LayoutName", "Side"]

LayoutName = Literal["lpba40", "oasis-learn2reg", "oasis-neurite", "acdc", "abdomen-ct"]
Side = tuple[int, int, int]

SEED = 10  # of the split of the neurite release


@dataclass(frozen=True)
class Layout:
    """The layout of a public data set.

    Args:
        listing: lists the files below a folder.
        tree: description of the expected files.
        within: whether pairs are formed within a subject.
        structures: label codes by the name of the set of regions that scores are averaged over.
        sides: (lower, higher, axis): the structure `lower` is left of, posterior to or inferior to `higher` (axis 0,
            1, 2); checks the orientation of the axes.
    """

    listing: Callable[[Path], Listing]
    tree: str
    structures: Mapping[str, tuple[int, ...]]
    sides: tuple[Side, ...] = ()
    within: bool = False

    @property
    def codes(self) -> frozenset[int]:
        """All labels of the data set."""
        return frozenset(code for codes in self.structures.values() for code in codes)


def lpba40(folder: Path) -> Listing:
    """List LPBA40 in delineation space, where images and labels share a grid (native space has no labels).

    Analyze 7.5 pairs `S01/S01.delineation.skullstripped.hdr`, `.img.gz` (or unpacked), and likewise
    `S01.delineation.structure.label`; copies converted to `.nii.gz` or `.nii` take precedence. The axes of the
    Analyze files are LPS; `lightcrcf data check --labels` confirms this from the labels.

    Source:
        Shattuck et al., NeuroImage 2008, doi 10.1016/j.neuroimage.2007.09.031; LONI's archive
        LPBA40_Subjects_Delineation_Space_MRI_and_label_files.zip. File names and axes as read by the LPBA40 loader of
        github.com/honkamj/SITReg. The split S01, S02 to S10, S11 to S40 is common for 1 + 9 + 30 subjects.
    """
    names = [f"S{n:02d}" for n in range(1, 41)]

    def scan(name: str) -> Scan:
        image, labels = (folder / name / f"{name}.delineation.{what}" for what in ("skullstripped", "structure.label"))
        for suffix in (".nii.gz", ".nii"):
            if _with(image, suffix).exists() and _with(labels, suffix).exists():
                return Scan(name, 0, _with(image, suffix), _with(labels, suffix))
        return Scan(name, 0, _with(image, ".hdr"), _with(labels, ".hdr"), axes="LPS")

    scans = tuple(scan(name) for name in names)
    listing = Listing(folder, scans, tuple(names[10:]), (), tuple(names[1:10]), tuple(names[:1]), "to atlas")
    return listing.with_missing_files()


def _with(path: Path, suffix: str) -> Path:
    """Append a suffix to a file name that contains dots."""
    return path.with_name(path.name + suffix)


def oasis_neurite(folder: Path) -> Listing:
    """List OASIS-1 as prepared for neurite, version 1.0: 414 folders `OASIS_OAS1_0001_MR1`, and `subjects.txt`.

    Each folder has the skull-stripped image in template space, `aligned_norm.nii.gz`, and its 35 structures,
    `aligned_seg35.nii.gz`. Subjects are ranked by the SHA-256 of "SEED name": 5 atlases, 255 to train on, 22 to
    validate on and 132 to test on, in this order.

    Source:
        Hoopes et al., HyperMorph, IPMI 2021; github.com/adalca/medical-datasets, neurite-oasis.md.
    """
    listed = folder / "subjects.txt"
    problems: list[Problem] = []
    try:
        names = sorted(line.strip() for line in listed.read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError):
        names = sorted(path.name for path in folder.glob("OASIS_OAS1_*_MR*") if path.is_dir())
        problems.append(Problem("subjects.txt is missing or unreadable; the folders are taken for it", harmless=True))
    if len(names) != 414:
        problems.append(Problem(f"{len(names)} subjects instead of 414; the split is drawn from all of them"))
    ranked = sorted(names, key=lambda name: hashlib.sha256(f"{SEED} {name}".encode()).hexdigest())
    scans = tuple(
        Scan(name, 0, folder / name / "aligned_norm.nii.gz", folder / name / "aligned_seg35.nii.gz") for name in names
    )
    parts = (tuple(sorted(ranked[a:b])) for a, b in ((0, 5), (5, 260), (260, 282), (282, 414)))
    atlases, train, val, test = parts
    listing = Listing(folder, scans, train, val, test, atlases, "to atlas", problems=tuple(problems))
    return listing.with_missing_files()


def oasis_learn2reg(folder: Path) -> Listing:
    """List OASIS-1 as in task 3 of Learn2Reg 2021: `imagesTr/OASIS_0001_0000.nii.gz`, `labelsTr`, 414 subjects.

    The 19 validation pairs are consecutive subjects among the last 20, as in `OASIS_dataset.json`; the others are for
    training. The test subjects of the challenge have no public labels and are excluded.

    Source:
        Hering et al., Learn2Reg, IEEE TMI 2023, doi 10.1109/TMI.2022.3213983; learn2reg.grand-challenge.org.
    """
    listing, values = _learn2reg(folder, "OASIS", 414)
    pairs = tuple(_pairs(values.get("registration_val")))
    problems = list(listing.problems)
    if not pairs:
        problems.append(Problem("OASIS_dataset.json does not name the validation pairs in registration_val"))
    elif {frozenset(p) for p in pairs} != {frozenset((f"{n:04d}", f"{n + 1:04d}")) for n in range(395, 414)}:
        problems.append(Problem("registration_val is not the 19 consecutive pairs of 0395 to 0414", harmless=True))
    known = {scan.subject for scan in listing.scans}
    val = tuple(sorted({name for pair in pairs for name in pair} & known))
    train = tuple(sorted(known - set(val)))
    given = tuple(pair for pair in pairs if set(pair) <= known)
    return replace(listing, train=train, val=val, val_pairs=given, problems=tuple(problems)).with_missing_files()


def abdomen_ct(folder: Path) -> Listing:
    """List the abdomen CT-CT task of Learn2Reg: `imagesTr/AbdomenCTCT_0001_0000.nii.gz`, `labelsTr`, 30 subjects.

    Source:
        Xu et al., IEEE TBME 2016, doi 10.1109/TBME.2016.2574816 (the scans); Hering et al., Learn2Reg, IEEE TMI 2023
        (this version: 192x160x256 voxels of 2 mm, 13 organs; training data AbdomenCTCT_dataset.json, release 1.1).
    """
    listing, _ = _learn2reg(folder, "AbdomenCTCT", 30)
    names = [scan.subject for scan in listing.scans]
    train, val, test = tuple(names[:20]), tuple(names[20:23]), tuple(names[23:])
    return replace(listing, train=train, val=val, test=test).with_missing_files()


def _learn2reg(folder: Path, task: str, count: int) -> tuple[Listing, Mapping[str, Any]]:
    """Return a listing of all scans of a task, not yet divided into splits, and its dataset file."""
    names = [f"{n:04d}" for n in range(1, count + 1)]
    files = [f"{task}_{name}_0000.nii.gz" for name in names]
    scans = tuple(
        Scan(name, 0, folder / "imagesTr" / file, folder / "labelsTr" / file)
        for name, file in zip(names, files, strict=True)
    )
    values, problems = _dataset_json(folder / f"{task}_dataset.json")
    for part in ("imagesTr", "labelsTr"):
        others = sorted({path.name for path in (folder / part).glob("*.nii*")} - set(files))
        problems += [Problem(f"{part}/{other} is none of the {count} of the set", harmless=True) for other in others]
    stated = values.get("numTraining")
    if stated is not None and stated != count:
        text = f"{task}_dataset.json counts {stated} training images instead of {count}"
        problems.append(Problem(text, harmless=True))
    return Listing(folder, scans, train=tuple(names), problems=tuple(problems)), values


def _dataset_json(path: Path) -> tuple[Mapping[str, Any], list[Problem]]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        return {}, [Problem(f"{path.name} is missing", harmless=True)]
    except ValueError:
        return {}, [Problem(f"{path.name} is no JSON", harmless=True)]
    if not isinstance(values, dict):
        return {}, [Problem(f"{path.name} holds no table of names", harmless=True)]
    return values, []


def _pairs(entries: Any) -> list[tuple[str, str]]:
    """Return subjects of `[{"fixed": "./imagesTr/OASIS_0395_0000.nii.gz", "moving": ...}, ...]`; none if malformed."""
    try:
        return [(_subject(entry["fixed"]), _subject(entry["moving"])) for entry in entries]
    except (TypeError, KeyError, IndexError, AttributeError):
        return []


def _subject(image: str) -> str:
    """Return the subject of a file name: 0395 of "./imagesTr/OASIS_0395_0000.nii.gz"."""
    return image.rsplit("/", 1)[-1].split("_")[1]


def acdc(folder: Path) -> Listing:
    """List ACDC, the release with folders of patients: `training/patient001` to `100`, `testing/patient101` to `150`.

    `Info.cfg` in each gives the frames of end-diastole (ED) and end-systole (ES): `patient001_frame01.nii.gz` and its
    label map `patient001_frame01_gt.nii.gz`. Image 0 of a subject is ED, image 1 ES.

    Source:
        Bernard et al., IEEE TMI 2018, doi 10.1109/TMI.2018.2837502; humanheart-project.creatis.insa-lyon.fr/database.
        Patients are in blocks of twenty of one diagnosis, so that every tenth patient gives two of each.
    """
    names = [f"patient{n:03d}" for n in range(1, 151)]
    scans: list[Scan] = []
    problems: list[Problem] = []
    for number, name in enumerate(names, start=1):
        home = folder / ("training" if number <= 100 else "testing") / name
        frames, problem = _frames(home / "Info.cfg")
        if problem is not None:
            where = f"{home.parent.name}/{name}"
            problems.append(Problem(f"{where}/Info.cfg {problem}" if home.is_dir() else f"{where} is missing", name))
        for image, frame in enumerate(frames):
            stem = f"{name}_frame{frame:02d}"
            scans.append(Scan(name, image, home / f"{stem}.nii.gz", home / f"{stem}_gt.nii.gz"))
    val = tuple(names[9:100:10])
    train = tuple(name for name in names[:100] if name not in val)
    listing = Listing(folder, tuple(scans), train, val, tuple(names[100:]), rule="within", problems=tuple(problems))
    return listing.with_missing_files()


def _frames(info: Path) -> tuple[tuple[int, ...], str | None]:
    """Return the frames of ED and ES in `Info.cfg`; without them, no frames and the problem."""
    try:
        lines = info.read_text(encoding="utf-8").splitlines()
    except OSError:
        return (), "is missing"
    except UnicodeDecodeError:
        return (), "is no text"
    values = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    try:
        return (int(values["ED"]), int(values["ES"])), None
    except KeyError as missing:
        return (), f"has no line {missing.args[0]!r}"
    except ValueError:
        return (), f"has ED {values['ED']!r} and ES {values['ES']!r}, which are no frame numbers"


def _codes(*ranges: tuple[int, int]) -> tuple[int, ...]:
    return tuple(code for first, last in ranges for code in range(first, last + 1))


def _lpba40_structures() -> dict[str, tuple[int, ...]]:
    """Return the label sets. Many authors exclude cerebellum (181) and brainstem (182), which are large and easy."""
    cerebrum = _codes((21, 34), (41, 50), (61, 68), (81, 92), (101, 102), (121, 122), (161, 166))
    return {"56 regions": (*cerebrum, 181, 182), "54 regions": cerebrum}


def _learn2reg_tree(task: str, last: str) -> str:
    files = ", ".join(f"{part}/{task}_0001_0000.nii.gz to {last}" for part in ("imagesTr", "labelsTr"))
    return f"{files}, {task}_dataset.json"


LAYOUTS: Mapping[LayoutName, Layout] = {
    "lpba40": Layout(
        lpba40,
        "S01/S01.delineation.skullstripped.hdr and .img.gz, S01.delineation.structure.label.hdr and .img.gz, to S40",
        _lpba40_structures(),
        # The superior frontal gyri, left (21) and right (22), and the cerebellum (181).
        sides=((21, 22, 0), (181, 21, 1), (181, 21, 2)),
    ),
    # The cerebral cortices, left (2) and right (21), and the cerebella (6, 25).
    "oasis-learn2reg": Layout(
        oasis_learn2reg,
        _learn2reg_tree("OASIS", "0414"),
        {"35 structures": _codes((1, 35))},
        sides=((2, 21, 0), (6, 2, 1), (6, 2, 2)),
    ),
    "oasis-neurite": Layout(
        oasis_neurite,
        "subjects.txt, OASIS_OAS1_0001_MR1/aligned_norm.nii.gz and aligned_seg35.nii.gz, ...",
        {"35 structures": _codes((1, 35))},
        sides=((2, 21, 0), (6, 2, 1), (6, 2, 2)),
    ),
    "acdc": Layout(
        acdc,
        "training/patient001/Info.cfg, patient001_frame01.nii.gz and _gt.nii.gz, ..., testing/patient150",
        {"right ventricle, myocardium, left ventricle": (1, 2, 3)},
        within=True,
    ),
    "abdomen-ct": Layout(
        abdomen_ct,
        _learn2reg_tree("AbdomenCTCT", "0030"),
        {"13 organs": _codes((1, 13))},
        # The left (3) and the right kidney (2); the spleen (1) and the liver (6).
        sides=((3, 2, 0), (1, 6, 0)),
    ),
}
