"""The report is one file, holds its pictures, and believes nothing that a file name says."""

from __future__ import annotations

import re
from base64 import b64decode
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lightcrcf.quality.label_check import LabelMapRecord, Structure
from lightcrcf.quality.verdict import Quality
from lightcrcf.registration.register import Registration
from lightcrcf.report.html import report_page
from lightcrcf.report.subject import Subject
from lightcrcf.run_record.input_files import Source
from lightcrcf.transforms.chain import Chain
from lightcrcf.volumes import Volume

MOST_BYTES = 3_000_000
OVERLAPPING = Structure(moving_mm3=10.0, moved_mm3=9.0, ratio=0.9, dice=0.5)
OVERLAPPING = Structure(moving_mm3=10.0, moved_mm3=9.0, ratio=0.9, dice=0.5)


class Checker(HTMLParser):
    """Every tag that opens must close; what refers to something is collected."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.symbols: set[str] = set()
        self.uses: set[str] = set()
        self.classes: set[str] = set()
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "symbol":
            self.symbols.add(f"#{given['id']}")
        if tag == "use":
            self.uses.add(str(given["href"]))
        self.classes.update(str(given.get("class", "")).split())
        self.outside += [str(given[n]) for n in ("src", "href") if n in given and not str(given[n]).startswith("#")]
        if tag not in ("meta", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parse(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    return checker


def rules(page: str) -> dict[str, bytes]:
    """Class of each picture and its file."""
    found = re.findall(r"\.([acs][0-9d]-[a-z]+)\{background-image:url\(data:image/[a-z]+;base64,([^)]+)\)\}", page)
    return {name: b64decode(content) for name, content in found}


@pytest.fixture(scope="module")
def page(registration: Registration) -> str:
    return report_page(Subject.of(registration), out="runs/a b")


def test_the_page_is_whole_and_needs_nothing_else(page: str, registration: Registration) -> None:
    checker, pictures = parse(page), rules(page)
    assert checker.outside == []
    assert checker.uses <= checker.symbols
    assert {name for name in checker.classes if re.fullmatch(r"[acs][0-9d]-[a-z]+", name)} <= pictures.keys()
    assert len(pictures) == 3 * 5 * 4 + 3 * 2  # orientations, slices, images; the map and what lies under the grid
    assert all(content.startswith((b"\xff\xd8\xff", b"\x89PNG")) for content in pictures.values())
    assert "default-src 'none'" in page
    assert len(page.encode()) < MOST_BYTES
    assert f'<span class="verdict {registration.quality.verdict}">' in page


def test_it_says_how_to_repeat_the_run(page: str) -> None:
    assert "lightcrcf register --from &#39;runs/a b/run.json&#39; --out &#39;runs/a b-again&#39;" in page
    assert "--out &#39;runs/a b&#39; --model none" in page
    assert "lightcrcf apply --reference" in page


def test_it_names_every_figure_that_was_judged_and_every_stage(page: str, registration: Registration) -> None:
    assert len(registration.quality.judged) > 5
    assert page.count('<span class="state ') == len(registration.quality.judged)
    took = [stage for stage, seconds in registration.record.timings_s.items() if seconds >= 0.005]
    assert len(took) > 2
    assert all(f"<th>{stage}</th>" in page for stage in (*took, "all stages"))


def test_the_same_run_gives_the_same_page(page: str, registration: Registration) -> None:
    assert report_page(Subject.of(registration), out="runs/a b") == page


def test_an_affine_result_has_no_deformation_and_names_cannot_inject_markup(registration: Registration) -> None:
    chain, fixed = registration.transform, registration.fixed
    nasty = replace(
        registration,
        transform=Chain(chain.before, None, chain.after),
        fixed=Volume(fixed.data, fixed.grid, "<script>alert(1)</script>.nii"),
        record=replace(
            registration.record,
            qc=Quality(verdict="fail", reasons=("<b>bold</b>",), remarks=(), judged=(), limits=None),
            sources=(Source(role="fixed", path="</style><img src=x>", sha256="<i>"),),
            labels=(LabelMapRecord(source="<u>", structures={"<s>": OVERLAPPING}, notes=("<em>",)),),
        ),
    )
    page = report_page(Subject.of(nasty), out="<kbd>")
    parse(page)
    assert "the result is affine only" in page
    assert "Do not use this result" in page
    markup = ("<script>alert", "<b>bold", '<i>"', "<u>", "<s>", "<em>", "<kbd>", "<img", "</style><")
    assert not any(tag in page for tag in markup)


def test_no_text_of_a_record_becomes_markup(registration: Registration) -> None:
    """Whatever can be chosen by who names files, weights or machines is text on the page, in attributes too."""
    nasty = "zqx\"'></style></script><img src=x onerror=alert(1)>&"
    record = poisoned(registration.record, nasty)
    record = replace(
        record,
        qc=replace(record.qc, verdict="check"),  # the only text of the page that is chosen from a list
        labels=(LabelMapRecord(source=nasty, structures={nasty: OVERLAPPING}, notes=(nasty,)),),
        timings_s={**registration.record.timings_s, nasty: 1.0},
    )
    volumes = {role: replace(getattr(registration, role), source=nasty) for role in ("fixed", "moving")}
    page = report_page(Subject.of(replace(registration, record=record, **volumes)), out=nasty)
    parse(page)
    shown = re.findall(r"zqx(\\?&#34;|)", page)  # JSON puts a backslash before a quote
    assert len(shown) > 100
    assert all(shown)
    assert "<img" not in page
    assert page.count("</style>") == page.count("</script>") == 1


def poisoned(value: Any, text: str) -> Any:
    """Put `text` in place of all text in a record."""
    if is_dataclass(value):
        return replace(value, **{field.name: poisoned(getattr(value, field.name), text) for field in fields(value)})
    if is_dataclass(value):
        return replace(value, **{field.name: poisoned(getattr(value, field.name), text) for field in fields(value)})
    if isinstance(value, dict):
        return {key: poisoned(each, text) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(poisoned(each, text) for each in value)
    return text if isinstance(value, str) else value


def test_folds_have_a_colour_of_their_own_on_the_map(registration: Registration, page: str) -> None:
    def magenta(page: str) -> int:
        found = rules(page)
        maps = [np.asarray(Image.open(BytesIO(found[f"{key}d-ratio"])).convert("RGB")) for key in "acs"]
        return sum(int((each == (255, 0, 255)).all(axis=-1).sum()) for each in maps)

    field = registration.transform.field
    assert field is not None
    assert field.jacobian_determinant().min() < 0
    assert magenta(page) > 0
    weak = replace(field, displacement=field.displacement * np.float32(0.2))
    chain = Chain(registration.transform.before, weak, registration.transform.after)
    assert magenta(report_page(Subject.of(replace(registration, transform=chain)), out="run")) == 0


def test_labels_are_listed_the_worst_first(registration: Registration) -> None:
    structures = {
        "7": Structure(moving_mm3=10.0, moved_mm3=9.0, ratio=0.9, dice=0.875),
        "9": Structure(moving_mm3=10.0, moved_mm3=0.0, ratio=0.0, dice=0.25),
        "11": Structure(moving_mm3=10.0, moved_mm3=10.0, ratio=1.0),
    }
    labels = (LabelMapRecord(source="seg.nii.gz", structures=structures, notes=("lost altogether: 9",)),)
    changed = replace(registration, record=replace(registration.record, labels=labels))
    page = report_page(Subject.of(changed), out="run")
    assert "Mean Dice of 2 labels with the fixed labels: <b>0.562</b>" in page
    assert "lost altogether: 9" in page
    assert page.index("0.250") < page.index("0.875")


def test_folds_are_counted_and_marked(registration: Registration, page: str) -> None:
    field = registration.transform.field
    assert field is not None
    assert "Space folds at" in page
    assert page.count('class="ring"') == 3
    weak = replace(field, displacement=field.displacement * np.float32(0.2))
    chain = Chain(registration.transform.before, weak, registration.transform.after)
    flat = report_page(Subject.of(replace(registration, transform=chain)), out="run")
    assert "Space folds at none of the" in flat
    assert 'class="ring"' not in flat


def test_constant_integer_and_borderless_volumes_can_be_drawn(registration: Registration) -> None:
    grid = registration.fixed.grid
    busy = np.random.default_rng(5).integers(1, 200, grid.shape).astype(np.uint8)
    for data in (np.zeros(grid.shape, np.uint8), busy):
        volume = Volume(data, grid)
        parse(report_page(Subject.of(replace(registration, fixed=volume, moved=volume)), out="run"))


def _mask(volume: Volume, middle_mm: Any, radius_mm: float) -> Volume:
    world = volume.grid.world(np.moveaxis(np.indices(volume.grid.shape), 0, -1))
    return Volume((np.linalg.norm(world - middle_mm, axis=-1) > radius_mm).astype(np.uint8), volume.grid, "mask")


def test_what_masks_leave_out_is_shaded_and_has_pictures_of_its_own(registration: Registration) -> None:
    tissue = np.argwhere(registration.fixed.data > 0)
    place = registration.fixed.grid.world(tissue.mean(axis=0)) + np.array([30, 20, 15])
    there = registration.transform.points(place[None])[0]
    masks = _mask(registration.fixed, place, 12), _mask(registration.moving, there, 12)
    for given in ((masks[0], None), (None, masks[1])):
        page = report_page(Subject.of(replace(registration, masks=given)), out="run")
        checker = parse(page)
        assert checker.uses <= checker.symbols
        assert "shaded within dashes" in page
        assert page.count("through what the masks leave out") == 2
        assert {f".{key}m-{kind}{{" in page for key in "acs" for kind in ("fixed", "moved")} == {True}
        for key in "acs":
            symbol = re.search(rf'<symbol id="o-{key}m".*?</symbol>', page)
            assert symbol is not None
            assert 'class="out"' in symbol[0]


def test_a_mask_that_leaves_little_is_shaded_everywhere(registration: Registration) -> None:
    lesion = _mask(registration.fixed, registration.fixed.grid.world(np.array(registration.fixed.data.shape) / 2), 12)
    inverted = Volume(1 - lesion.data, lesion.grid, "mask")
    page = report_page(Subject.of(replace(registration, masks=(inverted, None))), out="run")
    assert "through what the masks leave out" not in page
    assert page.count('class="out"') >= 15


def test_without_masks_nothing_is_shaded(page: str) -> None:
    assert 'class="out"' not in page
    assert "shaded" not in page
