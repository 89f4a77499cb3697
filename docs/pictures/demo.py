"""Draw the demo's pictures of README and tutorial from the panels of its report, with Pillow.

lightcrcf demo --out demo-output && python docs/pictures/demo.py demo-output docs/figures
"""

import re
import sys
from base64 import b64decode
from collections.abc import Sequence
from io import BytesIO
from itertools import accumulate
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from lightcrcf.report.boxes import Symbol
from lightcrcf.report.images import RATIO_COLOURS
from lightcrcf.report.panels import KEYS, MIDDLE, Deformation, Pictures
from lightcrcf.report.planes import Plane
from lightcrcf.report.subject import Subject

KINDS = ("fixed", "given", "affine", "moved")
LINES, DARK_LINES, INK = ("#ffd24a", "#37d5ff"), ("#334155", "#334155"), "#e2e8f0"
WIDTH, GAP, TITLE, SAMPLES = 1000, 6, 22, 2  # pixels; each is the mean of SAMPLES x SAMPLES
BAR_LABELS = ("3", "1", "1/3")


def panel(uri: str, plane: Plane, symbol: Symbol | None, colours: Sequence[str], scale: float) -> Image.Image:
    """Return one panel of the report: an embedded image, outlines over it, and the letters of its directions."""
    factor = scale * SAMPLES
    image = Image.open(BytesIO(b64decode(uri.partition(",")[2]))).convert("RGB")
    image = image.resize((round(factor * image.width), round(factor * image.height)), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(image)
    for path, colour in zip(symbol.lines if symbol else (), colours, strict=False):
        for line in polylines(path, factor):
            draw.line(line, fill=colour, width=round(1.5 * SAMPLES), joint="curve")
    small = image.resize((image.width // SAMPLES, image.height // SAMPLES), Image.Resampling.BOX)
    letters(ImageDraw.Draw(small), plane.letters, *small.size)
    return small


def polylines(path: str, factor: float) -> list[list[tuple[float, float]]]:
    """Return the polylines of an outline in pixels; `report.svg.path` writes them relative, in quarters of a voxel."""
    found = []
    for part in path.split("M")[1:]:
        numbers = [int(number) for number in re.findall(r"-?\d+", part)]
        points = accumulate(zip(numbers[::2], numbers[1::2], strict=True), lambda a, b: (a[0] + b[0], a[1] + b[1]))
        found.append([((x + 2) / 4 * factor, (y + 2) / 4 * factor) for x, y in points])
    return found


def letters(draw: ImageDraw.ImageDraw, names: str, width: int, height: int) -> None:
    """Write what lies at left, right, top and bottom."""
    places = ((8, height / 2), (width - 8, height / 2), (width / 2, 9), (width / 2, height - 9))
    for name, place in zip(names, places, strict=True):
        draw.text(place, name, fill=INK, anchor="mm", font=font(12), stroke_width=2, stroke_fill="black")


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return Pillow's own font."""
    return ImageFont.load_default(size)


def row(panels: Sequence[Image.Image], titles: Sequence[str]) -> Image.Image:
    """Put panels side by side on black, each under its title."""
    height = max(image.height for image in panels)
    picture = Image.new("RGB", (sum(image.width + GAP for image in panels) - GAP, height + TITLE))
    left = 0
    for image, title in zip(panels, titles, strict=True):
        picture.paste(image, (left, TITLE + (height - image.height) // 2))
        ImageDraw.Draw(picture).text((left + 6, TITLE / 2), title, fill=INK, anchor="lm", font=font(13))
        left += image.width + GAP
    return picture


def scale_of(planes: Sequence[Plane]) -> float:
    """Return the enlargement at which these planes fill the width."""
    return (WIDTH - GAP * (len(planes) - 1)) / sum(plane.grid.shape[1] for plane in planes)


def colour_bar(height: int) -> Image.Image:
    """Return the colours of volume ratios with their labels, largest on top."""
    colours = Image.new("RGB", (1, len(RATIO_COLOURS)))
    for place, colour in enumerate(reversed(RATIO_COLOURS)):
        colours.putpixel((0, place), tuple(int(colour[n : n + 2], 16) for n in (1, 3, 5)))
    bar = Image.new("RGB", (46, height))
    bar.paste(colours.resize((12, height - 24), Image.Resampling.BILINEAR), (4, 12))
    for place, label in enumerate(BAR_LABELS):
        at = 12 + place * (height - 24) / (len(BAR_LABELS) - 1)
        ImageDraw.Draw(bar).text((20, at), label, fill=INK, anchor="lm", font=font(12))
    return bar


def draw(folder: Path, out: Path) -> None:
    """Draw the pictures of the demo in `folder`: its stages on one plane, its result on three, and volume change."""
    pictures = Pictures(subject := Subject.read(folder))
    if subject.chain.field is None:
        raise SystemExit(f"{folder}: expected a deformable registration, got an affine one; run lightcrcf demo")
    symbols = {symbol.name: symbol for symbol in pictures.symbols}
    names, planes = [f"{key}{MIDDLE}" for key in KEYS], pictures.middles
    first, scale = names[0], scale_of([planes[0]] * len(KINDS))
    stages = [
        panel(pictures.images[f"{first}-{kind}"], planes[0], symbols[first] if kind != "fixed" else None, LINES, scale)
        for kind in KINDS
    ]
    scale = scale_of(planes)
    moved = [
        panel(pictures.images[f"{n}-moved"], p, symbols[n], LINES, scale) for n, p in zip(names, planes, strict=True)
    ]
    change = Deformation.of(subject.chain.field, pictures)
    boxes, outlines = change.maps.boxes, {symbol.name: symbol for symbol in change.symbols}
    maps = [panel(change.images[b.layers[0]], b.plane, outlines[b.outline], DARK_LINES, scale) for b in boxes]
    maps.append(colour_bar(min(image.height for image in maps)))
    for name, images, titles in (
        ("demo", stages, [pictures.titles[kind] for kind in KINDS]),
        ("demo-moved", moved, [pictures.titles["moved"], "", ""]),
        ("demo-volume", maps, ["volume change", "", "", ""]),
    ):
        row(images, titles).save(out / f"{name}.jpg", quality=88)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
