"""Overlap against smoothness: every tool at several settings, on several data sets."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightcrcf.errors import InputError
from lightcrcf.preprocessing.foreground import foreground
from lightcrcf.transforms.chain import Chain
from lightcrcf.volumes import Volume, read
from lightcrcf_bench.accuracy.methods import BenchSettings
from lightcrcf_bench.accuracy.protocols import PROTOCOLS, Images, Pair, Protocol, cycle, ordered, pairs
from lightcrcf_bench.records.schema import Data
from lightcrcf_bench.smoothness.ladder import ladder
from lightcrcf_bench.smoothness.record import Cases
from lightcrcf_bench.smoothness.scores import mean_dice, target_error, volume_change
from lightcrcf_bench.smoothness.study import Planned, Ready, Split, Study, subjects

__all__ = [
    "DATA_SETS", "FRONTIER", "LUNG", "SCORING", "DataSet", "anatomy_of", "case_name", "frontier", "frontier_commands",
    "frontier_name", "row_of",
]  # fmt: skip

FRONTIER, LUNG = "-frontier", "lung"
Mask = NDArray[np.bool_]
Find = Callable[[Volume, Volume | None], Mask]
SCORING = (
    "J is the determinant of the deformation, the affine aside, by central differences on the grid of the fixed image; "
    "SDlogJ is the standard deviation of its logarithm, with J clipped at 1e-9. "
)


def _image(image: Volume, _labels: Volume | None) -> Mask:
    return np.asarray(image.data > 0)


def _labelled(_image: Volume, labels: Volume | None) -> Mask:
    return np.asarray(labels.data > 0) if labels is not None else np.zeros(0, bool)


def _tissue(image: Volume, _labels: Volume | None) -> Mask:
    return foreground(image.data)


@dataclass(frozen=True)
class DataSet:
    """A row.

    Args:
        protocol: of accuracy, whose pairs of held-out persons these are.
        inside: what the anatomy is, for people.
        anatomy: finds it, from the fixed image and its labels.
        train: how many persons of the training split; their pairs are as those of the others.
    """

    protocol: Protocol
    inside: str
    anatomy: Find
    train: int


DATA_SETS = {
    "brain": DataSet(PROTOCOLS["brain"], "voxels of the fixed image that are not 0, a bare brain", _image, 5),
    "hippocampus": DataSet(PROTOCOLS["hippocampus"], "the foreground of the fixed image", _tissue, 20),
    "abdomen": DataSet(PROTOCOLS["abdomen"], "the foreground of the fixed image", _tissue, 3),
    "heads": DataSet(PROTOCOLS["heads"], "labelled voxels of the fixed image, the brain", _labelled, 5),
}
_LUNG = Protocol(
    name=LUNG,
    title="One person's lungs at two times",
    folder="lung-ct",
    image="{subject}.mha",
    labels="{subject}_mask.mha",
    data=Data(
        name="CT of one side of one person's lungs, the test data of elastix, 1.4 x 1.4 x 2.5 mm",
        split="no person of it was used in training",
        labels="26 pairs of landmarks",
        terms="Apache-2.0",
        distance_unit="mm",
        pairs=(("baseline", "followup"),),
    ),
    model="none",
)


def frontier_name(data_set: str, split: Split = "val") -> str:
    """Return the name of the record."""
    return f"{data_set}{FRONTIER}{'' if split == 'val' else '-train'}"


def frontier(data_set: str, folder: Path, split: Split, bench: BenchSettings) -> Study:
    """Return the study of one data set.

    Args:
        data_set: a key of `DATA_SETS`, or `LUNG`.
        folder: of all data sets.
        split: val for records, train to choose settings by.
        bench: how to run.

    Raises:
        InputError: if the data are not there.
    """
    if data_set == LUNG:
        return _lung(folder, split, bench)
    row = DATA_SETS[data_set]
    protocol = row_of(row, folder, split)
    return Study(
        name=frontier_name(data_set, split),
        title=f"{protocol.title.removeprefix('Accuracy on ').capitalize()}: overlap against smoothness",
        data=_cases(protocol, split),
        protocol=f"{SCORING}Inside: {row.inside}. Dice: mean over the structures that both have, labels moved once.",
        commands=frontier_commands(data_set, split),
        planned=[
            Planned(case_name(pair), partial(_labelled_pair, pair, row.anatomy)) for pair in pairs(protocol, folder)
        ],
        rungs=ladder(protocol, bench),
    )


def row_of(row: DataSet, folder: Path, split: Split) -> Protocol:
    """Return the protocol with the pairs of a split."""
    protocol = row.protocol
    if split == "val":
        return protocol
    persons = subjects(folder, protocol.folder, split)[: row.train]
    these = ordered(persons) if protocol.name == "abdomen" else cycle(persons)
    option = f"the first {len(persons)} persons of the training split"
    data = protocol.data.model_copy(update={"pairs": these, "split": option})
    return replace(
        protocol, data=data, title=protocol.title.replace("people never seen", "people of the training split")
    )


def anatomy_of(data_set: str, image: Volume, labels: Volume | None = None) -> Mask:
    """Return the mask of the anatomy in the fixed image of a data set."""
    return DATA_SETS[data_set].anatomy(image, labels)


def case_name(images: Images) -> str:
    """Return the name of a case, fixed and moving."""
    return f"{images.fixed} <- {images.moving}"


def _cases(protocol: Protocol, split: Split) -> Cases:
    data = protocol.data
    return Cases(
        name=f"{data.name}; {data.labels}",
        split=split,
        persons=data.split,
        terms=data.terms,
        names=tuple(f"{fixed} <- {moving}" for fixed, moving in data.pairs),
    )


def frontier_commands(data_set: str, split: Split) -> tuple[str, ...]:
    """Return the commands that measure a record, run from the repository root."""
    option = "" if split == "val" else f"--split {split} "
    out = f"benchmarks/history/DATE-{frontier_name(data_set, split)}.json"
    command = f"python -m lightcrcf_bench.smoothness frontier --data-set {data_set} {option}--data ../shared/data"
    return (f"{command} --out {out}", "lightcrcf bench report")


def _labelled_pair(pair: Pair, find: Find, _bench: BenchSettings) -> Ready:
    fixed, labels, moving_labels = (read(p) for p in (pair.fixed_image, pair.fixed_labels, pair.moving_labels))
    anatomy = find(fixed, labels)

    def score(chain: Chain) -> dict[str, float]:
        return {"dice": mean_dice(chain, labels, moving_labels), **volume_change(chain, fixed.grid, anatomy)}

    return Ready(pair, score)


def _lung(folder: Path, split: Split, bench: BenchSettings) -> Study:
    if split == "train":
        raise InputError(LUNG, expected="--split val", got=split, remedy="there is one person only, held out")
    (pair,) = pairs(_LUNG, folder)
    return Study(
        name=frontier_name(LUNG),
        title=f"{_LUNG.title}: error of landmarks against smoothness",
        data=_cases(_LUNG, split),
        protocol=f"{SCORING}Inside: the lung's mask. Both masks are given to all tools. Error: mean of 26 landmarks.",
        commands=frontier_commands(LUNG, split),
        planned=[Planned(case_name(pair), partial(_landmarks, pair))],
        rungs=ladder(_LUNG, bench),
    )


def _landmarks(pair: Pair, _bench: BenchSettings) -> Ready:
    fixed, mask = read(pair.fixed_image), read(pair.fixed_labels).data > 0
    with (pair.fixed_image.parent / "landmarks_ras_mm.csv").open(encoding="utf-8", newline="") as lines:
        rows = np.array(list(csv.reader(lines))[1:], dtype=np.float64)
    images = Images(
        pair.fixed,
        pair.moving,
        pair.fixed_image,
        pair.moving_image,
        fixed_mask=pair.fixed_labels,
        moving_mask=pair.moving_labels,
    )

    def score(chain: Chain) -> dict[str, float]:
        error = target_error(chain, rows[:, :3], rows[:, 3:])
        return {"target_error_mm": error, **volume_change(chain, fixed.grid, mask)}

    return Ready(images, score)
