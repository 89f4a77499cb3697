"""The report in a real browser: it draws, its controls work, it fits a phone, prints, and asks nobody for anything."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lightcrcf.cache.registration import RegistrationCache
from lightcrcf.registration.register import Registration
from lightcrcf.report.html import report_page
from lightcrcf.report.planes import Frame
from lightcrcf.report.sheet import Card, write_sheet
from lightcrcf.report.subject import Subject
from lightcrcf.report.thumbnail import Outlined, Thumbnail, write_thumbnail

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-first-run",
    "--virtual-time-budget=5000",
)
# Runs in the page: what is to be seen after each act goes to the page around it.
PROBE = """
const viewer = document.getElementById("viewer");
const above = () => viewer.querySelectorAll(".box")[0].querySelectorAll(".im")[1];
const set = (element, key, value) => {
  element[key] = value;
  element.dispatchEvent(new Event("input", {bubbles: true}));
};
const radio = (name, value) => set(viewer.querySelector(`input[name=${name}][value=${value}]`), "checked", true);
const state = () => ({name: above().className, opacity: above().style.opacity, clip: above().style.clipPath,
                      outline: getComputedStyle(viewer.querySelector(".outline")).display,
                      slider: document.getElementById("amount").disabled,
                      place: viewer.querySelector(".place").textContent});
const seen = {start: state()};
set(document.getElementById("amount"), "value", 80); seen.faded = state();
radio("mode", "curtain"); seen.curtain = state();
radio("mode", "tiles"); seen.tiles = state();
radio("mode", "difference"); radio("image", "affine"); seen.difference = state();
set(document.getElementById("slice"), "value", 4); seen.slice = state();
set(document.getElementById("outlines"), "checked", true); seen.outlines = state();
const box = document.querySelector(".box").getBoundingClientRect();
seen.layout = {width: document.documentElement.scrollWidth, view: innerWidth, box: [box.width, box.height],
               columns: getComputedStyle(viewer.querySelector(".three")).gridTemplateColumns.split(" ").length};
seen.requests = performance.getEntriesByType("resource").map(e => e.name).filter(n => !n.startsWith("data:"));
parent.postMessage(JSON.stringify(seen), "*");
"""
AROUND = """<!DOCTYPE html><pre id="seen"></pre><iframe src="report.html" width="{width}" height="900"></iframe>
<script>addEventListener("message", e => {{ document.getElementById("seen").textContent = e.data; }});</script>"""


@pytest.fixture(scope="module")
def browser() -> str:
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    return found


@pytest.fixture(scope="module")
def page(registration: Registration) -> str:
    return report_page(Subject.of(registration), out="run")


def run(browser: str, folder: Path, *words: str) -> str:
    flags = (*FLAGS, f"--user-data-dir={folder / 'profile'}")
    return subprocess.run([browser, *flags, *words], capture_output=True, text=True, check=True, timeout=120).stdout


def probed(browser: str, folder: Path, page: str, width: int) -> dict[str, Any]:
    (folder / "report.html").write_text(page.replace("</body>", f"<script>{PROBE}</script></body>"), encoding="utf-8")
    (folder / "around.html").write_text(AROUND.format(width=width), encoding="utf-8")
    dom = run(browser, folder, "--dump-dom", (folder / "around.html").as_uri())
    text = re.search(r'<pre id="seen">(.*?)</pre>', dom, re.DOTALL)
    assert text is not None
    seen: dict[str, Any] = json.loads(text[1])
    return seen


def test_the_controls_do_what_they_say(browser: str, page: str, registration: Registration, tmp_path: Path) -> None:
    stack = Frame.around(registration.fixed).stacks(5)[0]
    seen = probed(browser, tmp_path, page, 1100)
    places = [plane.place for plane in stack]
    assert seen["start"] == {
        "name": "im a2-moved ", "opacity": "0.5", "clip": "", "outline": "none", "slider": False, "place": places[2]
    }  # fmt: skip
    assert seen["faded"]["opacity"] == "0.8"
    assert re.fullmatch(r"inset\(0.* 20%\)", seen["curtain"]["clip"])
    assert seen["tiles"]["name"] == "im a2-moved tiles"
    assert seen["tiles"]["slider"]
    assert seen["difference"]["name"] == "im a2-affine difference"
    assert (seen["slice"]["name"], seen["slice"]["place"]) == ("im a4-affine difference", places[4])
    assert seen["outlines"]["outline"] != "none"
    assert seen["layout"]["columns"] == 3
    assert seen["requests"] == []


def test_it_fits_a_phone(browser: str, page: str, tmp_path: Path) -> None:
    layout = probed(browser, tmp_path, page, 390)["layout"]
    assert layout["width"] <= layout["view"] == 390
    assert layout["columns"] == 1
    assert min(layout["box"]) > 80


def test_what_is_drawn_is_the_brain_under_its_outline(browser: str, page: str, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    shot = tmp_path / "shot.png"
    run(browser, tmp_path, f"--screenshot={shot}", "--window-size=1000,1800", (tmp_path / "report.html").as_uri())
    black, gray, gold = drawn(shot)
    assert black > 0.1
    assert gray > 0.1
    assert 0.0005 < gold < 0.05


def drawn(shot: Path) -> tuple[float, float, float]:
    """The shares of black pixels, of grey ones, and of those of an outline."""
    pixels = np.asarray(Image.open(shot).convert("RGB")) / 255
    black = (pixels < 0.05).all(axis=-1)
    gold = (pixels[..., 0] > 0.9) & (pixels[..., 1] > 0.7) & (pixels[..., 2] < 0.5)
    gray = (abs(pixels[..., 0] - pixels[..., 1]) < 0.02) & (pixels[..., 0] > 0.2) & (pixels[..., 0] < 0.85)
    return float(black.mean()), float(gray.mean()), float(gold.mean())


@pytest.mark.parametrize("beside", [True, False])
def test_the_contact_sheet_shows_pictures_in_it_and_beside_it(
    beside: bool, browser: str, registration: Registration, tmp_path: Path
) -> None:
    write_thumbnail(tmp_path / "picture.svg", registration.fixed, registration.moved, RegistrationCache())
    inside = Thumbnail.of(Outlined.of(registration.fixed), registration.moved)
    card = Card("one", "pass", link="picture.svg", picture="picture.svg" if beside else inside)
    write_sheet(tmp_path / "sheet.html", "study", [card] * 4)
    shot = tmp_path / "shot.png"
    run(browser, tmp_path, f"--screenshot={shot}", "--window-size=700,650", (tmp_path / "sheet.html").as_uri())
    black, gray, gold = drawn(shot)
    assert black > 0.1
    assert gray > 0.03
    assert gold > 0.001


def test_it_prints_on_a_few_pages_without_controls(browser: str, page: str, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    pdf = tmp_path / "report.pdf"
    run(browser, tmp_path, f"--print-to-pdf={pdf}", "--no-pdf-header-footer", (tmp_path / "report.html").as_uri())
    content = pdf.read_bytes()
    assert content.startswith(b"%PDF")
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 8
