"""How many bad registrations quality control catches, how many good ones it lets pass, and where its limits come from.

Real pairs are registered as they are and spoiled (`spoiled`), each with what was measured and the Dice of its labels.
Limits are fitted on persons that were used for training and judged on persons that were not. An interrupted run goes
on where it was.

    python -m lightcrcf_bench.quality.calibration --data ../shared/data --out benchmarks/history/DATE-quality.json

`--each 12 --presets default` measures every model with 240 cases instead of 560.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import count, islice
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from lightcrcf.errors import InputError
from lightcrcf.evaluation.metrics import dice
from lightcrcf.files import atomic_path
from lightcrcf.registration.register import register
from lightcrcf.volumes import read
from lightcrcf_bench.quality.corruptions import KINDS, Sample, spoil
from lightcrcf_bench.quality.limits import FORMAT, evaluate, fit

__all__ = ["ANATOMIES", "PRESETS", "Anatomy", "Plan", "main", "plans", "run_case", "sample_of"]

_SEED = 5
_SPLITS = ("train", "val")
PRESETS = ("default", "fast")


@dataclass(frozen=True)
class Anatomy:
    """A data set that cases are made from.

    Args:
        name: of its folder.
        image, labels: file names, with {subject}.
        good_dice: mean Dice from which a registration of it is a success.
        weight: how often it is drawn: small volumes often, since they are quick.
        one_person: whether pairs are two frames of one person, ED and ES.
    """

    name: str
    image: str
    labels: str
    good_dice: float
    weight: int
    one_person: bool = False


ANATOMIES = (
    Anatomy("hippocampus", "{subject}.nii.gz", "{subject}_gt.nii.gz", 0.65, 4),
    Anatomy("acdc", "{subject}.nii.gz", "{subject}_gt.nii.gz", 0.65, 3, one_person=True),
    Anatomy("chaos-t2", "sub-{subject}_T2w.nii.gz", "sub-{subject}_dseg.nii.gz", 0.4, 1),
    Anatomy("oasis", "sub-{subject}_T1w.nii.gz", "sub-{subject}_dseg.nii.gz", 0.5, 2),
    Anatomy("ixi-2mm", "sub-{subject}_T1w.nii.gz", "sub-{subject}_dseg.nii.gz", 0.45, 2),
)


@dataclass(frozen=True)
class Plan:
    """One case before it is run.

    Args:
        number: its place, which also seeds what is random in it.
        anatomy: of the fixed image.
        split: "train" or "val".
        kind: "good", "other anatomy" or one of `KINDS`.
        fixed, moving: subjects; of another anatomy, "ANATOMY/SUBJECT".
        preset: of the registration.
    """

    number: int
    anatomy: str
    split: str
    kind: str
    fixed: str
    moving: str
    preset: str


def plans(folder: Path, cases: int, *, each: int | None = None, presets: Sequence[str] = PRESETS) -> list[Plan]:
    """`cases` good and `cases` bad ones, half of each from training persons; the same every time.

    Args:
        folder: of the data sets.
        cases: how many of either.
        each: instead of `cases`, how many of either there are of each data set and each split: as many large volumes
            as small ones, so that fewer cases measure every model.
        presets: of which each has its turn.

    Raises:
        InputError: if the data are not there.
    """
    try:
        splits = json.loads((folder / "splits.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        expected = "the data sets and splits.json"
        raise InputError(str(folder), expected=expected, got=str(error), remedy="check --data") from error
    random = np.random.default_rng(_SEED)
    kinds = ("other anatomy", *KINDS)
    planned: list[Plan] = []
    turns = _weighted(cases, presets) if each is None else _even(each, presets)
    for turn, (anatomy, split, preset) in enumerate(turns):
        for kind in ("good", kinds[turn % len(kinds)]):
            fixed, moving = _pair(anatomy, splits[anatomy.name][split], random)
            if kind == "other anatomy":
                other = ANATOMIES[(ANATOMIES.index(anatomy) + 1 + turn % (len(ANATOMIES) - 1)) % len(ANATOMIES)]
                moving = f"{other.name}/{_pair(other, splits[other.name][split], random)[1]}"
            planned.append(Plan(len(planned), anatomy.name, split, kind, fixed, moving, preset))
    return planned


def _weighted(cases: int, presets: Sequence[str]) -> Iterator[tuple[Anatomy, str, str]]:
    drawn = [anatomy for anatomy in ANATOMIES for _ in range(anatomy.weight)]
    for turn in range(cases):
        split = _SPLITS[turn // len(drawn) % 2]
        yield drawn[turn % len(drawn)], split, presets[turn // (2 * len(drawn)) % len(presets)]


def _even(each: int, presets: Sequence[str]) -> Iterator[tuple[Anatomy, str, str]]:
    for turn in range(each):
        for anatomy in ANATOMIES:
            for split in _SPLITS:
                yield anatomy, split, presets[turn % len(presets)]


def _pair(anatomy: Anatomy, subjects: Sequence[str], random: np.random.Generator) -> tuple[str, str]:
    if anatomy.one_person:
        person = subjects[int(random.integers(len(subjects)))]
        frames = ("ED", "ES") if random.integers(2) else ("ES", "ED")
        return f"{person}_{frames[0]}", f"{person}_{frames[1]}"
    order = random.permutation(len(subjects))
    return subjects[int(order[0])], subjects[int(order[1])]


def run_case(plan: Plan, folder: Path) -> dict[str, Any]:
    """Register one case; a refusal counts as not passed, since nobody can take it for a result."""
    sample = sample_of(plan, folder)
    told: dict[str, Any] = {**vars(plan)}
    try:
        found = register(
            sample.fixed, sample.moving, moving_labels=[sample.moving_labels], preset=plan.preset, **sample.options
        )
    except InputError as error:
        return {
            **told,
            "model": None,
            "limits": None,
            "refused": str(error),
            "dice": None,
            "figures": {},
            "remarks": [],
        }
    moved = next(iter(found.moved_labels.values()))
    scores = dice(sample.fixed_labels.data, moved.data)
    return {
        **told,
        "model": found.provenance["model"]["name"],
        "limits": found.qc["limits"],
        "refused": None,
        "dice": round(float(np.mean(list(scores.values()))), 4),
        "figures": {name: _rounded(value) for name, value in found.metrics.items()},
        "remarks": found.qc["remarks"],
    }


def _rounded(value: Any) -> Any:
    return [round(v, 4) for v in value] if isinstance(value, list | tuple) else round(value, 4)


def _anatomy(name: str) -> Anatomy:
    return next(anatomy for anatomy in ANATOMIES if anatomy.name == name)


def sample_of(plan: Plan, folder: Path) -> Sample:
    """The images of a case, spoiled if it is to be; `folder` holds the data sets."""
    anatomy = _anatomy(plan.anatomy)
    other, _, subject = plan.moving.rpartition("/")
    moving = _anatomy(other) if other else anatomy

    def load(of: Anatomy, name: str, who: str) -> Any:
        return read(folder / of.name / name.format(subject=who))

    sample = Sample(
        load(anatomy, anatomy.image, plan.fixed),
        load(moving, moving.image, subject),
        load(anatomy, anatomy.labels, plan.fixed),
        load(moving, moving.labels, subject),
        {},
    )
    return spoil(plan.kind, sample, np.random.default_rng((_SEED, plan.number))) if plan.kind in KINDS else sample


def _todo(planned: list[Plan], done: list[dict[str, Any]]) -> Iterator[Plan]:
    known = {case["number"] for case in done if vars(planned[case["number"]]).items() <= case.items()}
    done[:] = [case for case in done if case["number"] in known]
    return (plan for plan in planned if plan.number not in known)


def _write(out: Path, done: list[dict[str, Any]], limits: dict[str, Any]) -> dict[str, Any]:
    """The record: every case, the limits of this fit, and what they catch on persons they were not fitted on."""
    cases = sorted(done, key=lambda case: int(case["number"]))
    success = {anatomy.name: anatomy.good_dice for anatomy in ANATOMIES}
    record = {
        "format": FORMAT,
        "format_version": 1,
        "measured": str(date.today()),
        "command": "python -m lightcrcf_bench.quality.calibration",
        "good_dice": success,
        "limits": limits,
        "summary": {split: evaluate(cases, limits, split, success) for split in ("train", "val")},
    }
    lines = ",\n".join(f"  {json.dumps(case, ensure_ascii=False)}" for case in cases)
    head = json.dumps(record, indent=1, ensure_ascii=False).removesuffix("\n}")
    with atomic_path(out) as temporary:
        temporary.write_text(f'{head},\n "cases": [\n{lines}\n ]\n}}\n', encoding="utf-8")
    return record


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing, fit, judge, write; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--out", type=Path, required=True, help="record to write, or to go on with")
    parser.add_argument("--cases", type=int, default=280, help="good cases, and as many bad ones")
    parser.add_argument("--each", type=int, default=None, help="instead: of each data set and split")
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=PRESETS, help="each has its turn")
    parser.add_argument("--most", type=int, default=None, help="run at most so many now")
    parser.add_argument("--limits", type=Path, default=None, help="also write the limits to this file")
    options = parser.parse_args(arguments)
    planned = plans(options.data, options.cases, each=options.each, presets=options.presets)
    kept = json.loads(options.out.read_text(encoding="utf-8"))["cases"] if options.out.exists() else []
    done = [case for case in kept if case["number"] < len(planned)]
    for plan, _ in zip(_todo(planned, done), islice(count(), options.most), strict=False):
        begun = perf_counter()
        done.append(run_case(plan, options.data))
        took = f"{perf_counter() - begun:.1f} s, {plan.number + 1} of {len(planned)}"
        print(f"{plan.anatomy} {plan.split} {plan.kind}: Dice {done[-1]['dice']}; {took}", file=sys.stderr)
        _write(options.out, done, {})
    limits = fit(done, {anatomy.name: anatomy.good_dice for anatomy in ANATOMIES})
    record = _write(options.out, done, limits)
    print(json.dumps(record["summary"], indent=1))
    if options.limits is not None:
        text = json.dumps({"record": options.out.name, "limits": limits}, indent=1)
        options.limits.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
