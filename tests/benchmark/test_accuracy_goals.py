from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from lightcrcf_bench.accuracy.protocols import PROTOCOLS
from lightcrcf_bench.accuracy.run import record_name
from lightcrcf_bench.publish.accuracy_goals import ACCURACY_GOALS
from lightcrcf_bench.publish.accuracy_views import VIEWS
from lightcrcf_bench.records.schema import Record, merge

Maker = Callable[..., Record]
FOLDING = {"ants-syn": 0.0, "greedy-ncc": 0.2, "wild": 5.0, "lightcrcf-fast": 0.01, "lightcrcf-default": 0.7}


def results(text: str) -> dict[str, tuple[str, str]]:
    rows = [line.strip("| ").split(" | ") for line in text.splitlines()[2:]]
    return {row[0]: (row[2], row[3] if len(row) > 3 else "") for row in rows}


@pytest.fixture
def scores() -> dict[str, list[float]]:
    return {
        "identity": [0.9] * 3,
        "ants-affine": [0.95] * 3,  # deforms nothing, so that it is no rival
        "ants-syn": [0.50] * 3,
        "greedy-ncc": [0.60] * 3,
        "wild": [0.80] * 3,
        "lightcrcf-fast": [0.55] * 3,
        "lightcrcf-default": [0.62] * 3,
    }


def test_every_protocol_has_goals() -> None:
    assert set(ACCURACY_GOALS) == {record_name(protocol) for protocol in PROTOCOLS.values()}


def test_goals_that_are_reached_and_missed(make_record: Maker, scores: dict[str, list[float]]) -> None:
    del scores["wild"]
    found = results(VIEWS["goals"](make_record(scores, name="brain-accuracy", folding=FOLDING)))
    assert found["Dice of fast above ANTs SyN"] == ("0.050", "reached")
    assert found["Dice of default above the best classical method"] == ("0.020", "reached")
    assert found["Dice of accurate above the best classical method"] == ("not measured", "")
    # The fixture's seconds are ten times the Dice.
    assert found["default: times as fast as the best classical method"] == ("1.0", "missed by 9.0")
    assert found["folding of ours, mean over pairs, %"] == ("0.7000", "missed by 0.6000")


def test_times_of_different_days_or_loads_are_not_compared(make_record: Maker, scores: dict[str, list[float]]) -> None:
    del scores["wild"]
    others = {name: values for name, values in scores.items() if name != "lightcrcf-default"}
    names = {"name": "brain-accuracy", "folding": FOLDING}
    ours = make_record({"lightcrcf-default": scores["lightcrcf-default"]}, day=2, **names)
    record = merge(make_record(others, day=1, **names), ours)
    found = results(VIEWS["goals"](record))
    assert found["default: times as fast as the best classical method"] == ("not measured", "")
    assert found["Dice of default above the best classical method"] == ("0.020", "reached")
    assert record.seconds_together(["ants-syn", "lightcrcf-default"]) == []
    busy = make_record({"lightcrcf-default": scores["lightcrcf-default"]}, load=6.0, **names)
    found = results(VIEWS["goals"](merge(make_record(others, **names), busy)))
    assert found["default: times as fast as the best classical method"] == ("not measured", "")
    assert len(record.seconds_together(["ants-syn", "lightcrcf-fast"])) == 3


def test_where_folding_is_limited_those_that_fold_more_do_not_count(
    make_record: Maker, scores: dict[str, list[float]]
) -> None:
    found = results(VIEWS["goals"](make_record(scores, name="abdomen-accuracy", folding=FOLDING)))
    goal = "Dice of default above the best classical method that folds in at most 1 %"
    assert found[goal] == ("0.020", "missed by 0.030")


def test_a_method_that_ran_on_some_pairs_is_compared_on_those(
    make_record: Maker, scores: dict[str, list[float]]
) -> None:
    scores = {name: scores[name] for name in ("ants-syn", "greedy-ncc", "lightcrcf-default")}
    slow = {"ants-syncc": [0.61, math.nan, math.nan]}  # above the mean of greedy, but not above it on its pair
    scores["greedy-ncc"], scores["lightcrcf-default"] = [0.65, 0.55, 0.55], [0.68, 0.57, 0.57]
    folding = {**FOLDING, "ants-syncc": 0.0}
    record = make_record({**scores, **slow}, name="brain-accuracy", folding=folding)
    goal = "Dice of default above the best classical method"
    assert results(VIEWS["goals"](record))[goal] == ("0.023", "reached")
    record = make_record({**scores, "ants-syncc": [0.70, math.nan, math.nan]}, name="brain-accuracy", folding=folding)
    assert results(VIEWS["goals"](record))[goal] == ("-0.020", "missed by 0.015")
    assert "| ANTS-SYNCC (1 of 3 pairs) |" in VIEWS["summary"](record)
    assert "ANTS-SYNCC (1 of 3 pairs): its figures are not of all pairs" in VIEWS["summary"](record)
    assert "not run" in VIEWS["pairs"](record).splitlines()[3]
    assert any("ANTS-SYNCC | 1 | -0.0200 |  |  |  |  |" in line for line in VIEWS["dice-tests"](record).splitlines())
    assert "| ANTS-SYNCC (1 of 3 pairs) | 0.700 | 0.700 |" in VIEWS["summary"](record)


def test_distances_are_better_small(make_record: Maker, scores: dict[str, list[float]]) -> None:
    found = results(VIEWS["goals"](make_record(scores, name="cardiac-accuracy", folding=FOLDING)))
    # The fixture's HD95 is twice the Dice.
    assert found["HD95 above the least of the peers, voxels"] == ("0.10", "missed by 0.10")
    assert found["Dice above no registration"] == ("-0.350", "missed by 0.550")
