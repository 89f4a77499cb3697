"""The tables of a page as rows of text; templates escape what is in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightcrcf.quality.metrics import QualityMetrics
from lightcrcf.quality.verdict import JudgedMetric, Quality
from lightcrcf.report.subject import Subject
from lightcrcf.report.words import number, phrase
from lightcrcf.run_record.record import BrainRecord, RunRecord
from lightcrcf.volumes import Volume

__all__ = [
    "Channel", "LabelMap", "MetricRow", "channels", "label_maps", "metric_rows", "provenance", "subjects", "timings"
]  # fmt: skip

Rows = list[tuple[str, str]]


@dataclass(frozen=True)
class MetricRow:
    """One metric of a registration.

    Args:
        name: of it, in words.
        value: as text.
        passes: its passing range as text; empty if it was not judged.
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
        metrics: its rows.
    """

    number: int
    name: str
    how: str
    reasons: Sequence[str]
    metrics: Sequence[MetricRow]


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
    model, refinement = record.model, record.refinement
    steps = [str(level.steps_done) for level in refinement.levels] if refinement else []
    method = f"model {model.name}, {model.reason}" if model.name else model.reason
    return [
        ("fixed", _describe(subject.fixed) + _extracted(record.inputs.fixed.brain)),
        ("moving", _describe(subject.moving) + _extracted(record.inputs.moving.brain)),
        *((f"pair {n}", f"{name}, {how}") for n, name, how in _further(record)),
        ("method", method + (f"; refined by {' + '.join(steps)} steps" if steps else "")),
        ("made with", f"LightCRCF {record.versions['lightcrcf']}, preset {record.options.preset}"),
    ]


def _further(record: RunRecord) -> Iterator[tuple[int, str, str]]:
    """Yield number, images and comparison of each further pair."""
    pairs = zip(record.inputs.further, record.channels[1:], strict=True)
    for place, (images, channel) in enumerate(pairs, start=2):
        fixed, moving = (Path(image.source).name for image in (images.fixed, images.moving))
        contrasts = "two contrasts" if channel.similarity.contrasts == "any" else "one contrast"
        yield place, f"{moving} onto {fixed}", f"{contrasts}, weight {channel.weight:.3g}"


def channels(record: RunRecord) -> list[Channel]:
    """List the verdicts on further pairs of images; pictures are of the first pair."""
    return [
        Channel(place, name, how, one.qc.reasons, metric_rows(one.qc, one.metrics))
        for (place, name, how), one in zip(_further(record), record.channels[1:], strict=True)
    ]


def _describe(volume: Volume) -> str:
    shape = " × ".join(map(str, volume.grid.shape))
    spacing = " × ".join(f"{s:.4g}" for s in volume.grid.spacing_mm)
    return f"{volume.source}: {shape} voxels of {spacing} mm, {volume.data.dtype}"


def _extracted(brain: BrainRecord | None) -> str:
    if brain is None or not brain.registered_alone:
        return ""
    return f"; a head, whose brain of {brain.litres:.2f} l was registered alone"


def metric_rows(quality: Quality, metrics: QualityMetrics) -> list[MetricRow]:
    """List the metrics that were judged, then those that were only measured."""
    judged = {row.figure for row in quality.judged}
    measured = [MetricRow(phrase(name), number(v)) for name, v in metrics.measured().items() if name not in judged]
    return [*map(_judged, quality.judged), *measured]


def _judged(row: JudgedMetric) -> MetricRow:
    value = _with_digits_of(row.passes, row.value) if row.passes else number(row.value)
    return MetricRow(phrase(row.figure), value, row.passes, row.state)


def _with_digits_of(passes: str, value: float) -> str:
    """Return a metric with the digits that its limit has, or more where it is small.

    Example:
        >>> _with_digits_of("0.9895 or more", 0.98743), _with_digits_of("0.50 or less", 0.00123)
        ('0.9874', '0.00123')
    """
    _, _, decimals = passes.split(" ")[0].partition(".")
    fixed = f"{value:.{len(decimals)}f}"
    return fixed if abs(value) >= 10.0 ** (1 - len(decimals)) else number(value)


def label_maps(record: RunRecord) -> list[LabelMap]:
    """List the label maps that were moved, with Dice where there was something to compare with."""
    return [
        LabelMap(
            moved.source, len(moved.structures), moved.notes, sorted(moved.dice().items(), key=lambda item: item[1])
        )
        for moved in record.labels
    ]


def timings(record: RunRecord) -> Rows:
    """List the seconds of each stage that took any, their sum, and the memory."""
    rows = [(name, f"{value:.2f} s") for name, value in record.timings_s.items() if value >= 0.005]
    rows.append(("all stages", f"{sum(record.timings_s.values()):.2f} s"))
    if record.peak_memory_mb:
        rows.append(("largest memory", f"{record.peak_memory_mb:.0f} MiB"))
    return rows


def provenance(record: RunRecord) -> Rows:
    """List files, weights, versions and machine."""
    sources = [
        (
            source.role.replace("_", " "),
            f"{source.path or 'in memory'}{', SHA-256 ' + source.sha256 if source.sha256 else ''}",
        )
        for source in record.sources
    ]
    model, machine = record.model, record.machine
    weights = [("model", f"{model.name}, SHA-256 {model.sha256}")] if model.name else []
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    return [*sources, *weights, ("versions", versions), ("machine", f"{machine.cpu}, {machine.cores} cores")]
