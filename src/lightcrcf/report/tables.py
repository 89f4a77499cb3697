"""The tables of a page: everything in them is escaped, whatever a file is called."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from lightcrcf.report.subject import Subject
from lightcrcf.report.words import number, phrase
from lightcrcf.volumes import Volume

__all__ = ["channels", "evidence", "labels", "provenance", "reasons", "rows", "subjects", "timings"]


def rows(values: Iterable[tuple[str, str]], *, kind: str = "text") -> str:
    """Table rows of names and values."""
    cells = (f'<tr><th>{escape(name)}</th><td class="{kind}">{escape(value)}</td></tr>' for name, value in values)
    return "".join(cells)


def reasons(items: Sequence[str]) -> str:
    """Why a verdict is what it is, as a list."""
    return f"<ul>{''.join(f'<li>{escape(str(item))}</li>' for item in items)}</ul>" if items else ""


def subjects(subject: Subject) -> str:
    """Both volumes, the model, and what made the result."""
    record = subject.record
    model, refinement = record["model"], record.get("refinement")
    steps = [str(level["steps_done"]) for level in refinement["levels"]] if refinement else []
    method = f"model {model['name']}, {model['reason']}" if model["name"] else str(model["reason"])
    return rows(
        [
            ("fixed", _describe(subject.fixed) + _stripped(record["inputs"]["fixed"].get("brain"))),
            ("moving", _describe(subject.moving) + _stripped(record["inputs"]["moving"].get("brain"))),
            *((f"pair {n}", f"{name}, {how}") for n, name, how in _further(record)),
            ("method", method + (f"; refined by {' + '.join(steps)} steps" if steps else "")),
            ("made with", f"LightCRCF {record['versions']['lightcrcf']}, preset {record['options']['preset']}"),
        ]
    )


def _further(record: Mapping[str, Any]) -> Iterator[tuple[int, str, str]]:
    """Of each further pair its number, its images, and how they were compared."""
    pairs = zip(record["inputs"].get("further", ()), record.get("channels", ())[1:], strict=True)
    for place, (images, channel) in enumerate(pairs, start=2):
        fixed, moving = (Path(images[role]["source"]).name for role in ("fixed", "moving"))
        contrasts = "two contrasts" if channel["similarity"]["contrasts"] == "any" else "one contrast"
        yield place, f"{moving} onto {fixed}", f"{contrasts}, weight {channel['weight']:.3g}"


def channels(record: Mapping[str, Any]) -> str:
    """What was judged of each further pair of images, in tables of their own; pictures are of the first pair."""
    found = []
    for place, name, how in _further(record):
        told = record["channels"][place - 1]
        head = "<tr><th>what was looked at</th><th>found</th><th>passes</th><th></th></tr>"
        found.append(f"<h3>Pair {place}: {escape(name)} ({escape(how)})</h3>{reasons(told['qc']['reasons'])}")
        rows_ = evidence(told["qc"], told["metrics"])
        found.append(f'<table class="evidence"><thead>{head}</thead>{rows_}</table>')
    return "".join(found)


def _describe(volume: Volume) -> str:
    shape = " × ".join(map(str, volume.grid.shape))
    spacing = " × ".join(f"{s:.4g}" for s in volume.grid.spacing_mm)
    return f"{volume.source}: {shape} voxels of {spacing} mm, {volume.data.dtype}"


def _stripped(brain: Mapping[str, Any] | None) -> str:
    if brain is None or not brain["registered_alone"]:
        return ""
    return f"; a head, whose brain of {brain['litres']:.2f} l was registered alone"


def evidence(qc: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """What was judged and how, then what was only measured."""
    judged = {row["figure"]: row for row in qc.get("judged", ())}
    named = [*judged, *(name for name in metrics if name not in judged)]
    return "".join(_evidence_row(name, judged.get(name), metrics) for name in named)


def _evidence_row(name: str, judged: Mapping[str, Any] | None, metrics: Mapping[str, Any]) -> str:
    value = metrics.get(name) if judged is None else judged["value"]
    passes = "" if judged is None else str(judged["passes"])
    state = "note" if judged is None else str(judged["state"])
    shown = number(value) if judged is None or not passes else _as_fine_as(passes, value)
    mark = "" if state == "note" else f'<span class="state {escape(state)}">{escape(state)}</span>'
    cells = f'<th>{escape(phrase(name))}</th><td class="number">{escape(shown)}</td>'
    return f'<tr>{cells}<td class="soft">{escape(passes)}</td><td>{mark}</td></tr>'


def _as_fine_as(passes: str, value: Any) -> str:
    """Return a figure with the digits that its limit has, or more where it is small.

    Example:
        >>> _as_fine_as("0.9895 or more", 0.98743), _as_fine_as("0.50 or less", 0.00123)
        ('0.9874', '0.00123')
    """
    _, _, decimals = passes.split(" ")[0].partition(".")
    fixed = f"{float(value):.{len(decimals)}f}"
    return fixed if abs(float(value)) >= 10.0 ** (1 - len(decimals)) else number(float(value))


def labels(record: Sequence[Mapping[str, Any]] | None) -> str:
    """Each label map that was moved: what vanished or changed, and Dice where there was something to compare with."""
    return "".join(map(_label_map, record or ()))


def _label_map(told: Mapping[str, Any]) -> str:
    structures: Mapping[str, Mapping[str, Any]] = told["structures"]
    scores = {code: s["dice"] for code, s in structures.items() if s.get("dice") is not None}
    parts = [f"<h2>Labels</h2><p>{escape(str(told['source']))}: {len(structures)} labels were moved.</p>"]
    parts.append(reasons(told["notes"]))
    if scores:
        mean = sum(scores.values()) / len(scores)
        parts.append(
            f"<p>Mean Dice of {len(scores)} labels with the fixed labels: <b>{mean:.3f}</b>. Lowest first:</p>"
        )
        ordered = sorted(scores.items(), key=lambda item: item[1])
        parts.append(f'<div class="labels">{"".join(_dice_bar(code, dice) for code, dice in ordered)}</div>')
    return "".join(parts)


def _dice_bar(code: str, dice: float) -> str:
    bar = f'<span class="bar"><b style="width:{100 * dice:.1f}%"></b></span>'
    return f"<div><span>{escape(code)}</span>{bar}<span>{dice:.3f}</span></div>"


def timings(record: Mapping[str, Any]) -> str:
    """Seconds of each stage that took any, their sum, and the memory."""
    seconds: Mapping[str, float] = record["timings_s"]
    told = [(name, f"{value:.2f} s") for name, value in seconds.items() if value >= 0.005]
    told.append(("all stages", f"{sum(seconds.values()):.2f} s"))
    if record.get("peak_memory_mb"):
        told.append(("largest memory", f"{record['peak_memory_mb']:.0f} MiB"))
    return rows(told, kind="number")


def provenance(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Which files, weights, versions and machine, in words."""
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
