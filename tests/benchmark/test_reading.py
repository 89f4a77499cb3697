"""Reports for somebody to tell apart: what is drawn, and how an answer is scored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lightcrcf.errors import InputError
from lightcrcf_bench.quality.reading import draw, main, reading_text, scored

KINDS = ("mirrored", "half missing", "noise", "shuffled", "turned, no affine", "other anatomy", "other contrast")


def record() -> dict[str, Any]:
    cases = []
    for number in range(140):
        kind = "good" if number % 2 else KINDS[number // 2 % len(KINDS)]
        anatomy = "oasis" if number % 3 else "acdc"
        dice = 0.8 if kind == "good" or number % 5 == 0 else 0.1
        split = "val" if number % 7 else "train"
        cases.append({"number": number, "kind": kind, "anatomy": anatomy, "split": split, "dice": dice})
    return {"good_dice": {"oasis": 0.5, "acdc": 0.65}, "cases": cases}


@pytest.mark.parametrize("seed", range(6))
def test_five_good_and_five_broken_ones_of_persons_held_out(seed: int) -> None:
    drawn = draw(record(), seed)
    assert drawn == draw(record(), seed)
    assert {case["split"] for case in drawn} == {"val"}
    good = [case for case in drawn if case["kind"] == "good"]
    broken = [case for case in drawn if case["kind"] != "good"]
    assert (len(good), len(broken)) == (5, 5)
    assert all(case["dice"] == 0.8 for case in good)
    assert all(case["dice"] == 0.1 for case in broken)
    assert len({case["kind"] for case in broken}) == 5
    assert ("mirrored", "oasis") not in {(case["kind"], case["anatomy"]) for case in broken}


def key() -> dict[str, Any]:
    good = {"number": 1, "anatomy": "acdc", "kind": "good", "preset": "fast", "dice": 0.8, "verdict": "pass"}
    bad = {**good, "kind": "noise", "dice": 0.2, "verdict": "fail"}
    return {"seed": 3, "quality": "2026-01-01-quality.json", "cases": {"01": good, "02": bad, "03": bad, "04": good}}


def test_an_answer_is_scored_and_told() -> None:
    text = reading_text(scored(key(), ["02", "04"], "a tester"))
    assert "| 02 | acdc | noise | 0.20 | fail | broken |" in text
    assert "a tester: 1 of 2 broken ones named, and 1 of 2 good ones." in text
    with pytest.raises(InputError, match="09"):
        scored(key(), ["09"], "a tester")


def test_the_command_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "key.json").write_text(json.dumps(key()))
    out = tmp_path / "2026-01-02-reading.json"
    assert main(["score", str(tmp_path), "--named", "02", "03", "--reader", "me", "--out", str(out)]) == 0
    assert json.loads(out.read_text())["cases"]["03"]["named"]
    assert "2 of 2 broken ones named, and 0 of 2 good ones" in capsys.readouterr().out
