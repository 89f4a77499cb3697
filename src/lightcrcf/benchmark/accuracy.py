"""The accuracy benchmark: `python -m lightcrcf.benchmark.accuracy --data ../shared/data/oasis --out RECORD`.

Five persons that no model was trained on are registered in a cycle, by every method, and scored by 138 manual labels.
A record that is already there keeps the methods that this run does not measure.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lightcrcf.benchmark import records
from lightcrcf.benchmark.methods import METHODS, Bench, Outcome, Pair
from lightcrcf.benchmark.records import Case, Data, Method, Record
from lightcrcf.errors import InputError
from lightcrcf.evaluation.protocols import evaluate
from lightcrcf.volumes import read

__all__ = ["DATA", "NAME", "main", "measure", "score"]

NAME = "brain-accuracy"
DATA = Data(
    name="OASIS-1 scans of the MICCAI 2012 multi-atlas challenge, skull-stripped T1, 1 mm",
    split="five persons that were not used in training, in a cycle",
    labels="138 structures, manual, Neuromorphometrics",
    terms="CC BY-NC 3.0; OASIS; labels provided by Neuromorphometrics, Inc. under academic subscription",
    pairs=(("1101", "1104"), ("1104", "1107"), ("1107", "1110"), ("1110", "1113"), ("1113", "1101")),
)
PROTOCOL = (
    "Labels of the moving person are moved by nearest neighbour onto the fixed grid. Dice: mean over the structures "
    "that both persons have. HD95: area-weighted, mm, mean over structures that were not lost. Folding: share of "
    "voxels with a Jacobian determinant <= 0 by central differences, over the fixed grid and among labelled voxels; "
    "SDlogJ over the fixed grid; non-diffeomorphic volume among labelled voxels."
)
_COMMANDS = (
    f"python -m lightcrcf.benchmark.accuracy --data ../shared/data/oasis --out benchmarks/history/DATE-{NAME}.json",
    "python -m lightcrcf.benchmark.render",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write or renew the record."""
    parser = argparse.ArgumentParser(prog="python -m lightcrcf.benchmark.accuracy", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of sub-ID_T1w.nii.gz and sub-ID_dseg.nii.gz")
    parser.add_argument("--out", type=Path, required=True, help="record to write or renew")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--work", type=Path, help="keep what the methods leave in this folder")
    parser.add_argument("--reuse", action="store_true", help="take other tools' results that WORK already holds")
    parser.add_argument("--model", default="auto", help="of our network: a name, or a .safetensors file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--note", default="", help="what else the machine did, for the record")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(options.work or Path(temporary), options.threads, options.reuse, options.model)
        record = measure(options.data, options.methods, bench, options.note)
    if options.out.exists():
        record = records.merge(records.read(options.out), record)
    records.write(options.out, record)


def measure(folder: Path, names: Sequence[str], bench: Bench, note: str = "") -> Record:
    """Run and score methods on the five pairs.

    Args:
        folder: of sub-ID_T1w.nii.gz and sub-ID_dseg.nii.gz.
        names: methods, keys of `METHODS`.
        bench: where and how to run.
        note: added to what the record says of the timing.

    Raises:
        InputError: if the data are not there.
    """
    pairs = [_pair(folder, fixed, moving) for fixed, moving in DATA.pairs]
    methods, cases = [], []
    for name in names:
        if METHODS[name].warm_up:
            METHODS[name].run(pairs[0], bench)
        outcomes = []
        for pair in pairs:
            outcomes.append(METHODS[name].run(pair, bench))
            cases.append(score(name, pair, outcomes[-1]))
            print(f"{name} {pair.fixed} <- {pair.moving}: Dice {cases[-1].dice:.4f}", file=sys.stderr)
        methods.append(_method(name, outcomes, bench, note))
    return Record(
        name=NAME,
        title="Accuracy on brain scans of people never seen",
        data=DATA,
        protocol=PROTOCOL,
        methods=tuple(methods),
        cases=tuple(cases),
        commands=_COMMANDS,
    )


def score(method: str, pair: Pair, outcome: Outcome) -> Case:
    """One row of the record."""
    scores = evaluate(
        read(pair.fixed_labels),
        moved_labels=None if outcome.moved_labels is None else read(outcome.moved_labels),
        moving_labels=read(pair.moving_labels),
        transform=outcome.chain,
    )
    deforms = outcome.chain is not None and outcome.chain.field is not None
    names = ("folding_percent", "folding_percent_labelled", "ndv_percent", "sdlogj")
    return Case(
        method=method,
        fixed=pair.fixed,
        moving=pair.moving,
        dice=round(scores.mean_dice, 6),
        hd95_mm=round(scores.mean_hd95, 4),
        seconds=outcome.stamp.seconds,
        peak_mib=outcome.stamp.peak_mib,
        load_before=outcome.stamp.load_before,
        labels_lost=tuple(label for label, distance in scores.hd95.items() if math.isinf(distance)),
        dice_by_label={label: round(value, 4) for label, value in scores.dice.items()},
        **{name: round(getattr(scores, name), 6) for name in names if deforms},
    )


def _pair(folder: Path, fixed: str, moving: str) -> Pair:
    files = [folder / f"sub-{subject}_{kind}.nii.gz" for kind in ("T1w", "dseg") for subject in (fixed, moving)]
    for file in files:
        if not file.is_file():
            raise InputError(str(file), expected="a volume", got="no such file", remedy="check --data")
    return Pair(fixed, moving, *files)


def _method(name: str, outcomes: Sequence[Outcome], bench: Bench, note: str) -> Method:
    contender, stamp = METHODS[name], outcomes[0].stamp
    timing = contender.timing.format(threads=bench.threads)
    return Method(
        name=name,
        title=contender.title,
        versions=stamp.versions,
        settings=contender.settings,
        command=contender.command.format(threads=bench.threads, model=Path(bench.model).name),
        timing=f"{timing}; {note}" if note and stamp.seconds is not None else timing,
        measured=stamp.measured,
        machine=stamp.machine,
    )


if __name__ == "__main__":
    main()
