"""Make the pictures of README and tutorial of what `lightcrcf demo` left: python docs/pictures/demo.py demo-output."""

import sys
from pathlib import Path

from PIL import Image

FIGURES = Path(__file__).parents[1] / "figures"
ROWS, QUALITY = 4, 82
AXIAL = 0.312  # of the width is the axial plane, the first of three


def rows(picture: Image.Image, count: int) -> list[Image.Image]:
    """The rows of a picture, each with its title."""
    height = picture.height / count
    return [picture.crop((0, round(n * height), picture.width, round((n + 1) * height))) for n in range(count)]


def strip(parts: list[Image.Image], width: int) -> Image.Image:
    """Side by side, so wide in all."""
    joined = Image.new("RGB", (sum(part.width for part in parts), max(part.height for part in parts)))
    left = 0
    for part in parts:
        joined.paste(part, (left, 0))
        left += part.width
    return joined.resize((width, round(joined.height * width / joined.width)), Image.Resampling.LANCZOS)


def main(folder: Path) -> None:
    """Write three small JPEG files."""
    before_after = Image.open(folder / "before_after.png").convert("RGB")
    axial = [row.crop((0, 0, round(AXIAL * row.width), row.height)) for row in rows(before_after, ROWS)]
    deformation = rows(Image.open(folder / "deformation.png").convert("RGB"), 2)
    pictures = {
        "demo.jpg": strip(axial, 1000),
        "demo-moved.jpg": strip([rows(before_after, ROWS)[3]], 900),
        "demo-volume.jpg": strip([deformation[1]], 900),
    }
    for name, picture in pictures.items():
        picture.save(FIGURES / name, quality=QUALITY, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
