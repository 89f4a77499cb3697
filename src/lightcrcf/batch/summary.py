"""Summary of a cohort: a CSV table and a contact sheet."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lightcrcf.batch.carried import CARRIED_PICTURE
from lightcrcf.batch.work import PICTURE, folder_of, mean_dice, state_of
from lightcrcf.files import atomic_path
from lightcrcf.quality.metrics import QualityMetrics
from lightcrcf.report.sheet import Card, write_sheet

__all__ = ["Summary", "write_summary"]

_METRICS = (
    "correlation_header", "correlation_affine", "correlation_after", "overlap_before", "overlap_after",
    "folding_percent", "jacobian_p01", "jacobian_p99", "displacement_p99_mm", "inverse_consistency_mean_mm",
)  # fmt: skip
_COLUMNS = ("id", "status", "verdict", "reasons", "model", "mean_dice", *_METRICS, "fixed", "moving", "folder")
_STATES = ("pass", "check", "fail", "failed")


@dataclass(frozen=True)
class Summary:
    """State of a cohort.

    Args:
        pairs: number of pairs.
        counts: number of pairs by verdict ("pass", "check", "fail"), or "failed" without a result.
        failures: id and error of those without a result; see `work.failure`.
    """

    pairs: int
    counts: dict[str, int]
    failures: dict[str, dict[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable dictionary."""
        return {"pairs": self.pairs, **self.counts, "failures": self.failures}

    def __str__(self) -> str:
        return f"{self.pairs} pairs: " + ", ".join(f"{count} {state}" for state, count in self.counts.items() if count)


def write_summary(folder: Path, records: Sequence[Mapping[str, Any]]) -> Summary:
    """Write `summary.csv` and `index.html`, in the order of `records`; the same records give the same bytes."""
    with atomic_path(folder / "summary.csv") as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        table = csv.DictWriter(stream, _COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(map(_row, records))
    title, note = f"{folder.name}: {len(records)} pairs", "All numbers are in summary.csv."
    write_sheet(folder / "index.html", title, [_card(record) for record in records], note)
    counted = Counter(map(state_of, records))
    failures = {record["id"]: record["error"] for record in records if record["status"] == "failed"}
    return Summary(len(records), {state: counted[state] for state in _STATES}, failures)


def _row(record: Mapping[str, Any]) -> dict[str, Any]:
    files = {role: record["inputs"][role]["path"] for role in ("fixed", "moving")}
    row = {"id": record["id"], "status": record["status"], **files}
    if record["status"] == "failed":
        return {**row, "reasons": record["error"]["message"]}
    metrics = {name: _number(record["metrics"].get(name)) for name in _METRICS}
    judged = {
        "verdict": record["qc"]["verdict"],
        "reasons": "; ".join(record["qc"]["reasons"]),
        "model": record["model"],
    }
    return {**row, **judged, "mean_dice": _number(mean_dice(record)), **metrics, "folder": folder_of(record)}


def _card(record: Mapping[str, Any]) -> Card:
    """Return the contact-sheet card of a pair; picture and page are files of its folder."""
    state = state_of(record)
    if state == "failed":
        return Card(record["id"], state, missing="there is no result", reasons=[record["error"]["message"]])
    folder, carried = quote(folder_of(record)), CARRIED_PICTURE in record["files"]
    onto = Path(record["inputs"]["fixed"]["path"]).name
    return Card(
        title=record["id"],
        state=state,
        link=f"{folder}/{'report.html' if 'report.html' in record['files'] else PICTURE}",
        volumes=f"on the template, under outlines of {onto}" if carried else "",
        picture=f"{folder}/{CARRIED_PICTURE if carried else PICTURE}",
        reasons=record["qc"]["reasons"],
        metrics=QualityMetrics.from_json(record["metrics"]),
        dice=mean_dice(record),
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
