"""Reader study: ten reports, five of failed registrations, to be distinguished by eye.

    python -m lightcrcf_bench.quality.reading make --data ../shared/data --seed 2 --out FOLDER
    python -m lightcrcf_bench.quality.reading score FOLDER --named 02 05 ... --reader WHO \
        --out benchmarks/history/DATE-reading.json

The reader gets the reports, or pictures of them, without `key.json`. Cases are drawn from those held-out persons of the
record of quality control: good ones by their Dice, and corrupted ones that failed, each in another way.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from lightcrcf.errors import InputError
from lightcrcf.files import write_json
from lightcrcf.run_record.replay import read_run
from lightcrcf.volumes import write
from lightcrcf_bench.measure import run
from lightcrcf_bench.publish.markdown import table
from lightcrcf_bench.quality.calibration import Plan, sample_of
from lightcrcf_bench.quality.limits import FORMAT as QUALITY_FORMAT
from lightcrcf_bench.quality.limits import NAME as QUALITY
from lightcrcf_bench.quality.limits import is_good, succeeded
from lightcrcf_bench.records.history import newest, plain

__all__ = ["FORMAT", "NAME", "draw", "main", "reading_text", "scored"]

FORMAT, NAME = "lightcrcf-reading", "reading"

_COMMAND = "python -m lightcrcf_bench.quality.reading make --data ../shared/data"
_EACH = 5
_KEY = "key.json"
_HISTORY = Path("benchmarks/history")

Case = Mapping[str, Any]


def draw(record: Mapping[str, Any], seed: int) -> list[Case]:
    """Draw five good and five corrupted cases in random order.

    A mirrored brain is not drawn: nothing in its images tells, as docs/quality.md says.

    Args:
        record: of quality control.
        seed: of the choice.
    """
    random, success = np.random.default_rng(seed), record["good_dice"]
    held_out = [case for case in record["cases"] if case["split"] == "val" and case["dice"] is not None]
    good = [case for case in held_out if is_good(case, success)]
    wrong = [case for case in held_out if case["kind"] != "good" and not succeeded(case, success)]
    wrong = [case for case in wrong if (case["kind"], case["anatomy"]) != ("mirrored", "oasis")]
    chosen = [good[int(n)] for n in random.choice(len(good), _EACH, replace=False)]
    kinds = sorted({case["kind"] for case in wrong})
    for kind in random.permutation(kinds)[:_EACH]:
        alike = [case for case in wrong if case["kind"] == kind]
        chosen.append(alike[int(random.integers(len(alike)))])
    return [chosen[int(n)] for n in random.permutation(len(chosen))]


def make(data: Path, seed: int, out: Path) -> None:
    """Register the cases from files whose names tell nothing, with reports, and write the key."""
    record, drawn = newest(_HISTORY, QUALITY), {}
    for place, case in enumerate(draw(plain(record, QUALITY_FORMAT), seed), start=1):
        name = f"{place:02d}"
        folder = out / name
        folder.mkdir(parents=True)
        sample = sample_of(Plan(**{field: case[field] for field in Plan.__dataclass_fields__}), data)
        files = {"fixed": sample.fixed, "moving": sample.moving}
        for role, volume in files.items():
            write(folder / f"{role}.nii.gz", volume)
        words = [f"--{role}={folder / role}.nii.gz" for role in files]
        words += [f"--{option}={value}" for option, value in sample.options.items()]
        words += [f"--preset={case['preset']}", f"--out={folder / 'result'}", "--report"]
        run((sys.executable, "-m", "lightcrcf", "register", *words))
        drawn[name] = {field: case[field] for field in ("number", "anatomy", "kind", "preset", "dice")}
        drawn[name]["verdict"] = read_run(folder / "result").qc.verdict
    key = {"seed": seed, "quality": record.name, "cases": drawn}
    (out / _KEY).write_text(json.dumps(key, indent=1) + "\n", encoding="utf-8")


def scored(key: Mapping[str, Any], named: Sequence[str], reader: str) -> dict[str, Any]:
    """Return the record of one reading.

    Args:
        key: of `make`.
        named: folders that the reader took for broken.
        reader: who that was.

    Raises:
        InputError: if a folder is named that is not there.
    """
    strange = sorted(set(named) - set(key["cases"]))
    if strange:
        raise InputError("--named", expected=", ".join(key["cases"]), got=strange[0], remedy="correct the name")
    cases = {name: {**case, "named": name in named} for name, case in key["cases"].items()}
    return {
        "format": FORMAT,
        "format_version": 1,
        "measured": str(date.today()),
        "command": f"{_COMMAND} --seed {key['seed']} --out FOLDER",
        "reader": reader,
        "quality": key["quality"],
        "cases": cases,
    }


def reading_text(record: Mapping[str, Any]) -> str:
    """Render the results of the reader study."""
    rows = [
        (name, case["anatomy"], case["kind"], f"{case['dice']:.2f}", case["verdict"], "broken" if case["named"] else "")
        for name, case in record["cases"].items()
    ]
    cases = record["cases"].values()
    broken, good = ([case["named"] for case in cases if (case["kind"] == "good") == well] for well in (False, True))
    note = (
        f"- {record['measured']}, {record['reader']}: {sum(broken)} of {len(broken)} broken ones named, and "
        f"{sum(good)} of {len(good)} good ones."
    )
    return "\n".join([*table(("report", "anatomy", "what it is", "Dice", "verdict", "named"), rows), "", note])


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the reports, or score an answer; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    acts = parser.add_subparsers(dest="act", required=True)
    making = acts.add_parser("make", help="register ten cases")
    making.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    making.add_argument("--seed", type=int, required=True, help="of the choice")
    making.add_argument("--out", type=Path, required=True, help="folder, new")
    scoring = acts.add_parser("score", help="compare an answer with the key")
    scoring.add_argument("folder", type=Path)
    scoring.add_argument("--named", nargs="*", required=True, help="folders that the reader took for broken")
    scoring.add_argument("--reader", required=True, help="who that was")
    scoring.add_argument("--out", type=Path, required=True, help="record to write")
    options = parser.parse_args(arguments)
    if options.act == "make":
        make(options.data, options.seed, options.out)
        return 0
    key = json.loads((options.folder / _KEY).read_text(encoding="utf-8"))
    record = scored(key, options.named, options.reader)
    write_json(options.out, record)
    print(reading_text(record))
    return 0


if __name__ == "__main__":
    sys.exit(main())
