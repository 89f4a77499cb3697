"""The short version of the fuzzing command: some damaged files of each format, in this process."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from lightcrcf_bench.stress import fuzz


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return fuzz.originals(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("suffix", fuzz.FORMATS)
def test_damaged_files_are_read_or_refused_in_one_line(suffix: str, files: dict[str, Path], tmp_path: Path) -> None:
    content, path = files[suffix].read_bytes(), tmp_path / f"b{suffix}"
    for seed in range(10 if suffix in (".nrrd", ".mha") else 40):  # these in a process for each
        path.write_bytes(fuzz.mutated(content, np.random.default_rng(seed)))
        ended, seconds, _ = fuzz.try_reading(suffix, path)
        assert ended in ("read", "refused"), (seed, ended)
        assert seconds < fuzz.LONGEST_S


@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".csv"])
def test_mutations_are_the_same_every_time_and_never_the_file_itself(suffix: str, files: dict[str, Path]) -> None:
    content = files[suffix].read_bytes()
    for seed in range(50):
        first, second = (fuzz.mutated(content, np.random.default_rng(seed)) for _ in range(2))
        assert first == second != content


def test_the_command_counts_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "FORMATS", {".csv": fuzz.FORMATS[".csv"]})
    originals = fuzz.originals
    monkeypatch.setattr(fuzz, "originals", lambda folder: {".csv": originals(folder)[".csv"]})
    assert fuzz.main(["--count", "30", "--out", str(tmp_path / "record.json")]) == 0
    record = json.loads((tmp_path / "record.json").read_text())
    assert sum(record["formats"][".csv"]["ended"].values()) == record["files"] == 30


def test_a_reader_that_dies_is_counted_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    context = fuzz.multiprocessing.get_context("fork")
    monkeypatch.setattr(fuzz.multiprocessing, "get_context", lambda _kind: context)
    monkeypatch.setitem(fuzz.FORMATS, ".csv", lambda path: os._exit(9) if path.stat().st_size % 5 == 0 else None)
    told = fuzz.campaign(30, ".csv", b"x,y,z\n1,2,3\n")
    assert told["ended"]["hung or died"] == len(told["lost"]) > 0
    assert sum(told["ended"].values()) == 30
