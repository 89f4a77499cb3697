"""Accuracy of multi-atlas labelling: single atlases, and each fusion, with time and memory.

python -m lightcrcf_bench.cohort.labelling --data ../shared/data --out benchmarks/history/DATE-labelling.json

Images of the validation split of oasis are labelled by persons of the training split, the first in its order.
`--contrast T2` shows the images as such scans; the record is then named DATE-T2-labelling.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightcrcf.batch.options import BatchOptions
from lightcrcf.evaluation.metrics import dice
from lightcrcf.files import write_json
from lightcrcf.geometry.kernels import resample
from lightcrcf.geometry.threads import use_threads
from lightcrcf.labels.atlases import TABLE, Atlas
from lightcrcf.labels.fusion import DEFAULT, FUSIONS, fuse
from lightcrcf.labels.labelling import PropagatedAtlas, propagate, scale_intensities
from lightcrcf.run_record.environment import usable_cores
from lightcrcf.volumes import Volume, read, write
from lightcrcf_bench.accuracy.oasis import DATA, TERMS, oasis_files
from lightcrcf_bench.accuracy.pseudo_contrasts import CONTRASTS, pseudo_contrast
from lightcrcf_bench.measure import Measured, plain_header, run
from lightcrcf_bench.publish.markdown import table
from lightcrcf_bench.records.schema import BUSY
from lightcrcf_bench.smoothness.simulate import seed_of
from lightcrcf_bench.speed.worker import limited

__all__ = ["FORMAT", "NAME", "PROTOCOL", "labelling_text", "main", "measure_case", "summarised"]

FORMAT, NAME = "lightcrcf-labelling", "labelling"

PROTOCOL = (
    "Dice: mean over the structures that the manual labels of the image have. single: one atlas alone, moved by "
    "nearest neighbour, the mean over atlases; most similar: that of the highest local correlation with the image; "
    "best: the highest Dice, which nobody can know beforehand. Times: of `lightcrcf label` with the default fusion in "
    "a process of its own, and of each fusion from the same moved atlases in one process, compilation apart."
)
_ACROSS = (
    " Images are shown in another contrast (`accuracy/pseudo_contrasts.py`), by labels that are resampled with them; "
    "atlases are T1. As they are: the default without the atlases' intensities made those of the image."
)
_AS_THEY_ARE = "joint_as_they_are"


def measure_case(image: Path, truth: Path, atlases: Sequence[Atlas], threads: int) -> dict[str, Any]:
    """Label one image in every way; what the record says of it.

    Args:
        image: to label.
        truth: its manual labels.
        atlases: of other persons.
        threads: of everything.

    Raises:
        CommandError: if `lightcrcf label` fails.
        InputError: if a file cannot be used.
    """
    found, taken = _command(image, atlases, threads)
    fixed, manual = read(image), read(truth).data
    with use_threads(threads):
        moved = [propagate(atlas, image, BatchOptions(threads=threads)) for atlas in atlases]
        moved = sorted(
            (m for m in moved if m.quality.verdict != "fail"), key=lambda m: (-m.correlation, str(m.atlas.image))
        )
        single = [_mean_dice(manual, m.labels) for m in moved]
        target, spacing = scale_intensities(fixed, moved[0].window), fixed.grid.spacing_mm
        shown = [m.in_target_contrast(target) for m in moved]
        fused = {method: _fused(target, shown, moved, spacing, method, manual) for method in FUSIONS}
        if any(m.cross_contrast for m in moved):
            fused[_AS_THEY_ARE] = _fused(target, [m.image for m in moved], moved, spacing, DEFAULT, manual)
    return {
        "image": _name(image),
        "atlases": [_name(m.atlas.image) for m in moved],
        "dice_single": [round(value, 6) for value in single],
        "dice": {
            "single": round(float(np.mean(single)), 6),
            "most_similar": round(single[0], 6),
            "best": round(max(single), 6),
            **{method: round(value, 6) for method, (value, _) in fused.items()},
        },
        "fusion_s": {method: round(seconds, 3) for method, (_, seconds) in fused.items()},
        "command": {
            "seconds": taken.seconds,
            "peak_mib": taken.peak_mib,
            "load_before": taken.load_before,
            "stages_s": found["timings_s"],
            "atlases_left_out": [_name(Path(a["image"])) for a in found["atlases"] if not a["used"]],
        },
    }


def summarised(cases: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return means over the cases, and the gain of the default over one atlas.

    Example:
        >>> case = {"dice": {"single": 0.6, "joint": 0.7}, "command": {"seconds": 50.0, "peak_mib": 900.0}}
        >>> summarised([case])["gain_over_single"]
        {'joint': 0.1}
    """
    mean = {name: round(float(np.mean([c["dice"][name] for c in cases])), 6) for name in cases[0]["dice"]}
    return {
        "dice": mean,
        "gain_over_single": {name: round(mean[name] - mean["single"], 6) for name in FUSIONS if name in mean},
        "command_seconds_max": max(case["command"]["seconds"] for case in cases),
        "command_peak_mib_max": max(case["command"]["peak_mib"] for case in cases),
    }


