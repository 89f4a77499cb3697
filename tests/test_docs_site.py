"""The documentation builds as a site: no warning, no broken link, and nothing that is loaded from elsewhere."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOADS = {"link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src", "object": "data"}


def build(docs: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Run Sphinx as `scripts/docs` does."""
    words = ["--fail-on-warning", "--keep-going", "--quiet", "-b", "html", str(docs), str(out)]
    environment = {
        name: value for name, value in os.environ.items() if name.lower() not in ("http_proxy", "https_proxy")
    }
    return subprocess.run(
        [sys.executable, "-m", "sphinx", *words], capture_output=True, text=True, check=False, env=environment
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    done = build(ROOT / "docs", out)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


class Loaded(HTMLParser):
    """What a page asks the browser to load."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value for name, value in attrs if LOADS.get(tag) == name and value]


def test_every_document_is_a_page(site: Path) -> None:
    missing = [
        str(path)
        for path in sorted((ROOT / "docs").rglob("*.md"))
        if not (site / path.relative_to(ROOT / "docs")).with_suffix(".html").is_file()
    ]
    assert not missing


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    seen = 0
    for page in site.rglob("*.html"):
        loaded = Loaded()
        loaded.feed(page.read_text(encoding="utf-8"))
        assert not [address for address in loaded.addresses if re.match(r"(\w+:)?//", address)], page.name
        seen += len(loaded.addresses)
    assert seen > 100
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(\W?(\w+:)?//|@import", style.read_text(encoding="utf-8")), style.name


def test_equations_are_drawn_by_the_browser(site: Path) -> None:
    page = (site / "how-it-works.html").read_text(encoding="utf-8")
    assert page.count("<math") > 30
    assert "<mfrac>" in page
    loaded = Loaded()
    loaded.feed(page)
    assert not [address for address in loaded.addresses if "math" in address.lower()]
    assert not re.search(r"\\(frac|circ|operatorname|mathrm)\b", re.sub(r'aria-label="[^"]*"', "", page))


def test_functions_are_described_from_their_docstrings(site: Path) -> None:
    page = (site / "api" / "registration.html").read_text(encoding="utf-8")
    assert 'id="lightcrcf.register"' in page
    assert "smoothness" in page


def test_the_figure_of_the_stages_is_what_its_program_draws() -> None:
    drawing = runpy.run_path(str(ROOT / "docs" / "pictures" / "stages.py"))["drawing"]
    assert (ROOT / "docs" / "figures" / "stages.svg").read_text(encoding="utf-8") == drawing()


@pytest.mark.parametrize("line", ["[a](no-such-page.md)", "[a](other.md#no-such-heading)", "![a](no-such.svg)"])
def test_a_broken_link_fails(line: str, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    shutil.copy(ROOT / "docs" / "conf.py", docs)
    (docs / "style").mkdir()
    (docs / "style" / "site.css").touch()
    (docs / "index.md").write_text(f"# Home\n\n```{{toctree}}\nother\n```\n\n{line}\n", encoding="utf-8")
    (docs / "other.md").write_text("# Other\n", encoding="utf-8")
    done = build(docs, tmp_path / "out")
    assert done.returncode != 0
    assert "WARNING" in done.stderr
