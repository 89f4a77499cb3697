"""Limits of quality control from measured cases, and what they catch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lightcrcf.quality.metrics import QualityMetrics
from lightcrcf.quality.thresholds import THRESHOLDS, calibrated
from lightcrcf.quality.verdict import compared, judge
from lightcrcf_bench.publish.markdown import table
from lightcrcf_bench.quality.anatomies import MIXTURES

__all__ = ["FORMAT", "NAME", "evaluate", "fit", "group", "is_good", "mixtures_text", "succeeded", "verdicts_text"]

FORMAT, NAME = "lightcrcf-quality", "quality"

Case = Mapping[str, Any]

_FEWEST = 8  # good cases of a model from which limits are measured
# Of the way from the median to the extreme good case, beyond it. Leaving each training pair's persons out in turn, with
# a dozen cases of each group, 1.5 lets 42 of 56 good pairs pass, 4 lets 48 and 6 lets 52; of 42 bad ones 40, 39 and
# 38 do not pass, the others being mirrored.
_SLACK = 6.0
_GROUPS = {mixture.name: mixture.group for mixture in MIXTURES}
# Folding, turns and bias fields are wrong or right whatever others have; their limits are not measured.
_FIXED = ("folding_percent", "affine_rotation_deg")
# Of two contrasts a smooth factor is also what recolouring leaves, and coils differ: there it is measured.
_FIXED_OF_ONE = (*_FIXED, "gain_range")


def fit(cases: Sequence[Case], good_dice: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Fit limits for each model and image type without one: all good training cases keep them, with a margin.

    Pairs of a mixture count for its own group only: heads of two contrasts that seem to be of one are judged by the
    limits of one, and do not make them.

    Args:
        cases: as `quality_calibration.run_case` gives them; only training persons count.
        good_dice: by anatomy, from which Dice on a registration is a success.

    Returns:
        group to figure to limit.
    """
    good = [case for case in cases if case["split"] == "train" and is_good(case, good_dice) and not case["remarks"]]
    groups: dict[str, list[Case]] = {}
    for case in good:
        found = group(case) or "none"
        if _GROUPS.get(case["anatomy"], found) == found:
            groups.setdefault(found, []).append(case)
    groups.pop("none", None)  # whatever no model fits may be anything
    return {
        name: _limits(members, _FIXED if "two contrasts" in name else _FIXED_OF_ONE)
        for name, members in sorted(groups.items())
        if len(members) >= _FEWEST
    }


def group(case: Case) -> str | None:
    """Return by whose limits a case is judged; see `limits.group_of`. Older records name the model alone."""
    found: str | None = case.get("limits", case["model"])
    return found


def is_good(case: Case, good_dice: Mapping[str, float]) -> bool:
    """Return whether a case is not corrupted and succeeded by its labels."""
    return case["kind"] == "good" and succeeded(case, good_dice)


def succeeded(case: Case, good_dice: Mapping[str, float]) -> bool:
    """Return whether a case, corrupted or not, succeeded by its labels; a refused one did not."""
    return case["dice"] is not None and bool(case["dice"] >= good_dice[case["anatomy"]])


def _limits(cases: Sequence[Case], fixed: Sequence[str]) -> dict[str, float]:
    columns: dict[str, list[float]] = {}
    for case in cases:
        for name, _, value in compared(QualityMetrics.from_json(case["figures"]), THRESHOLDS):
            columns.setdefault(name, []).append(value)
    return {name: _limit(name, values) for name, values in columns.items() if name not in fixed}


def _limit(name: str, values: list[float]) -> float:
    """Return the limit: the worst good case plus a margin, within the range of the metric."""
    threshold, low = THRESHOLDS[name], THRESHOLDS[name].side == "low"
    extreme = min(values) if low else max(values)
    found = extreme + _SLACK * (extreme - float(np.median(values)))
    if threshold.check is not None and not threshold.violates(extreme, threshold.check):
        found = max(found, threshold.check) if low else min(found, threshold.check)
    return round(found, 4)


