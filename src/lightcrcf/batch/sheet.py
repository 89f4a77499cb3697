"""The contact sheet: a picture and a verdict for each pair, the doubtful ones first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

from lightcrcf.batch.carried import CARRIED_PICTURE
from lightcrcf.batch.work import PICTURE, folder_of, mean_dice, state_of

__all__ = ["page"]

_ORDER = ("failed", "fail", "check", "pass")
_MEANINGS = {
    "failed": "no result",
    "fail": "quality control says fail",
    "check": "worth a look",
    "pass": "nothing speaks against it",
}
_TILE = Template(
    '<figure class="$state">$picture'
    '<figcaption><b>$id</b> <span class="mark">$state</span>$numbers$reasons</figcaption></figure>'
)


def page(title: str, records: Sequence[Mapping[str, Any]]) -> str:
    """The page; pictures and results are linked, relative to the folder of the cohort.

    Args:
        title: of the cohort.
        records: of its pairs, in any order; within a verdict it is kept.
    """
    by_state = {state: [r for r in records if state_of(r) == state] for state in _ORDER}
    buttons = "".join(
        f'<label class="{state}"><input type="checkbox" id="show-{state}" checked> {len(found)} {state}'
        f" <small>{_MEANINGS[state]}</small></label>"
        for state, found in by_state.items()
    )
    tiles = "\n".join(_tile(record, state) for state, found in by_state.items() for record in found)
    template = Template((resources.files("lightcrcf.batch") / "sheet.html").read_text(encoding="utf-8"))
    return template.substitute(title=escape(title), pairs=len(records), buttons=buttons, tiles=tiles)


def _tile(record: Mapping[str, Any], state: str) -> str:
    folder = quote(folder_of(record))
    if state == "failed":
        reasons, picture = [record["error"]["message"]], '<span class="none">no picture</span>'
    else:
        reasons = record["qc"]["reasons"]
        more = "report.html" if "report.html" in record["files"] else PICTURE
        shown = CARRIED_PICTURE if CARRIED_PICTURE in record["files"] else PICTURE
        image = f'<img loading="lazy" alt="fixed and moved" src="{folder}/{shown}">'
        picture = f'<a href="{folder}/{more}">{image}</a>'
    items = "".join(f"<li>{escape(reason)}</li>" for reason in reasons)
    return _TILE.substitute(
        state=state, picture=picture, id=escape(record["id"]), numbers=_numbers(record),
        reasons=f"<ul>{items}</ul>" if items else "",
    )  # fmt: skip


def _numbers(record: Mapping[str, Any]) -> str:
    """The few that say most: how alike the images became, and the labels if there were any."""
    metrics, dice = record.get("metrics", {}), mean_dice(record)
    told = []
    if CARRIED_PICTURE in record.get("files", ()):
        told.append(f"on the template; magenta: {escape(Path(record['inputs']['fixed']['path']).name)}")
    if metrics.get("correlation_affine") is not None:
        told.append("alike " + " → ".join(f"{value:.2f}" for value in _alike(metrics)))
    if metrics.get("folding_percent") is not None:
        told.append(f"folds {metrics['folding_percent']:.2g} %")
    if dice is not None:
        told.append(f"Dice {dice:.3f}")
    return f"<br><span class='soft'>{', '.join(told)}</span>" if told else ""


def _alike(metrics: Mapping[str, Any]) -> list[float]:
    """How alike the images were and became: by the deformation, or by the affine where there is none."""
    steps = ["correlation_affine", "correlation_after"]
    if metrics.get("correlation_after") is None:
        steps = ["correlation_header", "correlation_affine"]
    return [metrics[name] for name in steps if metrics.get(name) is not None]
