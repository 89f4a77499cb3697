"""The tables of docs/how-it-works.md say what the code does."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightcrcf.options import PRESETS
from lightcrcf.refinement.schedule import MAX_ACCURATE_VOXELS, Level, Plan, effective_preset, plan
from lightcrcf.weights.store import load, names

PAGE = (Path(__file__).parents[1] / "docs" / "how-it-works.md").read_text(encoding="utf-8")
NO_MODEL, TWO_CONTRASTS, BRAINS = "`none` (no model fits)", "two contrasts", "`brain`, two contrasts"


def table(first: str) -> list[list[str]]:
    """The rows of the table whose header begins with a word, without the rule below it."""
    rows = PAGE.partition(f"\n| {first} |")[2].partition("\n\n")[0]
    lines = [f"| {first} |{rows}".splitlines()[0], *rows.splitlines()[2:]]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def planned(row: str, preset: str) -> Plan:
    """The plan of one cell."""
    if row in (NO_MODEL, TWO_CONTRASTS):
        return plan(preset, None, across=row == TWO_CONTRASTS)
    weights = load(row.split("`")[1])
    if row == BRAINS:
        return plan(preset, weights.preparation, across=True)
    return plan(preset, weights.preparation, template=weights.template is not None)


def words(made: Plan) -> str:
    """What runs, as the page says it."""
    candidates = max((len(level.candidates()) for level in made.schedule), default=1)
    parts = ["network"] if made.network else []
    if made.schedule:
        parts.append("optimisation" + (f" of {candidates} candidates" if candidates > 1 else ""))
    return ", ".join([*parts, *(["template"] if made.template else [])]) or "affine only"


def test_the_table_has_every_model_and_preset() -> None:
    header, *rows = table("model")
    assert header == ["model", *(f"`{preset}`" for preset in PRESETS)]
    assert [row[0] for row in rows] == [*(f"`{name}`" for name in names()), NO_MODEL, BRAINS, TWO_CONTRASTS]


@pytest.mark.parametrize("row", table("model")[1:], ids=lambda row: row[0])
def test_what_runs(row: list[str]) -> None:
    assert [words(planned(row[0], preset)) for preset in PRESETS] == row[1:]


def test_default_does_what_accurate_does_on_small_grids() -> None:
    assert f"at most {MAX_ACCURATE_VOXELS / 1e6} million voxels" in PAGE
    assert effective_preset("default", MAX_ACCURATE_VOXELS) == "accurate"
    assert effective_preset("default", MAX_ACCURATE_VOXELS + 1) == "default"


def test_the_levels() -> None:
    brain = load("brain").preparation
    short = plan("default", brain).schedule
    long = [level for level in plan("accurate", brain).schedule if level.steps != 5]
    assert [row[0] for row in table("resolution")[1:]] == [_resolution(level) for level in short]
    for row, level, more in zip(table("resolution")[1:], short, long, strict=True):
        shown = [level.steps, more.steps, level.force_sigma, level.field_sigma, level.momentum, level.volume]
        assert [float(cell) for cell in row[1:]] == shown


def _resolution(level: Level) -> str:
    images, field = ("1" if scale == 1 else f"1/{scale}" for scale in (level.image_scale, level.scale))
    return images if images == field else f"{images}, field {field}"


def test_the_numbers_in_the_text() -> None:
    schedule = plan("accurate", load("abdomen-mr").preparation).schedule
    assert {2 * level.radius + 1 for level in schedule} == {5}
    assert 2 * plan("default", None).schedule[-1].radius + 1 == 7
    preparations = (load("brain").preparation, None)
    known, unknown = (plan("accurate", how).schedule[-2].min_merge_ratio for how in preparations)
    assert f"less than {known} of what" in PAGE
    assert f"({unknown} where no model fits)" in PAGE
