"""Measure smoothness; each command's record grows, run by run, and goes on where it was.

    python -m lightcrcf_bench.smoothness frontier --data-set brain --data ../shared/data --out RECORD
    python -m lightcrcf_bench.smoothness same-person --data ../shared/data --out RECORD
    python -m lightcrcf_bench.smoothness rescans --anatomy brain --data ../shared/data --out RECORD
    python -m lightcrcf_bench.smoothness known-deformation --data ../shared/data --out RECORD
    python -m lightcrcf_bench.smoothness known-contrasts --data ../shared/data --out RECORD
    python -m lightcrcf_bench.smoothness known-rigid --data ../shared/data --out RECORD
    python -m lightcrcf_bench.smoothness merge RECORD ANOTHER --out RECORD

`--methods greedy,syn` runs these tools alone, `--methods lightcrcf-default-1` one setting; what the record holds of
others stays. `--split train` takes training persons, by whom settings may be chosen.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from functools import reduce
from pathlib import Path

from lightcrcf.errors import LightCRCFError
from lightcrcf_bench.accuracy.environments import Environments
from lightcrcf_bench.accuracy.methods import BenchSettings
from lightcrcf_bench.smoothness.contrasts import CONTRAST_SETS, contrast_frontier
from lightcrcf_bench.smoothness.frontier import DATA_SETS, LUNG, frontier
from lightcrcf_bench.smoothness.known import known_deformation
from lightcrcf_bench.smoothness.known_contrasts import (
    KNOWN_CONTRASTS,
    KNOWN_RIGID,
    known_contrasts,
    known_rigid,
)
from lightcrcf_bench.smoothness.record import merged, read_smoothness, write_smoothness
from lightcrcf_bench.smoothness.rescans import rescans, same_person
from lightcrcf_bench.smoothness.study import Study, grow

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the record; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        if options.act == "merge":
            write_smoothness(options.out, reduce(merged, map(read_smoothness, options.records)))
        else:
            _measure(options)
    except LightCRCFError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    shared.add_argument("--out", type=Path, required=True, help="record to begin or to grow, DATE-NAME.json")
    shared.add_argument("--methods", default="", help="methods or tools, with commas between [default: all]")
    shared.add_argument("--cases", type=int, help="the first so many [default: all]")
    shared.add_argument("--again", action="store_true", help="run also what the record holds")
    shared.add_argument("--work", type=Path, help="keep what tools leave, and take what others left there")
    shared.add_argument("--model", help="of our network, instead of the data set's")
    shared.add_argument("--threads", type=int, default=2, help="of each method")
    shared.add_argument("--limit", type=float, help="seconds after which a command is stopped and counts as failed")
    shared.add_argument("--environments", type=Path, help="folder of the other tools' environments [default: this one]")
    shared.add_argument("--note", default="", help="what else the machine did")
    split = argparse.ArgumentParser(add_help=False)
    split.add_argument("--split", choices=("train", "val"), default="val", help="of the persons")
    parser = argparse.ArgumentParser(
        prog="python -m lightcrcf_bench.smoothness",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    acts = parser.add_subparsers(dest="act", required=True)
    found = acts.add_parser("frontier", parents=[shared, split], help="overlap against smoothness")
    found.add_argument("--data-set", choices=(*DATA_SETS, LUNG, *CONTRAST_SETS), required=True)
    acts.add_parser("same-person", parents=[shared], help="two scans of one person")
    made = acts.add_parser("rescans", parents=[shared, split], help="scans made of scans")
    made.add_argument("--anatomy", choices=("brain", "cardiac", "abdomen"), required=True)
    acts.add_parser("known-deformation", parents=[shared, split], help="a field that is known")
    acts.add_parser(KNOWN_CONTRASTS, parents=[shared], help="a field that is known, between contrasts")
    acts.add_parser(KNOWN_RIGID, parents=[shared], help="a rigid move that is known, between contrasts")
    merging = acts.add_parser("merge", help="records of one name into one; the last counts")
    merging.add_argument("records", type=Path, nargs="+")
    merging.add_argument("--out", type=Path, required=True)
    return parser


def _measure(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        bench = BenchSettings(
            options.work or Path(temporary),
            options.threads,
            reuse=options.work is not None,
            model=options.model,
            limit_seconds=options.limit,
            environments=Environments(options.environments),
        )
        grow(
            _study(options, bench),
            options.out,
            options.methods.replace(",", " ").split(),
            bench,
            count=options.cases,
            again=options.again,
            note=options.note,
        )


def _study(options: argparse.Namespace, bench: BenchSettings) -> Study:
    if options.act == "frontier" and options.data_set in CONTRAST_SETS:
        return contrast_frontier(options.data_set, options.data, options.split, bench)
    if options.act == "frontier":
        return frontier(options.data_set, options.data, options.split, bench)
    if options.act == "same-person":
        return same_person(options.data, bench)
    if options.act in (KNOWN_CONTRASTS, KNOWN_RIGID):
        return {KNOWN_CONTRASTS: known_contrasts, KNOWN_RIGID: known_rigid}[options.act](options.data, bench)
    if options.act == "rescans":
        return rescans(options.anatomy, options.data, options.split, bench)
    return known_deformation(options.data, options.split, bench)


if __name__ == "__main__":
    sys.exit(main())