def labelling_text(record: Mapping[str, Any]) -> str:
    """Return a row for each method of labelling, and the costs of the command."""
    titles = {
        "single": "one atlas, the mean", "most_similar": "the most similar atlas",
        "best": "the best atlas, in hindsight", "vote": "majority", "weighted": "weighted by local similarity",
        "joint": "joint (default)", _AS_THEY_ARE: "joint, intensities as they are",
    }  # fmt: skip
    cases, mean = record["cases"], record["summary"]["dice"]
    rows = []
    for name, title in ((name, title) for name, title in titles.items() if name in mean):
        scores = [case["dice"][name] for case in cases]
        seconds = [case["fusion_s"][name] for case in cases if name in case["fusion_s"]]
        rows.append(
            (
                title,
                f"{mean[name]:.3f}",
                f"{min(scores):.3f}, {max(scores):.3f}",
                f"{mean[name] - mean['single']:+.3f}",
                f"{median(seconds):.1f}" if seconds else "",
            )
        )
    header = ("labels from", "Dice", "lowest, highest", "against one atlas", "fusion, s")
    took, load = (sorted(case["command"][key] for case in cases) for key in ("seconds", "load_before"))
    where = record["machine"]
    busy = BUSY if load[-1] > where["cores"] + 1 else ""
    peak = record["summary"]["command_peak_mib_max"]
    notes = [
        f"{record['data']['name']}; {record['data']['split']}, {len(cases)} images, "
        f"{len(cases[0]['atlases'])} atlases, {record['data']['structures']} structures. {record['protocol']}",
        f"`lightcrcf label` took {median(took):.0f} s an image ({took[0]:.0f} to {took[-1]:.0f}){busy}, "
        f"{peak:.0f} MiB; {where['cpu']}, {record['threads']} threads, {record['measured']}.",
    ]
    return "\n".join([*table(header, rows), "", *(f"- {note}" for note in notes)])


def _command(image: Path, atlases: Sequence[Atlas], threads: int) -> tuple[Any, Measured]:
    """Run `lightcrcf label`; return its result, time and memory."""
    with tempfile.TemporaryDirectory() as folder:
        table, out = Path(folder) / TABLE, Path(folder) / "out"
        rows = "".join(f'"{a.image.absolute()}","{a.labels.absolute()}"\n' for a in atlases)
        table.write_text(f"image,labels\n{rows}", encoding="utf-8")
        words = ("label", str(image), "--atlases", str(table), "--out", str(out), "--threads", str(threads))
        taken = run((sys.executable, "-m", "lightcrcf", *words), environment=limited(threads))
        return json.loads((out / "label.json").read_text(encoding="utf-8")), taken


def _fused(
    target: NDArray[np.float32],
    images: Sequence[NDArray[np.float32]],
    moved: Sequence[PropagatedAtlas],
    spacing: Any,
    method: str,
    manual: NDArray[Any],
) -> tuple[float, float]:
    """Return Dice and seconds of a fusion, in its second run."""
    for _ in range(2):
        start = time.perf_counter()
        fused = fuse(target, images, [m.labels for m in moved], spacing, method)
        seconds = time.perf_counter() - start
    return _mean_dice(manual, fused.labels), seconds


def _mean_dice(manual: NDArray[Any], labels: NDArray[Any]) -> float:
    return float(np.mean(list(dice(manual, labels).values())))


def _name(path: Path) -> str:
    return path.name.removesuffix("_T1w.nii.gz")


def _in_contrast(image: Path, truth: Path, contrast: str, folder: Path) -> tuple[Path, Path]:
    """Write an image in another contrast, and its labels on the same grid; return the files."""
    t1, labels = read(image), read(truth)
    shown = pseudo_contrast(t1, labels, contrast, seed_of(f"{contrast} {image.name}"))
    step: Any = (labels.grid.inverse @ shown.grid.affine)[:3]
    codes = resample(labels.data, shown.grid.shape, step, interpolation="nearest").astype(labels.data.dtype)
    write(folder / image.name, shown)
    write(folder / truth.name, Volume(codes, shown.grid, labels.source))
    return folder / image.name, folder / truth.name


def _asked(options: argparse.Namespace) -> str:
    across = f" --contrast {options.contrast}" if options.contrast else ""
    return (
        f"python -m lightcrcf_bench.cohort.labelling --data ../shared/data --atlases {options.atlases} "
        f"--images {options.images} --threads {options.threads}{across} --out benchmarks/history/DATE-labelling.json"
    )


def main(arguments: Sequence[str] | None = None, log: Callable[[str], None] = print) -> int:
    """Measure and write the record; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    for name in ("--data", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--atlases", type=int, default=10)
    parser.add_argument("--images", type=int, default=5, help="how many to label")
    parser.add_argument("--contrast", choices=tuple(CONTRASTS), help="in which images are shown, instead of T1")
    parser.add_argument("--threads", type=int, default=usable_cores())
    options = parser.parse_args(arguments)
    images = oasis_files(options.data, "val")[: options.images]
    atlases = [Atlas(*files) for files in oasis_files(options.data, "train", options.atlases)]
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        for image, truth in images:
            files = _in_contrast(image, truth, options.contrast, Path(folder)) if options.contrast else (image, truth)
            cases.append(measure_case(*files, atlases, options.threads))
            log(f"{cases[-1]['image']}: {cases[-1]['dice']}, {cases[-1]['command']['seconds']:.1f} s")
    record = {
        **plain_header(FORMAT),
        "data": {"name": DATA, "terms": TERMS, "split": "images of val, atlases of train", "structures": 138},
        "protocol": PROTOCOL + (_ACROSS if options.contrast else ""),
        "commands": [_asked(options)],
        "threads": options.threads,
        "summary": summarised(cases),
        "cases": cases,
    }
    write_json(options.out, record)
    log(json.dumps(record["summary"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