def evaluate(
    cases: Sequence[Case], limits: Mapping[str, Mapping[str, float]], split: str, good_dice: Mapping[str, float]
) -> dict[str, Any]:
    """Return the counts of verdicts in one split.

    Returns:
        "good": how many were meant and went well, and how many of them pass; "bad": how many were corrupted and went
        wrong, by their labels or by being refused, and how many are not passed, in all and by kind; "corrupted but
        right": corrupted ones that reached the Dice of a success all the same; "failed by themselves": good pairs whose
        Dice says that they went wrong.
    """
    chosen = [case for case in cases if case["split"] == split]
    passed = {id(case): _passes(case, limits) for case in chosen}
    good = [case for case in chosen if is_good(case, good_dice)]
    corrupted = [case for case in chosen if case["kind"] != "good"]
    right = [case for case in corrupted if succeeded(case, good_dice)]
    bad = [case for case in corrupted if not succeeded(case, good_dice)]
    poor = [case for case in chosen if case["kind"] == "good" and not is_good(case, good_dice)]
    by_kind = Counter(case["kind"] for case in bad)
    caught = Counter(case["kind"] for case in bad if not passed[id(case)])
    return {
        "good": {"cases": len(good), "passed": sum(passed[id(c)] for c in good)},
        "bad": {"cases": len(bad), "not_passed": sum(not passed[id(c)] for c in bad)},
        "spoiled but right": {"cases": len(right), "not_passed": sum(not passed[id(c)] for c in right)},
        "failed by themselves": {"cases": len(poor), "not_passed": sum(not passed[id(c)] for c in poor)},
        "by kind": {kind: {"cases": n, "not_passed": caught[kind]} for kind, n in sorted(by_kind.items())},
    }


def verdicts_text(record: Mapping[str, Any]) -> str:
    """Render the rates of accepted good and detected bad registrations of both splits."""
    rows = []
    for split, title in (("train", "persons that limits come from"), ("val", "other persons")):
        found = record["summary"][split]
        good, bad, right = found["good"], found["bad"], found["spoiled but right"]
        shares = [_share(n["not_passed"], n["cases"]) for n in (bad, right)]
        rows.append((title, _share(good["passed"], good["cases"]), *shares))
        kinds = found["by kind"].items()
        rows += [(f"- {kind}", "", _share(n["not_passed"], n["cases"]), "") for kind, n in kinds if split == "val"]
    pairs = {
        (c["fixed"], c["moving"])
        for c in record["cases"]
        if c["split"] == "val" and c["kind"] == "good" and c["anatomy"] not in _GROUPS
    }
    note = (
        f"- {record['measured']}. The {record['summary']['val']['good']['cases']} good cases of other persons are "
        f"{len(pairs)} different pairs, some with two presets or again."
    )
    return "\n".join(
        [*table(("", "good, passed", "bad, not passed", "corrupted but right, not passed"), rows), "", note]
    )


def mixtures_text(record: Mapping[str, Any]) -> str:
    """Return the same of pairs of two contrasts, of brains cut out of heads, and of CT."""
    head = (
        "pairs", "persons", "good, passed", "bad, not passed", "but for mirrored ones",
        "corrupted but right, not passed", "failed by themselves, not passed",
    )  # fmt: skip
    rows = []
    for name, by_split in record["mixtures"].items():
        for split, title in (("train", "that limits come from"), ("val", "other")):
            found = by_split[split]
            bad, mirrored = found["bad"], found["by kind"].get("mirrored", {"cases": 0, "not_passed": 0})
            rest = {key: bad[key] - mirrored[key] for key in bad}
            counted = (bad, rest, found["spoiled but right"], found["failed by themselves"])
            good = _share(found["good"]["passed"], found["good"]["cases"])
            rows.append((name, title, good, *(_share(n["not_passed"], n["cases"]) for n in counted)))
    return "\n".join([*table(head, rows), "", f"- {record['measured']}."])


def _share(part: int, of: int) -> str:
    return f"{part} of {of} ({100 * part / of:.1f} %)" if of else ""


def _passes(case: Case, limits: Mapping[str, Mapping[str, float]]) -> bool:
    if case["refused"] is not None:
        return False
    thresholds = calibrated(limits.get(group(case) or "none", {}))
    metrics = QualityMetrics.from_json(case["figures"])
    return judge(metrics, thresholds, remarks=case["remarks"]).verdict == "pass"
