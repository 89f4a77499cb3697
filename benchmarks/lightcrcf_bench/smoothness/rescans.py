"""One anatomy twice: two real scans of a person, and scans made of one by noise, a bias field and a small shift.

Hardly anything should be found between them.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from lightcrcf.errors import InputError
from lightcrcf.preprocessing.foreground import foreground
from lightcrcf.transforms.chain import Chain
from lightcrcf.volumes import read
from lightcrcf_bench.accuracy.methods import BenchSettings
from lightcrcf_bench.accuracy.protocols import PROTOCOLS, Images
from lightcrcf_bench.smoothness.ladder import ladder
from lightcrcf_bench.smoothness.record import Cases
from lightcrcf_bench.smoothness.scores import correlation, distances, points_of, volume_change
from lightcrcf_bench.smoothness.simulate import biased, left, noise_level, noisy, random_of, shifted
from lightcrcf_bench.smoothness.study import Planned, Ready, Split, Study, subjects

__all__ = ["RESCANS", "SAME_PERSON", "rescans", "rescans_name", "same_person"]

SAME_PERSON, RESCANS = "same-person", "-rescans"
_TWICE = (("1000", "01"), ("1001", "02"))  # OASIS numbers, and those of the same persons in oasis-trt-asl
_PERSONS = 3
_BIAS_PERCENT = 20.0
_SHIFT_VOXELS = (0.3, -0.4, 0.2)
_HEARTS = "cardiac"
_ANATOMIES = ("brain", _HEARTS, "abdomen")
_COMMAND = "python -m lightcrcf_bench.smoothness"


def same_person(folder: Path, bench: BenchSettings) -> Study:
    """Return two scans of each of two persons, in other orientations.

    Args:
        folder: of all data sets.
        bench: how to run.
    """
    planned = [Planned(f"{one} <- trt-{other}", partial(_two_scans, folder, one, other)) for one, other in _TWICE]
    return Study(
        name=SAME_PERSON,
        title="The same person twice: what is found where hardly anything changed",
        data=Cases(
            name="OASIS-1 brain MR and its rescans of Mindboggle-101, skull-stripped by different hands, 1 mm",
            split="train",
            persons="two persons of the training split, the only ones with two scans",
            terms="CC BY-NC 3.0 and CC BY-NC-SA 3.0; OASIS",
            names=tuple(case.name for case in planned),
        ),
        protocol=(
            "J is the determinant of the deformation, the affine aside, by central differences on the grid of the "
            "fixed image; inside: voxels of the fixed image that are not 0. Likeness: Pearson correlation of fixed and "
            "moved image inside, moved by linear interpolation."
        ),
        commands=(
            f"{_COMMAND} same-person --data ../shared/data --out benchmarks/history/DATE-{SAME_PERSON}.json",
            "lightcrcf bench report",
        ),
        planned=planned,
        rungs=ladder(PROTOCOLS["brain"], bench),
    )


def _two_scans(folder: Path, one: str, other: str, _bench: BenchSettings) -> Ready:
    files = (folder / "oasis" / f"sub-{one}_T1w.nii.gz", folder / "oasis-trt-asl" / f"sub-{other}_T1w.nii.gz")
    fixed, moving = (read(path) for path in files)
    brain = np.asarray(fixed.data > 0)

    def score(chain: Chain) -> dict[str, float]:
        likeness = correlation(chain, fixed, moving, brain)
        return {"correlation": likeness, **volume_change(chain, fixed.grid, brain)}

    return Ready(Images(one, f"trt-{other}", *files), score)


def rescans_name(anatomy: str, split: Split = "val") -> str:
    """Return the name of the record."""
    return f"{anatomy}{RESCANS}{'' if split == 'val' else '-train'}"


def rescans(anatomy: str, folder: Path, split: Split, bench: BenchSettings) -> Study:
    """Return the study of simulated rescans of subjects of a split.

    Args:
        anatomy: brain, cardiac or abdomen.
        folder: of all data sets.
        split: of the persons.
        bench: how to run.

    Raises:
        InputError: if the data are not there, or there are none of such an anatomy.
    """
    if anatomy not in _ANATOMIES:
        raise InputError("--anatomy", expected=" or ".join(_ANATOMIES), got=anatomy, remedy="choose one of them")
    protocol = PROTOCOLS[anatomy]
    persons = subjects(folder, protocol.folder, split)[:_PERSONS]
    scans = [f"{person}_ED" if anatomy == _HEARTS else person for person in persons]
    images = [folder / protocol.folder / protocol.image.format(subject=scan) for scan in scans]
    option = "" if split == "val" else f"--split {split} "
    out = f"benchmarks/history/DATE-{rescans_name(anatomy, split)}.json"
    return Study(
        name=rescans_name(anatomy, split),
        title="A scan and one made of it: what is found where nothing changed",
        data=Cases(
            name=protocol.data.name,
            split=split,
            persons=f"the first {len(persons)} persons of {split}",
            terms=protocol.data.terms,
            names=tuple(scans),
        ),
        protocol=(
            "The moving image is the fixed one, moved by (0.3, -0.4, 0.2) voxels by cubic interpolation and multiplied "
            "by a smooth field from 0.9 to 1.1; noise of the image's own level is added to both. The residual is the "
            f"mean distance, inside the anatomy, of where points are taken from where the shift takes them"
            f"{', in voxels, their size being unknown' if anatomy == _HEARTS else ''}. J is the determinant of the "
            "deformation, the affine aside."
        ),
        commands=(
            f"{_COMMAND} rescans --anatomy {anatomy} {option}--data ../shared/data --out {out}",
            "lightcrcf bench report",
        ),
        planned=[Planned(scan, partial(_rescan, path, scan)) for scan, path in zip(scans, images, strict=True)],
        rungs=ladder(protocol, bench),
    )


def _rescan(path: Path, name: str, bench: BenchSettings) -> Ready:
    image, random = read(path), random_of(name)
    shift_mm = image.grid.affine[:3, :3] @ np.array(_SHIFT_VOXELS)
    anatomy, level = foreground(image.data), noise_level(image)
    fixed = noisy(image, level, random)
    moving = noisy(biased(shifted(image, shift_mm), _BIAS_PERCENT, random), level, random)
    points = points_of(anatomy, image.grid)

    def score(chain: Chain) -> dict[str, float]:
        residual = float(distances(chain, points, points + shift_mm).mean())
        return {"residual_mm": residual, **volume_change(chain, image.grid, anatomy)}

    return Ready(left(bench.work / "rescans", name, fixed, moving), score)
