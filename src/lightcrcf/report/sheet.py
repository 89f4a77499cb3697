"""One page for many runs: a card for each, the doubtful ones first."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lightcrcf.errors import InputError
from lightcrcf.files import atomic_path
from lightcrcf.report.html import resource, template
from lightcrcf.report.images import gray_uri
from lightcrcf.report.panels import KEYS, box, symbol, three
from lightcrcf.report.planes import Frame
from lightcrcf.report.slices import Slices
from lightcrcf.report.subject import Subject
from lightcrcf.report.svg import outline_paths
from lightcrcf.report.tables import reasons
from lightcrcf.report.words import number, phrase
from lightcrcf.run_record.replay import read_run

__all__ = ["Card", "Sheet", "runs_in"]

_ORDER = ("fail", "check", "pass")
_FIGURES = ("overlap_after", "correlation_affine", "correlation_after", "folding_percent")
_MOST_PIXELS = 170


def runs_in(folders: Sequence[Path]) -> list[Path]:
    """The folders of runs among `folders` and one or two levels below them, sorted within each.

    Raises:
        InputError: if there is none at all in one of them.
    """
    found: list[Path] = []
    for folder in folders:
        here = [folder] if (folder / "run.json").is_file() else sorted(_below(folder))
        if not here:
            raise InputError(
                str(folder),
                expected="the folder of a run, or one that holds such folders",
                got="no run.json in it" if folder.is_dir() else "no such folder",
                remedy="give what `lightcrcf register --out` made",
            )
        found += [path for path in here if path not in found]
    return found


def _below(folder: Path) -> Iterable[Path]:
    return (path.parent for depth in ("*", "*/*") for path in folder.glob(f"{depth}/run.json"))


@dataclass(frozen=True)
class Card:
    """One run on the sheet.

    Args:
        folder: of the run.
        verdict: pass, check or fail.
        record: what its `run.json` holds.
        rules, outlines, pictures: style rules, outlines and boxes of its pictures; empty if there are none.
        missing: why there are none.
    """

    folder: Path
    verdict: str
    record: dict[str, Any]
    rules: str = ""
    outlines: str = ""
    pictures: str = ""
    missing: str = ""

    @classmethod
    def of(cls, folder: Path, number: int) -> Card:
        """Read one run; one whose inputs are gone has no pictures and says so."""
        record = read_run(folder)
        verdict = str(record["qc"]["verdict"])
        try:
            subject = Subject.read(folder)
        except InputError as error:
            return cls(folder, verdict, record, missing=str(error))
        return cls(folder, verdict, record, *_pictures(subject, f"r{number}"))


def _pictures(subject: Subject, name: str) -> tuple[str, str, str]:
    planes = Frame.around(subject.fixed, most_pixels=_MOST_PIXELS).planes()
    slices = Slices(subject.fixed, subject.moving, subject.moved, subject.chain)
    names = [f"{name}{key}" for key in KEYS]
    moved, values = slices.moved(planes), slices.values(planes)
    rules = "\n".join(f".{n}{{background-image:url({gray_uri(image)})}}" for n, image in zip(names, moved, strict=True))
    outlines = "".join(
        symbol(n, p, outline_paths(v, slices.levels)) for n, p, v in zip(names, planes, values, strict=True)
    )
    boxes = [box(p, n, outline=f"o-{n}", letters=False) for p, n in zip(planes, names, strict=True)]
    return rules, outlines, three(boxes, planes)


@dataclass(frozen=True)
class Sheet:
    """A contact sheet.

    Args:
        cards: worst first.
        beside: the page, from which links to the runs go.
    """

    cards: tuple[Card, ...]
    beside: Path

    @classmethod
    def of(cls, folders: Sequence[Path], *, beside: Path) -> Sheet:
        """Read runs, one after the other, so that memory holds one.

        Raises:
            InputError: if a folder's run.json is damaged.
        """
        cards = [Card.of(folder, number) for number, folder in enumerate(folders)]
        return cls(tuple(sorted(cards, key=_doubt)), beside)

    def counts(self) -> str:
        """How many there are of each verdict, in words."""
        numbers = [(sum(card.verdict == word for card in self.cards), word) for word in _ORDER]
        return ", ".join(f"{count} {word}" for count, word in numbers if count)

    def write(self, page: Path) -> None:
        """Write the page, whole or not at all.

        Raises:
            InputError: if it cannot be written.
        """
        text = template("sheet.html").substitute(
            count=len(self.cards),
            counts=self.counts(),
            style=resource("page.css"),
            rules="\n".join(card.rules for card in self.cards),
            outlines="".join(card.outlines for card in self.cards),
            cards="".join(map(self._card, self.cards)),
        )
        with atomic_path(page) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def _card(self, card: Card) -> str:
        record, metrics = card.record, card.record["metrics"]
        figures = "; ".join(f"{phrase(n)} {number(metrics[n])}" for n in _FIGURES if n in metrics)
        names = [Path(record["inputs"][role]["source"]).name for role in ("moving", "fixed")]
        head = f'<h2><span class="state {card.verdict}">{card.verdict}</span> {self._link(card.folder)}</h2>'
        pictures = card.pictures or f"<p>No pictures: {escape(card.missing)}</p>"
        told = f"<p>{escape(' onto '.join(names))}</p>{pictures}{reasons(record['qc']['reasons'])}"
        return f'<div class="card {card.verdict}">{head}{told}<p class="soft">{escape(figures)}</p></div>'

    def _link(self, folder: Path) -> str:
        page = folder / "report.html"
        if not page.is_file():
            return escape(str(folder))
        relative = os.path.relpath(page, self.beside.parent)
        return f'<a href="{escape(quote(relative))}">{escape(str(folder))}</a>'


def _doubt(card: Card) -> tuple[int, float]:
    after = card.record["metrics"].get("correlation_after", 0.0)
    return _ORDER.index(card.verdict), float(after)
