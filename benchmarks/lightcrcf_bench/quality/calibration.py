"""Calibration of quality control: its limits, and rates of detected bad and accepted good registrations.

Real pairs are registered as they are and corrupted (`corruptions`); a case has its metrics and the Dice of its labels.
Limits are fitted on training subjects and judged on others. An interrupted run is resumed.

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
from itertools import count, islice, product
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from lightcrcf.errors import InputError
from lightcrcf.evaluation.metrics import dice
from lightcrcf.files import atomic_path
from lightcrcf.registration.register import register
from lightcrcf.volumes import Volume
from lightcrcf_bench.quality.anatomies import (
    ANATOMIES,
    MIXTURES,
    SUCCESS,
    Anatomy,
    Mixture,
    anatomy_of,
    loaded,
    shared,
)
from lightcrcf_bench.quality.corruptions import KINDS, Sample, corrupt
from lightcrcf_bench.quality.limits import FORMAT, evaluate, fit

__all__ = ["PRESETS", "Plan", "main", "mixed", "plans", "run_case", "sample_of"]

_SEED = 5
_SPLITS = ("train", "val")
_BLOCK = 10_000  # numbers that a mixture has for its cases
_A_MIXTURE = 20  # of so many cases one is of each mixture and split
_ELSEWHERE = 3  # anatomies that are in no mixture, the first ones
PRESETS = ("default", "fast")


@dataclass(frozen=True)
class Plan:
    """One case before it is run.

    Args:
        number: its place, which also seeds what is random in it.
        anatomy: of the fixed image, or the mixture.
        split: "train" or "val".
        kind: "good", "other anatomy" or one of `KINDS`.
        fixed, moving: subjects; in a mixture, or of another anatomy, "ANATOMY/SUBJECT".
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
    """Return `cases` good and `cases` bad cases of one contrast, half of each from training subjects; reproducible.

    Args:
        folder: of the data sets.
        cases: how many of either.
        each: instead of `cases`, how many of either there are of each data set and each split: as many large volumes
            as small ones, so that fewer cases measure every model.
        presets: of which each has its turn.

    Raises:
        InputError: if the data are not there.
    """
    splits, random = _splits(folder), np.random.default_rng(_SEED)
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


def mixed(folder: Path, each: int) -> list[Plan]:
    """Return equal numbers of good and bad pairs for each mixture and split; reproducible.

    A good pair that would come again with the same images is left out.

    Args:
        folder: of the data sets.
        each: how many of either.
    """
    splits = _splits(folder)
    kinds = ("other anatomy", *(kind for kind in KINDS if kind != "other contrast"))
    planned: dict[tuple[object, ...], Plan] = {}
    for (place, mixture), split, turn in product(enumerate(MIXTURES, 1), _SPLITS, range(each)):
        for bad, kind in enumerate(("good", kinds[turn % len(kinds)]) if turn < mixture.most else ()):
            number = place * _BLOCK + 4 * turn + 2 * _SPLITS.index(split) + bad
            random = np.random.default_rng((_SEED, number))
            fixed, moving = _mixed_pair(mixture, split, turn, splits, random)
            if kind == "other anatomy":
                other = ANATOMIES[turn % _ELSEWHERE]
                moving = f"{other.name}/{_pair(other, splits[other.name][split], random)[1]}"
            varies = bad or any(anatomy_of(name).varies for name in mixture.sources[turn % len(mixture.sources)])
            plan = Plan(number, mixture.name, split, kind, fixed, moving, "default")
            planned.setdefault((number if varies else 0, fixed, moving), plan)
    return list(planned.values())


def _mixed_pair(
    mixture: Mixture, split: str, turn: int, splits: dict[str, dict[str, list[str]]], random: np.random.Generator
) -> tuple[str, str]:
    """Return a pair of subjects; the only subject of a split is paired with those of the other split."""
    one, two = mixture.sources[turn % len(mixture.sources)]
    fixed, moving = ([str(who) for who in random.permutation(splits[anatomy_of(n).place][split])] for n in (one, two))
    alone = len(moving) == 1
    if alone:
        moving = [str(who) for by in splits[anatomy_of(two).place].values() for who in random.permutation(by)]
    first, second = fixed[0], fixed[0] if mixture.one_person else next(who for who in moving if who != fixed[0])
    if alone and turn % 2:
        first, second = second, first
    return f"{one}/{first}", f"{two}/{second}"


