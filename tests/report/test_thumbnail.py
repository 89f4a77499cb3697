"""The small picture of a registration is one file that holds its images."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from base64 import b64decode
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from lightcrcf.cache.registration import RegistrationCache
from lightcrcf.registration.register import Registration
from lightcrcf.report.thumbnail import Outlined, Thumbnail, write_thumbnail
from lightcrcf.volumes import Volume

SVG = "{http://www.w3.org/2000/svg}"
MOST_BYTES = 100_000


def test_it_is_a_whole_drawing_and_the_same_input_gives_the_same_bytes(
    registration: Registration, tmp_path: Path
) -> None:
    shared = RegistrationCache()
    for name in ("one.svg", "two.svg"):
        write_thumbnail(tmp_path / name, registration.fixed, registration.moved, shared)
    write_thumbnail(tmp_path / "three.svg", registration.fixed, registration.moved, RegistrationCache())
    content = (tmp_path / "one.svg").read_bytes()
    assert content == (tmp_path / "two.svg").read_bytes() == (tmp_path / "three.svg").read_bytes()
    assert len(content) < MOST_BYTES
    drawing = ET.fromstring(content)
    assert drawing.tag == f"{SVG}svg"
    images = list(drawing.iter(f"{SVG}image"))
    assert len(images) == 3
    for image in images:
        kind, _, data = str(image.get("href")).partition(",")
        assert kind == "data:image/jpeg;base64"
        assert np.asarray(Image.open(BytesIO(b64decode(data)))).max() > 100
    assert {path.get("stroke") for path in drawing.iter(f"{SVG}path")} == {"#ffd24a", "#37d5ff"}


def test_tiles_stand_beside_one_another_within_the_drawing(registration: Registration) -> None:
    found = Thumbnail.of(Outlined.of(registration.fixed), registration.moved)
    ends = [tile.x - 2 + tile.width for tile in found.tiles]
    starts = [tile.x - 2 for tile in found.tiles]
    assert starts[0] == 0
    assert all(start > end for start, end in zip(starts[1:], ends, strict=False))
    assert ends[-1] == found.width
    for tile in found.tiles:
        assert tile.y - 2 >= 0
        assert tile.y - 2 + tile.height <= found.height


def test_constant_integer_and_borderless_volumes_can_be_drawn(registration: Registration, tmp_path: Path) -> None:
    grid = registration.fixed.grid
    busy = np.random.default_rng(5).integers(1, 200, grid.shape).astype(np.uint8)
    for data in (np.zeros(grid.shape, np.uint8), busy):
        write_thumbnail(tmp_path / "picture.svg", Volume(data, grid), Volume(data, grid), RegistrationCache())
        assert len(list(ET.parse(tmp_path / "picture.svg").iter(f"{SVG}image"))) == 3
