"""The record of `disturbed`: results for images with missing or added parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from pydantic import Field, model_validator

from lightcrcf_bench.publish.markdown import table
from lightcrcf_bench.records.parts import Measurement, Strict

__all__ = [
    "DISTURBED", "FIGURES", "LESIONS", "OTHER", "PARTS", "ROWS", "SAME", "SHARES", "Disturbed", "DisturbedRecord",
    "Row", "disturbed_text",
]  # fmt: skip

DISTURBED = "disturbed"
Verdict = Literal["pass", "check", "fail"]

FIGURES = {
    "p95_mm": "points, 95 %, mm",
    "median_mm": "points, median, mm",
    "mean_mm": "points, mean, mm",
    "beyond_p95_mm": "points that are missing, 95 %, mm",
    "far_p95_mm": "points 15 mm and more away, 95 %, mm",
    "affine_deg": "affine, degrees",
    "affine_mm": "affine, mean of points, mm",
    "dice_lost": "Dice lost",
    "dice": "Dice",
    "affine_missed": "1 - Dice after the affine",
    "missed": "1 - Dice",
    "outside_mm": "moved outside of the body, 99 %, mm",
}
_SHARES = ("dice_lost", "dice", "affine_missed", "missed")  # shown with three digits
_HIGHER = ("dice",)  # of which more is better


@dataclass(frozen=True)
class Row:
    """One figure of one kind of disturbance.

    Args:
        title: of the kind, for people.
        figure: a key of `FIGURES`.
        wanted: the most that it may be; None where nothing was set.
    """

    title: str
    figure: str
    wanted: float | None


def _part(title: str, *, of: str) -> tuple[Row, ...]:
    rows = (Row(f"{title} of a brain, {of}", "p95_mm", 2.0), Row("", "median_mm", None))
    return rows if of == "another person" else (*rows, Row("", "beyond_p95_mm", 3.0))


def _lesion(times: int, *, of: str) -> tuple[Row, ...]:
    return (
        Row(f"lesion {times} times as bright as tissue, {of}", "affine_deg", 1.0),
        Row("", "affine_mm", 1.0),
        Row("", "far_p95_mm", 2.0),
        *((Row("", "dice_lost", None),) if of == "another person" else ()),
    )


PARTS = {"slab": "a slab, a third", "hemisphere": "a hemisphere", "two-thirds": "the top two thirds"}
SHARES = (20, 40)
LESIONS = (2, 5, 10, 30)
SAME, OTHER = "same", "other"
_OF = {SAME: "the same person", OTHER: "another person"}

ROWS: dict[str, tuple[Row, ...]] = {
    **{f"{part}-{who}": _part(title, of=of) for who, of in _OF.items() for part, title in PARTS.items()},
    "noise-other": (Row("a whole brain with other noise, another person", "p95_mm", None), Row("", "median_mm", None)),
    **{
        f"head-{way}-{share}": (Row(f"a whole head without its {way} {share} %, another person", "dice_lost", 0.03),)
        for way in ("lower", "left")
        for share in SHARES
    },
    **{f"lesion-{times}-{who}": _lesion(times, of=of) for who, of in _OF.items() for times in LESIONS},
    **{f"rescan-{what}": (Row(f"a rescan of {words}", "mean_mm", 0.1),) for what, words in
       (("brain", "a brain"), ("head", "a whole head"), ("body", "an abdomen"))},
    "head-brain": (
        Row("a raw head instead of one stripped by hand, a bare brain moving", "dice_lost", 0.02), Row("", "dice", None)
    ),
    "head-template": (
        Row("a raw head instead of one stripped by hand, onto MNI152", "dice_lost", 0.02), Row("", "dice", None)
    ),
    "lungs": (
        Row("lungs of another person, CT", "affine_missed", 0.05),
        Row("", "missed", 0.02),
        Row("", "outside_mm", 1.0),
    ),
}  # fmt: skip
"""The figures of each kind of disturbance, in the order of the table."""


class Disturbed(Strict):
    """Result of one registration.

    Args:
        kind: a key of `ROWS`.
        case: who was registered.
        verdict: of quality control.
        figures: keys of `FIGURES`, those that `ROWS` names for the kind.
    """

    kind: str
    case: str
    verdict: Verdict
    figures: dict[str, float] = Field(min_length=1)

    @model_validator(mode="after")
    def _known(self) -> Disturbed:
        if self.kind not in ROWS or set(self.figures) != {row.figure for row in ROWS[self.kind]}:
            raise ValueError(f"a case of {self.kind} has not the figures of its kind")
        return self


class DisturbedRecord(Measurement):
    """`python -m lightcrcf_bench.quality.disturbed`; at most one case of each kind and pair.

    Args:
        data: what was registered.
        plans: names of what was measured; a run that goes on leaves these out.
        cases: what came of it.
    """

    format: Literal["lightcrcf-disturbed"] = "lightcrcf-disturbed"
    data: str
    plans: tuple[str, ...]
    cases: tuple[Disturbed, ...]

    @model_validator(mode="after")
    def _once(self) -> DisturbedRecord:
        names = [(case.kind, case.case) for case in self.cases]
        if len(set(names)) != len(names):
            raise ValueError("there must be at most one case of each kind and pair")
        return self

    def of(self, kind: str) -> list[Disturbed]:
        """Return the cases of a kind."""
        return [case for case in self.cases if case.kind == kind]


def disturbed_text(record: DisturbedRecord) -> str:
    """Return a row for each figure: what was wanted, what was found, and by how much the worst case misses it."""
    lines = [line for kind in ROWS for line in _lines(kind, record.of(kind))]
    header = ("disturbed by", "figure", "wanted, at most", "mean", "worst", "", "cases", "verdicts")
    machine = record.machine
    notes = [
        f"{record.data} {record.protocol}",
        f"{record.measured.isoformat()}, {machine.cpu}, {machine.cores} cores. {record.note}".strip(),
    ]
    return "\n".join([*table(header, lines), "", *(f"- {note}" for note in notes)])


def _lines(kind: str, cases: Sequence[Disturbed]) -> list[tuple[str, ...]]:
    if not cases:
        return []
    totals = [(str(len(cases)), _verdicts(cases)), *[("", "")] * (len(ROWS[kind]) - 1)]
    return [
        (*_line(row, [case.figures[row.figure] for case in cases]), *more)
        for row, more in zip(ROWS[kind], totals, strict=True)
    ]


def _line(row: Row, values: list[float]) -> tuple[str, ...]:
    digits = 3 if row.figure in _SHARES else 2
    worst, wanted, result = min(values) if row.figure in _HIGHER else max(values), "", ""
    if row.wanted is not None:
        short = round(worst, digits) - row.wanted
        wanted, result = f"{row.wanted:g}", "reached" if short <= 0 else f"missed by {short:.{digits}f}"
    return row.title, FIGURES[row.figure], wanted, f"{fmean(values):.{digits}f}", f"{worst:.{digits}f}", result


def _verdicts(cases: Sequence[Disturbed]) -> str:
    found = [case.verdict for case in cases]
    return ", ".join(f"{found.count(verdict)} {verdict}" for verdict in ("pass", "check", "fail") if verdict in found)