def _splits(folder: Path) -> dict[str, dict[str, list[str]]]:
    try:
        found: dict[str, dict[str, list[str]]] = json.loads((folder / "splits.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        expected = "the data sets and splits.json"
        raise InputError(str(folder), expected=expected, got=str(error), remedy="check --data") from error
    return found


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
    fields: dict[str, Any] = {**vars(plan)}
    try:
        found = register(
            sample.fixed, sample.moving, moving_labels=[sample.moving_labels], preset=plan.preset, **sample.options
        )
    except InputError as error:
        return {
            **fields,
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
        **fields,
        "model": found.record.model.name,
        "limits": found.quality.limits,
        "refused": None,
        "dice": round(float(np.mean(list(scores.values()))), 4),
        "figures": {name: _rounded(value) for name, value in found.metrics.measured().items()},
        "remarks": [remark for remark in found.quality.remarks if fields["number"] < _BLOCK or not _on_labels(remark)],
    }


def _on_labels(remark: str) -> bool:
    """Return whether a remark concerns labels, which for mixtures were resampled or generated here."""
    return remark.startswith(("the labels ", "of the labels "))


def _rounded(value: Any) -> Any:
    return [round(v, 4) for v in value] if isinstance(value, list | tuple) else round(value, 4)


def sample_of(plan: Plan, folder: Path) -> Sample:
    """Return the images of a case, corrupted if it is to be; `folder` holds the data sets."""
    both: list[tuple[Volume, Volume]] = []
    for role, name in enumerate((plan.fixed, plan.moving)):
        source, _, subject = name.rpartition("/")
        both.append(loaded(anatomy_of(source or plan.anatomy), subject, folder, 2 * plan.number + role))
    (fixed, fixed_labels), (moving, moving_labels) = both
    if any(mixture.name == plan.anatomy and not mixture.alike for mixture in MIXTURES):
        fixed_labels, moving_labels = shared(fixed_labels), shared(moving_labels)
    sample = Sample(fixed, moving, fixed_labels, moving_labels, {})
    return corrupt(plan.kind, sample, np.random.default_rng((_SEED, plan.number))) if plan.kind in KINDS else sample


def _todo(planned: list[Plan], done: list[dict[str, Any]]) -> Iterator[Plan]:
    """Return the plans that were not run; those that were, and are planned no more, are dropped."""
    by_number = {plan.number: vars(plan).items() for plan in planned}
    done[:] = [case for case in done if case["number"] in by_number and by_number[case["number"]] <= case.items()]
    known = {case["number"] for case in done}
    return (plan for plan in planned if plan.number not in known)


def _write(out: Path, done: list[dict[str, Any]], limits: dict[str, Any]) -> dict[str, Any]:
    """Write the record: all cases, the fitted limits, and their rates on subjects not used for the fit."""
    cases = sorted(done, key=lambda case: int(case["number"]))
    names = [mixture.name for mixture in MIXTURES]

    def summary(chosen: list[dict[str, Any]]) -> dict[str, Any]:
        return {split: evaluate(chosen, limits, split, SUCCESS) for split in _SPLITS}

    record = {
        "format": FORMAT,
        "format_version": 1,
        "measured": str(date.today()),
        "command": "python -m lightcrcf_bench.quality.calibration",
        "good_dice": SUCCESS,
        "limits": limits,
        "summary": summary([case for case in cases if case["anatomy"] not in names]),
        "mixtures": {name: summary([case for case in cases if case["anatomy"] == name]) for name in names},
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
    planned += mixed(options.data, options.each or -(-options.cases // _A_MIXTURE))
    done = json.loads(options.out.read_text(encoding="utf-8"))["cases"] if options.out.exists() else []
    for plan, _ in zip(_todo(planned, done), islice(count(), options.most), strict=False):
        begun = perf_counter()
        done.append(run_case(plan, options.data))
        took = f"{perf_counter() - begun:.1f} s, {len(done)} of {len(planned)}"
        print(f"{plan.anatomy} {plan.split} {plan.kind}: Dice {done[-1]['dice']}; {took}", file=sys.stderr)
        _write(options.out, done, {})
    limits = fit(done, SUCCESS)
    record = _write(options.out, done, limits)
    print(json.dumps({"one contrast": record["summary"], **record["mixtures"]}, indent=1))
    if options.limits is not None:
        text = json.dumps({"record": options.out.name, "limits": limits}, indent=1)
        options.limits.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
