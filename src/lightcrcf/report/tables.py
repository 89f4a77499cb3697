"""The tables of a page as rows of text; templates escape what is in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightcrcf.report.subject import Subject
from lightcrcf.report.words import number, phrase
from lightcrcf.volumes import Volume

__all__ = [
    "Channel", "Evidence", "LabelMap", "channels", "evidence", "label_maps", "provenance", "subjects", "timings"
]  # fmt: skip

Rows = list[tuple[str, str]]


@dataclass(frozen=True)
class Evidence:
    """One metric of a registration.

    Args:
        name: of it, in words.
        value: as text.
        passes: its limit as text; empty if it was only measured.
        state: pass, check or fail; empty if it was not judged.
    """

    name: str
    value: str
    passes: str = ""
    state: str = ""


@dataclass(frozen=True)
class Channel:
    """The verdict on a further pair of images.

    Args:
        number: of the pair, from 2.
        name: of its images.
        how: they were compared.
        reasons: for its verdict.
        evidence: its metrics.
    """

    number: int
    name: str
    how: str
    reasons: Sequence[str]
    evidence: Sequence[Evidence]


@dataclass(frozen=True)
class LabelMap:
    """A label map that was moved.

    Args:
        source: its file.
        count: of labels in it.
        notes: which labels vanished or changed.
        dice: of each label that the fixed labels have too, lowest first.
    """

    source: str
    count: int
    notes: Sequence[str]
    dice: Sequence[tuple[str, float]]

    @property
    def mean_dice(self) -> float:
        """Mean over the labels; NaN without any."""
        return sum(value for _, value in self.dice) / len(self.dice) if self.dice else float("nan")


def subjects(subject: Subject) -> Rows:
    """Describe both volumes, further pairs, the model, and what made the result."""
    record = subject.record
    model, refinement = record["model"], record.get("refinement")
    steps = [str(level["steps_done"]) for level in refinement["levels"]] if refinement else []
    method = f"model {model['name']}, {model['reason']}" if model["name"] else str(model["reason"])
    return [
        ("fixed", _describe(subject.fixed) + _stripped(record["inputs"]["fixed"].get("brain"))),
        ("moving", _describe(subject.moving) + _stripped(record["inputs"]["moving"].get("brain"))),
        *((f"pair {n}", f"{name}, {how}") for n, name, how in _further(record)),
        ("method", method + (f"; refined by {' + '.join(steps)} steps" if steps else "")),
        ("made with", f"LightCRCF {record['versions']['lightcrcf']}, preset {record['options']['preset']}"),
    ]


def _further(record: Mapping[str, Any]) -> Iterator[tuple[int, str, str]]:
    """Yield number, images and comparison of each further pair."""
    pairs = zip(record["inputs"].get("further", ()), record.get("channels", ())[1:], strict=True)
    for place, (images, channel) in enumerate(pairs, start=2):
        fixed, moving = (Path(images[role]["source"]).name for role in ("fixed", "moving"))
        contrasts = "two contrasts" if channel["similarity"]["contrasts"] == "any" else "one contrast"
        yield place, f"{moving} onto {fixed}", f"{contrasts}, weight {channel['weight']:.3g}"


def channels(record: Mapping[str, Any]) -> list[Channel]:
    """List the verdicts on further pairs of images; pictures are of the first pair."""
    judged = record.get("channels", ())
    return [
        Channel(place, name, how, one["qc"]["reasons"], evidence(one["qc"], one["metrics"]))
        for (place, name, how), one in zip(_further(record), judged[1:], strict=True)
    ]


def _describe(volume: Volume) -> str:
    shape = " × ".join(map(str, volume.grid.shape))
    spacing = " × ".join(f"{s:.4g}" for s in volume.grid.spacing_mm)
    return f"{volume.source}: {shape} voxels of {spacing} mm, {volume.data.dtype}"


def _stripped(brain: Mapping[str, Any] | None) -> str:
    if brain is None or not brain["registered_alone"]:
        return ""
    return f"; a head, whose brain of {brain['litres']:.2f} l was registered alone"


def evidence(qc: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[Evidence]:
    """List the metrics that were judged, then those that were only measured."""
    judged = {row["figure"]: row for row in qc.get("judged", ())}
    measured = [Evidence(phrase(name), number(metrics[name])) for name in metrics if name not in judged]
    return [*map(_judged, judged.values()), *measured]


def _judged(row: Mapping[str, Any]) -> Evidence:
    passes, state = str(row["passes"]), str(row["state"])
    value = _as_fine_as(passes, row["value"]) if passes else number(row["value"])
    return Evidence(phrase(row["figure"]), value, passes, "" if state == "note" else state)


def _as_fine_as(passes: str, value: Any) -> str:
    """Return a metric with the digits that its limit has, or more where it is small.

    Example:
        >>> _as_fine_as("0.9895 or more", 0.98743), _as_fine_as("0.50 or less", 0.00123)
        ('0.9874', '0.00123')
    """
    _, _, decimals = passes.split(" ")[0].partition(".")
    fixed = f"{float(value):.{len(decimals)}f}"
    return fixed if abs(float(value)) >= 10.0 ** (1 - len(decimals)) else number(float(value))


def label_maps(record: Mapping[str, Any]) -> list[LabelMap]:
    """List the label maps that were moved, with Dice where there was something to compare with."""
    return [
        LabelMap(
            str(moved["source"]),
            len(moved["structures"]),
            moved["notes"],
            sorted(
                ((code, s["dice"]) for code, s in moved["structures"].items() if s.get("dice") is not None),
                key=lambda item: item[1],
            ),
        )
        for moved in record.get("labels") or ()
    ]


def timings(record: Mapping[str, Any]) -> Rows:
    """List the seconds of each stage that took any, their sum, and the memory."""
    seconds: Mapping[str, float] = record["timings_s"]
    rows = [(name, f"{value:.2f} s") for name, value in seconds.items() if value >= 0.005]
    rows.append(("all stages", f"{sum(seconds.values()):.2f} s"))
    if record.get("peak_memory_mb"):
        rows.append(("largest memory", f"{record['peak_memory_mb']:.0f} MiB"))
    return rows


def provenance(record: Mapping[str, Any]) -> Rows:
    """List files, weights, versions and machine."""
    sources = [
        (
            str(s["role"]).replace("_", " "),
            f"{s['path'] or 'in memory'}{', SHA-256 ' + s['sha256'] if s['sha256'] else ''}",
        )
        for s in record.get("sources", ())
    ]
    model, machine = record["model"], record["machine"]
    weights = [("model", f"{model['name']}, SHA-256 {model['sha256']}")] if model["name"] else []
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    place = f"{machine['cpu']}, {machine['cores']} cores"
    return [*sources, *weights, ("versions", versions), ("machine", place)]
