"""The contact sheet: one page for many registrations, a card for each, the doubtful ones first."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from lightcrcf.errors import InputError
from lightcrcf.files import atomic_path
from lightcrcf.quality.metrics import QualityMetrics
from lightcrcf.report.render import render
from lightcrcf.report.subject import Subject
from lightcrcf.report.tables import label_maps
from lightcrcf.report.thumbnail import Outlined, Thumbnail
from lightcrcf.run_record.replay import read_run

__all__ = ["Card", "card_of_run", "counts", "runs_in", "write_sheet"]

_STATES = {
    "failed": "no result",
    "fail": "quality control says fail",
    "check": "worth a look",
    "pass": "nothing speaks against it",
}
"""States of a registration, worst first, with their descriptions."""


@dataclass(frozen=True)
class Card:
    """One registration on the sheet.

    Args:
        title: of it.
        state: pass, check or fail; failed without a result.
        volumes: names of what was registered.
        link: URL of its page, relative to the sheet; empty without one.
        picture: drawn on the sheet, or the URL of a picture beside it; None without one.
        missing: why there is no picture.
        reasons: for the verdict.
        metrics: of the registration.
        dice: mean overlap of its labels, if there were any.
    """

    title: str
    state: str
    volumes: str = ""
    link: str = ""
    picture: Thumbnail | str | None = None
    missing: str = ""
    reasons: Sequence[str] = ()
    metrics: QualityMetrics = field(default_factory=QualityMetrics)
    dice: float | None = None

    @property
    def rank(self) -> tuple[int, float]:
        """Sort by state, then by similarity: the most doubtful comes first."""
        return list(_STATES).index(self.state), self._correlations[-1] if self._correlations else 0.0

    @property
    def summary(self) -> str:
        """The few metrics that tell most: how alike images and labels became, and whether space folds.

        Example:
            >>> metrics = QualityMetrics(correlation_affine=0.25, folding_percent=0.0)
            >>> Card("a", "pass", metrics=metrics, dice=0.75).summary
            'local correlation 0.25, folds 0 %, Dice 0.750'
        """
        metrics, words = self.metrics, []
        if metrics.overlap_after is not None:
            words.append(f"overlap {metrics.overlap_after:.2f}")
        if self._correlations:
            words.append("local correlation " + " → ".join(f"{value:.2f}" for value in self._correlations))
        if metrics.folding_percent is not None:
            words.append(f"folds {metrics.folding_percent:.2g} %")
        if self.dice is not None:
            words.append(f"Dice {self.dice:.3f}")
        return ", ".join(words)

    @property
    def _correlations(self) -> list[float]:
        """Before and after the deformation, or before and after the affine alignment where there is no other."""
        metrics = self.metrics
        stages = [metrics.correlation_header, metrics.correlation_affine, metrics.correlation_after]
        last = stages[1:] if stages[2] is not None else stages[:2]
        return [value for value in last if value is not None]


def write_sheet(page: Path, title: str, cards: Sequence[Card], note: str = "") -> None:
    """Write the page, whole or not at all, the most doubtful first.

    Args:
        page: to write.
        title: of it.
        cards: in any order; of equally doubtful ones it is kept.
        note: a sentence below the explanation.

    Raises:
        InputError: if it cannot be written.
    """
    ordered = sorted(cards, key=lambda card: card.rank)
    text = render("sheet.html", title=title, note=note, cards=ordered, counts=counts(cards), states=_STATES)
    with atomic_path(page) as temporary:
        temporary.write_text(text, encoding="utf-8")


def counts(cards: Iterable[Card]) -> dict[str, int]:
    """Count the cards in each state, worst first."""
    found = Counter(card.state for card in cards)
    return {state: found[state] for state in _STATES}


def runs_in(folders: Sequence[Path]) -> list[Path]:
    """Find the folders of runs among `folders` and one or two levels below them, sorted within each.

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


def card_of_run(folder: Path, *, beside: Path) -> Card:
    """Read a run and draw it; one whose inputs are gone has no picture and says so.

    Args:
        folder: of the run.
        beside: the sheet, from which the link to the run's page goes.

    Raises:
        InputError: if its run.json is damaged.
    """
    record, picture, missing = read_run(folder), None, ""
    try:
        subject = Subject.read(folder)
        picture = Thumbnail.of(Outlined.of(subject.fixed), subject.moved)
    except InputError as error:
        missing = str(error)
    page = folder / "report.html"
    names = [Path(image.source).name for image in (record.inputs.moving, record.inputs.fixed)]
    maps = [labels.mean_dice for labels in label_maps(record) if labels.dice]
    return Card(
        title=str(folder),
        state=record.qc.verdict,
        volumes=" onto ".join(names),
        link=quote(os.path.relpath(page, beside.parent)) if page.is_file() else "",
        picture=picture,
        missing=missing,
        reasons=record.qc.reasons,
        metrics=record.metrics,
        dice=maps[0] if maps else None,
    )
