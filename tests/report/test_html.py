"""The report is one file, holds its pictures, and believes nothing that a file name says."""

from __future__ import annotations

import re
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np

from lightcrcf.pipeline.register import Registration
from lightcrcf.report.figure import png
from lightcrcf.report.html import report_page
from lightcrcf.report.painters import FOLD_COLOUR
from lightcrcf.report.pictures import Views
from lightcrcf.transforms.chain import Chain
from lightcrcf.volumes import Volume

COMMAND = ["lightcrcf", "register", "--fixed", "a b.nii"]


class Checker(HTMLParser):
    """Collects image sources; every tag that opens must close."""

    def __init__(self) -> None:
        super().__init__()
        self.images: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.images.append(str(dict(attrs)["src"]))
        if tag not in ("img", "meta", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parse(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    return checker


def test_the_page_is_whole_and_needs_nothing_else(registration: Registration) -> None:
    page = report_page(registration, command=COMMAND)
    images = parse(page).images
    assert len(images) == 5
    for image in images:
        assert b64decode(image.removeprefix("data:image/png;base64,")).startswith(b"\x89PNG")
    assert not re.search(r"(src|href)=\"?(http|//|/|file)", page)
    assert "lightcrcf register --fixed &#x27;a b.nii&#x27;" in page
    assert registration.qc["verdict"] in page


def test_an_affine_result_has_no_deformation_and_names_cannot_inject_markup(registration: Registration) -> None:
    chain, fixed = registration.transform, registration.fixed
    nasty = replace(
        registration,
        transform=Chain(chain.before, None, chain.after),
        fixed=Volume(fixed.data, fixed.grid, "<script>alert(1)</script>.nii"),
        qc={"verdict": "fail", "reasons": ["<b>bold</b>"]},
    )
    page = report_page(nasty, command=["<i>"])
    assert len(parse(page).images) == 4
    assert "Deformation" not in page
    assert not any(markup in page for markup in ("<script>alert", "<b>bold", "<i>"))


def test_pictures_are_the_same_every_time(registration: Registration) -> None:
    first, second = (
        png(views.planes, [*views.before_after(), *views.tiles(), *views.deformation()])
        for views in (
            Views(registration.fixed, registration.moving, registration.moved, registration.transform) for _ in range(2)
        )
    )
    assert first == second


def test_folds_have_a_colour_of_their_own(registration: Registration) -> None:
    views = Views(registration.fixed, registration.moving, registration.moved, registration.transform)
    field = registration.transform.field
    assert field is not None
    assert field.jacobian_determinant().min() < 0
    assert fold_pixels(views.volume_change(field).painters) > 0
    half = replace(
        registration.transform.field, displacement=registration.transform.field.displacement * np.float32(0.2)
    )
    assert half.jacobian_determinant().min() > 0
    assert fold_pixels(views.volume_change(half).painters) == 0


def fold_pixels(painters: tuple) -> int:
    from matplotlib.colors import to_rgba
    from matplotlib.figure import Figure

    count = 0
    for paint in painters:
        axes = Figure().add_subplot()
        paint(axes)
        count += int(np.all(np.isclose(axes.images[0].get_array(), to_rgba(FOLD_COLOUR)), axis=-1).sum())
    return count


def test_constant_integer_and_borderless_volumes_can_be_drawn(registration: Registration) -> None:
    grid = registration.fixed.grid
    busy = np.random.default_rng(5).integers(1, 200, grid.shape).astype(np.uint8)
    for data in (np.zeros(grid.shape, np.uint8), busy):
        volume = Volume(data, grid)
        views = Views(volume, registration.moving, volume, registration.transform)
        assert png(views.planes, [*views.before_after(), *views.tiles()]).startswith(b"\x89PNG")
