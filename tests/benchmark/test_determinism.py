"""What the documents say of equal results is what the record says, and what the command measures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lightcrcf.volumes import Volume, write
from lightcrcf_bench.stress import determinism

HISTORY = Path(__file__).parents[2] / "benchmarks" / "history"


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    newest = sorted(HISTORY.glob("????-??-??-determinism.json"))[-1]
    told: dict[str, Any] = json.loads(newest.read_text(encoding="utf-8"))
    return told


def test_the_record_says_what_docs_say(record: dict[str, Any]) -> None:
    rows = record["differences"]
    f32 = [row for row in rows if row["engine"] != "torch" and row["precision"] == "f32"]
    assert {(row["preset"], row["threads"]) for row in f32} == {(p, t) for p in ("default", "fast") for t in (1, 2)}
    assert all(row["same_bytes"] and row["max_mm"] == 0 for row in f32)
    torch = next(row for row in rows if row["engine"] == "torch")
    assert torch["max_mm"] < 1e-4
    bf16 = next(row for row in rows if row["precision"] == "bf16")
    assert bf16["mean_mm"] < 0.02
    assert bf16["p99_mm"] < 0.1


def test_a_pair_is_compared_with_itself_at_other_threads(
    pair: tuple[Volume, Volume], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [tmp_path / "fixed.nii.gz", tmp_path / "moving.nii.gz"]
    for path, volume in zip(files, pair, strict=True):
        write(path, volume)
    how = {"preset": "fast", "engine": "native", "precision": "f32"}
    monkeypatch.setattr(determinism, "SETTINGS", tuple({**how, "threads": threads} for threads in (2, 2, 1)))
    monkeypatch.setattr(determinism.measure, "__defaults__", (determinism.SETTINGS,))
    words = ["--fixed", str(files[0]), "--moving", str(files[1]), "--out", str(tmp_path / "record.json")]
    assert determinism.main(words) == 0
    rows = json.loads((tmp_path / "record.json").read_text())["differences"]
    assert [(row["threads"], row["same_bytes"], row["max_mm"]) for row in rows] == [(2, True, 0.0), (1, True, 0.0)]
