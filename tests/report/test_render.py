"""Templates escape what they show, miss nothing, and are all used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from jinja2 import UndefinedError

import lightcrcf
from lightcrcf.report.render import render
from lightcrcf.report.sheet import Card, write_sheet
from lightcrcf.template.figure import draw

PACKAGE = Path(lightcrcf.__file__).parent
TEMPLATES = sorted((PACKAGE / "report" / "templates").iterdir())
NASTY = "\"'><script>alert(1)</script>&"


def test_a_value_that_is_missing_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="'cards' is undefined"):
        render("sheet.html", title="study", note="", states={})


def test_every_text_of_a_card_is_escaped(tmp_path: Path) -> None:
    texts = dict.fromkeys(("title", "volumes", "link", "missing"), NASTY)
    for picture in (None, NASTY):
        write_sheet(
            tmp_path / "sheet.html", NASTY, [Card(state="fail", picture=picture, reasons=[NASTY], **texts)], note=NASTY
        )
        page = (tmp_path / "sheet.html").read_text(encoding="utf-8")
        assert "<script" not in page
        assert "&#34;&#39;&gt;&lt;script&gt;" in page
        assert NASTY[:3] not in page


def test_drawings_are_escaped_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightcrcf.template.figure._PANELS", (("rms", NASTY, NASTY),))
    draw(tmp_path / "figure.svg", [{"number": 0, "figures": {}}])
    assert "<script" not in (tmp_path / "figure.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_nothing_is_declared_safe(template: Path) -> None:
    assert not re.search(r"\|\s*safe\b|autoescape", template.read_text(encoding="utf-8"))


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_every_template_is_used(template: Path) -> None:
    others = [path for path in [*PACKAGE.rglob("*.py"), *TEMPLATES] if path != template]
    assert any(f'"{template.name}"' in path.read_text(encoding="utf-8") for path in others)
