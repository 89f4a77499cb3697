"""The contact sheet: a picture and a verdict for each pair, the doubtful ones first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from string import Template
from typing import Any
from urllib.parse import quote

from lightcrcf.batch.work import PICTURE, mean_dice, state_of

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
    folder = f"pairs/{quote(record['id'])}"
    if state == "failed":
        reasons, picture = [record["error"]["message"]], '<span class="none">no picture</span>'
    else:
        reasons = record["qc"]["reasons"]
        more = "report.html" if "report.html" in record["files"] else PICTURE
        image = f'<img loading="lazy" alt="fixed and moved" src="{folder}/{PICTURE}">'
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
    if metrics.get("correlation_affine") is not None:
        after = metrics.get("correlation_after", metrics["correlation_affine"])
        told.append(f"alike {metrics['correlation_affine']:.2f} → {after:.2f}")
    if metrics.get("folding_percent") is not None:
        told.append(f"folds {metrics['folding_percent']:.2g} %")
    if dice is not None:
        told.append(f"Dice {dice:.3f}")
    return f"<br><span class='soft'>{', '.join(told)}</span>" if told else ""
