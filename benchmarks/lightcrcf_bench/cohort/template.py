"""Template against its affine mean: sharpness, residual mean displacement, and overlap of labels.

python -m lightcrcf_bench.cohort.template --data ../shared/data --out benchmarks/history/DATE-template.json

Built from persons of the training split of oasis, the first in its order; persons of the validation split are then
registered to both averages. With `--keep DIR` the template stays there.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightcrcf.cache.registration import RegistrationCache
from lightcrcf.evaluation.metrics import dice
from lightcrcf.files import write_json
from lightcrcf.geometry.threads import use_threads
from lightcrcf.preprocessing.foreground import foreground
from lightcrcf.preprocessing.normalization import normalize
from lightcrcf.registration.register import register
from lightcrcf.run_record.environment import usable_cores
from lightcrcf.template.average import sharpness
from lightcrcf.template.mean import mean_displacement
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.transforms.itk import read_transform_folder
from lightcrcf.volumes import Volume, read
from lightcrcf_bench.accuracy.oasis import DATA, TERMS, oasis_files
from lightcrcf_bench.measure import plain_header, run
from lightcrcf_bench.publish.markdown import table
from lightcrcf_bench.records.schema import BUSY
from lightcrcf_bench.speed.worker import limited

__all__ = ["FORMAT", "NAME", "PROTOCOL", "agreement", "main", "most_votes", "template_text"]

FORMAT, NAME = "lightcrcf-template", "template"

PROTOCOL = (
    "Sharpness: mean gradient of unit intensities inside of the tissue, two voxels from its border, 1/mm; of single "
    "images on their own grids. sharpness_of_mean: before sharpening. Mean displacement: root mean square, over the "
    "tissue, of the mean of all images' maps; for the affine mean as the registrations of the first iteration find it, "
    "for the template as those of the last iteration do, and what the transforms that were written leave. Dice: labels "
    "moved by nearest neighbour onto the average, mean over structures and persons; of persons it was built from "
    "against the majority of the others, of held-out persons, registered to the average with the preset, against the "
    "majority of all. Agreement: mean share of the persons that have the majority's label, where any has one."
)
Labels = NDArray[Any]
Files = tuple[Path, Path]


def most_votes(labels: Labels, leave_out: int | None = None) -> Labels:
    """Return the label that most persons have at each voxel, of several the smallest.

    Args:
        labels: (N, M), of N persons.
        leave_out: whose labels do not count.

    Example:
        >>> most_votes(np.array([[1, 5, 2], [1, 4, 0], [3, 5, 7]])).tolist()
        [1, 5, 0]
        >>> most_votes(np.array([[1, 5, 2], [1, 4, 0], [3, 5, 7]]), leave_out=0).tolist()
        [1, 4, 0]
    """
    voters = np.sort(np.delete(labels, [] if leave_out is None else [leave_out], axis=0), axis=0)
    best, most = voters[0].copy(), np.zeros(labels.shape[1], np.int16)
    for candidate in voters:
        votes = (voters == candidate).sum(axis=0, dtype=np.int16)
        best, most = np.where(votes > most, candidate, best), np.maximum(votes, most)
    return np.asarray(best)


def agreement(labels: Labels) -> float:
    """Return mean share of the persons that have the majority's label.

    Args:
        labels: (N, M), of N persons.

    Example:
        >>> agreement(np.array([[1, 5], [1, 4]]))
        0.75
    """
    return float((labels == most_votes(labels)).mean())


class _Judged:
    """Labels of persons on an average, and how well others agree with their majority."""

    def __init__(self, average: Volume, labels: Sequence[Path], chains: Sequence[Chain]) -> None:
        self._grid = average.grid
        moved = [self.moved(path, chain) for path, chain in zip(labels, chains, strict=True)]
        self._somewhere = np.any([image != 0 for image in moved], axis=0)
        self._labels = np.stack([image[self._somewhere] for image in moved])

    def moved(self, labels: Path, chain: Chain) -> Labels:
        return np.asarray(chain.resample(read(labels), self._grid, "nearest").data)

    def own(self) -> dict[str, float]:
        each = [_mean_dice(most_votes(self._labels, n), own) for n, own in enumerate(self._labels)]
        return {"dice": round(float(np.mean(each)), 6), "agreement": round(agreement(self._labels), 6)}

    def held_out(self, labels: Path, chain: Chain) -> float:
        majority = np.zeros(self._grid.shape, self._labels.dtype)
        majority[self._somewhere] = most_votes(self._labels)
        return _mean_dice(majority, self.moved(labels, chain))


def _mean_dice(first: Labels, second: Labels) -> float:
    """Return mean over the structures that the first has."""
    return float(np.nanmean(list(dice(first, second).values())))


def template_text(record: Mapping[str, Any]) -> str:
    """Return the affine mean and the template, in a row each, and what building took."""
    start, last, shift = record["start"], record["iterations"][-1], record["mean_shift_rms_mm"]
    rows = [
        _row("affine mean", record["affine_mean"], start, shift["affine_mean"]),
        _row("template", record["template"], last, shift["template"]),
    ]
    header = (
        "",
        "sharpness, 1/mm",
        "mean displacement, mm",
        "Dice of its persons",
        "agreement",
        "Dice of held-out persons",
    )
    where, single = record["machine"], record["sharpness_single_images"]
    busy = BUSY if record["load_before"] > where["cores"] + 1 else ""
    notes = [
        f"{record['data']['name']}; {record['data']['split']}: {len(single)} and "
        f"{len(record['template']['dice_held_out'])} persons, {len(record['iterations'])} iterations. Single images "
        f"have a sharpness of {np.mean(single):.3f}; the template before sharpening {last['sharpness_of_mean']:.3f}. "
        f"What the written transforms leave of the mean displacement: {shift['written_transforms']:.4f} mm.",
        record["protocol"],
        f"Building took {record['seconds']:.0f} s{busy}, {record['peak_mib']:.0f} MiB; {where['cpu']}, "
        f"{where['cores']} cores, {record['measured']}. {record['note']}".strip(),
    ]
    return "\n".join([*table(header, rows), "", *(f"- {note}" for note in notes)])


def _row(title: str, found: Mapping[str, Any], figures: Mapping[str, Any], shift: float) -> tuple[str, ...]:
    held_out = float(np.mean(found["dice_held_out"]))
    columns = (figures["sharpness"], shift, found["dice"], found["agreement"], held_out)
    return (title, *(f"{value:.3f}" for value in columns))


def _measured(out: Path, persons: Sequence[Files], others: Sequence[Files], preset: str) -> dict[str, Any]:
    """Score the template in a folder, and its affine mean."""
    known = json.loads((out / "template.json").read_text(encoding="utf-8"))
    names = {path: name for name, path in known["paths"].items()}
    kept = [files for files in persons if names[str(files[0].absolute())] not in known["left_out"]]
    ids = [names[str(image.absolute())] for image, _ in kept]
    moved = [read_transform_folder(out / "transforms" / name) for name in ids]
    still = [Chain(Affine.identity(), None, Affine(np.array(known["start"]["affines"][name]))) for name in ids]
    averages = {"affine_mean": still, "template": moved}
    found: dict[str, Any] = {}
    for name, chains in averages.items():
        path = out / f"{name}.nii.gz"
        judged = _Judged(read(path), [labels for _, labels in kept], chains)
        shared = RegistrationCache()
        each = [
            judged.held_out(labels, register(path, image, preset=preset, shared=shared).transform)
            for image, labels in others
        ]
        found[name] = {**judged.own(), "dice_held_out": [round(value, 6) for value in each]}
    return {
        "sharpness_single_images": [_sharpness_of(image) for image, _ in kept],
        **found,
        "mean_shift_rms_mm": _shifts(known, out / "template.nii.gz", moved),
        "start": known["start"]["figures"],
        "iterations": [{"left_out": s["left_out"], **s["figures"]} for s in known["iterations"]],
    }


def _shifts(known: Mapping[str, Any], template: Path, chains: Sequence[Chain]) -> dict[str, float]:
    image = read(template)
    left = mean_displacement(chains, image.grid).length_mm[foreground(image.data)]
    stages = [stage["figures"]["mean_shift_rms_mm"] for stage in known["iterations"]]
    written = float(np.sqrt(np.mean(np.square(left), dtype=np.float64)))
    return {"affine_mean": stages[0], "template": stages[-1], "written_transforms": round(written, 6)}


def _sharpness_of(path: Path) -> float:
    prepared = normalize(read(path))
    return round(sharpness(Volume(prepared.data, prepared.grid), foreground(prepared.data)), 6)


def main(arguments: Sequence[str] | None = None, log: Callable[[str], None] = print) -> int:
    """Build, measure and write the record; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    for name in ("--data", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--images", type=int, default=10, help="how many to average")
    parser.add_argument("--held-out", type=int, default=5, help="how many others to register")
    parser.add_argument("--iterations", type=int, default=4)
    parser.add_argument("--step", type=float, default=1.0)
    parser.add_argument("--preset", default="default")
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--note", default="", help="what else the machine did, for the record")
    parser.add_argument("--keep", type=Path, help="where the template stays")
    given = parser.parse_args(arguments)
    persons, others = oasis_files(given.data, "train", given.images), oasis_files(given.data, "val", given.held_out)
    chosen = [f"--{name}={getattr(given, name)}" for name in ("iterations", "step", "preset", "threads")]
    with nullcontext(given.keep) if given.keep else tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "template"
        images = [str(image) for image, _ in persons]
        command = (sys.executable, "-m", "lightcrcf", "template", *images, f"--out={out}", "--resume", *chosen)
        taken = run(command, environment=limited(given.threads))
        log(f"built in {taken.seconds:.0f} s")
        with use_threads(given.threads):
            found = _measured(out, persons, others, given.preset)
    record = {
        **plain_header(FORMAT),
        "data": {"name": DATA, "terms": TERMS, "split": "built from train, held out: val", "structures": 138},
        "protocol": PROTOCOL,
        "commands": [
            f"python -m lightcrcf_bench.cohort.template --data ../shared/data --images {len(persons)} --held-out "
            f"{len(others)} {' '.join(chosen)} --out benchmarks/history/DATE-template.json"
        ],
        "note": given.note,
        "seconds": taken.seconds,
        "peak_mib": taken.peak_mib,
        "load_before": taken.load_before,
        **found,
    }
    write_json(given.out, record)
    log(json.dumps({name: found[name] for name in ("affine_mean", "template", "mean_shift_rms_mm")}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
