"""Draw `docs/figures/stages.svg`, the stages of a registration: python docs/pictures/stages.py."""

from pathlib import Path

# Title, what it does in two lines, and whether it runs always.
STAGES = (
    ("read", "any grid and orientation;", "a model is chosen, or none", True),
    ("brain", "cut out of a head that", "meets a bare brain", False),
    ("affine", "10, 5, 2.5 mm; many starts,", "never worse than the headers", True),
    ("prepare", "both images on one grid,", "intensities from 0 to 1", True),
    ("network", "1/16 to 1/2, fields", "composed", False),
    ("optimisation", "1/8 to 1: local correlation,", "smoothed forces", False),
    ("field", "kept if it gains enough;", "unfolded if asked", True),
    ("resample", "each image once, through", "field and affine", True),
    ("verdict", "pass, check or fail,", "with reasons", True),
)
COLUMNS, WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 3, 218, 78, 34, 34, 14
INK, LINE, ALWAYS, SOMETIMES = "#0f172a", "#64748b", "#e0f2fe", "#ffedd5"


def box(number: int) -> tuple[int, int]:
    """Left and top of a stage: rows run left to right."""
    row, column = divmod(number, COLUMNS)
    return MARGIN + column * (WIDTH + GAP_X), MARGIN + row * (HEIGHT + GAP_Y)


def stage(number: int) -> str:
    """One rectangle with its words."""
    title, first, second, always = STAGES[number]
    x, y = box(number)
    dash = "" if always else ' stroke-dasharray="6 4"'
    return (
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="8" fill="{ALWAYS if always else SOMETIMES}" '
        f'stroke="{LINE}"{dash}/>\n'
        f'<text x="{x + 12}" y="{y + 24}" font-weight="bold" font-size="16">{number + 1}. {title}</text>\n'
        f'<text x="{x + 12}" y="{y + 46}">{first}</text>\n<text x="{x + 12}" y="{y + 64}">{second}</text>'
    )


def arrow(number: int) -> str:
    """From a stage to the next one: to the right, or down to the start of the next row."""
    x, y = box(number)
    to_x, to_y = box(number + 1)
    if to_y == y:
        path = f"M {x + WIDTH} {y + HEIGHT // 2} H {to_x - 3}"
    else:
        half = y + HEIGHT + GAP_Y // 2
        path = f"M {x + WIDTH // 2} {y + HEIGHT} V {half} H {to_x + WIDTH // 2} V {to_y - 3}"
    return f'<path d="{path}" fill="none" stroke="{LINE}" stroke-width="1.6" marker-end="url(#head)"/>'


def drawing() -> str:
    """Return the whole picture."""
    rows = -(-len(STAGES) // COLUMNS)
    width = 2 * MARGIN + COLUMNS * WIDTH + (COLUMNS - 1) * GAP_X
    height = 2 * MARGIN + rows * HEIGHT + (rows - 1) * GAP_Y + 22
    parts = [stage(n) for n in range(len(STAGES))] + [arrow(n) for n in range(len(STAGES) - 1)]
    note = "dashed: only where it is needed (brain), or as model and preset say (network, optimisation)"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'font-family="sans-serif" font-size="13.5" fill="{INK}">',
            "<title>The stages of a registration</title>",
            '<defs><marker id="head" markerWidth="8" markerHeight="8" refX="6" refY="4" orient="auto">'
            f'<path d="M 0 0 L 8 4 L 0 8 z" fill="{LINE}"/></marker></defs>',
            f'<rect width="{width}" height="{height}" fill="white"/>',
            *parts,
            f'<text x="{MARGIN}" y="{height - 12}" font-size="12.5" fill="{LINE}">{note}</text>',
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    target = Path(__file__).parents[1] / "figures" / "stages.svg"
    target.write_text(drawing(), encoding="utf-8")
