"""Overlap at equal smoothness, its goals, tables and figure."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lightcrcf_bench.publish import render
from lightcrcf_bench.publish import smoothness_figure as figure
from lightcrcf_bench.publish.kinds import NOT_YET, table_of
from lightcrcf_bench.smoothness.equal import at_equal_smoothness, least_gain, usual_gain
from lightcrcf_bench.smoothness.record import SmoothnessRecord, write_smoothness

Maker = Callable[..., SmoothnessRecord]
OURS = {
    "lightcrcf-default-1": [(0.2, 0.60), (0.2, 0.70)],
    "lightcrcf-default-0.5": [(0.4, 0.70), (0.4, 0.72)],
}

FRONTIER_FIGURE, DATA_SETS_SHOWN = next(iter(figure.FIGURES.items()))


def test_ours_is_interpolated_and_never_made_smoother(make_record: Maker) -> None:
    peer = {
        "greedy-1": [(0.6, 0.69), (0.5, 0.73)],  # rougher than any of ours
        "greedy-2": [(0.3, 0.62), (0.3, 0.72)],
        "greedy-4": [(0.1, 0.5), (0.1, 0.5)],  # smoother
    }
    rows = at_equal_smoothness(make_record({**OURS, **peer}), "lightcrcf-default", "greedy")
    assert [row.ours for row in rows] == [pytest.approx(0.71), pytest.approx(0.68), None]
    assert [(row.ahead, row.cases) for row in rows] == [(1, 2), (1, 2), (0, 0)]
    assert [row.theirs for row in rows] == [pytest.approx(0.71), pytest.approx(0.67), 0.5]
    record = make_record({**OURS, **peer})
    assert least_gain(record, "lightcrcf-default", "greedy") == pytest.approx(0.0)
    assert usual_gain(record, "lightcrcf-default", "greedy") == pytest.approx(0.01)
    assert least_gain(record, "lightcrcf-default", "syn") is None


def test_only_shared_cases_are_compared(make_record: Maker) -> None:
    record = make_record({**OURS, "syn-3-0": [(0.2, 0.5)]})
    (row,) = at_equal_smoothness(record, "lightcrcf-default", "syn")
    assert (row.ours, row.theirs, row.ahead, row.cases) == (0.6, 0.5, 1, 1)


def test_less_error_is_better(make_record: Maker) -> None:
    peer = {"greedy-2": [(0.2, 0.9), (0.2, 0.9)]}
    record = make_record({**OURS, **peer}, name="lung-frontier", figure="target_error_mm")
    assert usual_gain(record, "lightcrcf-default", "greedy") == pytest.approx(0.25)


def test_tables_are_rendered(make_record: Maker, tmp_path: Path) -> None:
    assert table_of("brain-frontier", "settings", tmp_path) == NOT_YET
    peer = {"greedy-2": [(0.3, 0.62), (0.3, 0.72)], "syn-3-0": [(0.3, 0.5)]}
    write_smoothness(tmp_path / "2026-03-01-brain-frontier.json", make_record({**OURS, **peer}))
    settings = table_of("brain-frontier", "settings", tmp_path)
    assert "| GREEDY-2 (its default) | 0.670 ± 0.071 | 0.300 ± 0.000 | 3.0 |" in settings
    assert "SYN-3-0 (its default) (1 of 2 cases)" in settings
    equal = table_of("brain-frontier", "equal", tmp_path)
    assert "| GREEDY-2 (its default) | 0.300 | 0.670 | 0.680 | +0.010 | 1 of 2 |" in equal
    goals = table_of("brain-frontier", "goals", tmp_path)
    assert (
        "| Dice above that of greedy NCC at equal smoothness, at its own default | at least 0.02 | 0.0100 | missed by"
        in goals
    )
    assert "SYN-3-0: set (tool 1). `run`." in table_of("brain-frontier", "methods", tmp_path)


def test_errors_are_told_for_each_maker_of_truths(make_record: Maker, tmp_path: Path) -> None:
    points = {"greedy-2": [(0.3, 0.5), (0.3, 0.7)], "lightcrcf-default-1": [(0.3, 0.25), (0.3, 0.35)]}
    record = make_record(points, name="known-deformation", figure="error_mean_mm")
    renamed = {"a <- b": "syn-3-0 1 <- 2 on 3", "b <- a": "lightcrcf-default-1 1 <- 2 on 3"}
    trials = tuple(
        t.model_copy(update={"case": renamed[t.case], "figures": {**t.figures, "truth_sdlogj_inside": 0.2}})
        for t in record.trials
    )
    data = record.data.model_copy(update={"names": tuple(renamed.values())})
    made = make_record(points, name="known-deformation", figure="error_mean_mm", data=data, trials=trials)
    write_smoothness(tmp_path / "2026-03-01-known-deformation.json", made)
    table = table_of("known-deformation", "by-truth", tmp_path)
    assert "| method | truth of syn-3-0, SDlogJ 0.20 | truth of lightcrcf-default-1, SDlogJ 0.20 |" in table
    assert "| GREEDY-2 | 0.500 (1) | 0.700 (1) |" in table
    assert "| at most 1 | 0.50 | reached |" in table_of("known-deformation", "goals", tmp_path)


def test_the_figure_has_a_panel_for_each_record(make_record: Maker, tmp_path: Path) -> None:
    history = tmp_path / render.HISTORY
    page = tmp_path / "docs" / "smoothness.md"
    page.parent.mkdir()
    page.write_text("<!-- record: brain-frontier figures -->\n<!-- end of record -->\n")
    assert figure.stale(tmp_path, history) == []
    write_smoothness(history / "2026-03-01-brain-frontier.json", make_record(OURS))
    lung = make_record({"greedy-2": [(0.3, 1.5)]}, name="lung-frontier", figure="target_error_mm")
    write_smoothness(history / "2026-03-01-lung-frontier.json", lung)
    assert [panel["error"] for panel in figure.panels(history, DATA_SETS_SHOWN)] == [False, True]
    assert figure.panels(history, DATA_SETS_SHOWN)[0]["curves"][0]["points"] == [[0.2, 0.65, True], [0.4, 0.71, False]]
    assert render.main(["--root", str(tmp_path), "--check"]) == 1
    assert render.main(["--root", str(tmp_path)]) == 0
    assert "![Overlap against smoothness](figures/frontier.svg)" in page.read_text()
    drawn = (tmp_path / FRONTIER_FIGURE).read_bytes()
    assert render.main(["--root", str(tmp_path), "--check"]) == 0
    assert figure.stale(tmp_path, history) == []
    write_smoothness(history / "2026-03-02-lung-frontier.json", lung.model_copy(update={"title": "the same"}))
    assert figure.stale(tmp_path, history) == []
    write_smoothness(history / "2026-03-03-brain-frontier.json", make_record({"greedy-2": [(0.3, 0.62)]}))
    ((_, draw),) = figure.stale(tmp_path, history)
    draw()
    assert (tmp_path / FRONTIER_FIGURE).read_bytes() != drawn
