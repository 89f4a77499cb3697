"""The short version of the command that tries to break things, and that each of its trials can fail."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from lightcrcf.errors import InputError, UsageError
from lightcrcf.registration.register import Registration, register
from lightcrcf.registration.save import save
from lightcrcf_bench.records import history
from lightcrcf_bench.records.robustness import FORMAT, ROBUSTNESS
from lightcrcf_bench.stress import fuzz, fuzz_guided, interruption, resource_exhaustion, robustness, soak, trials
from lightcrcf_bench.stress.orientations import arrange
from lightcrcf_bench.stress.trials import Subjects, TrialResult

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="as the benchmarks are")


@pytest.fixture(scope="module")
def subjects(data: Path) -> Subjects:
    return robustness._hippocampi(data)[0]


@pytest.fixture(scope="module")
def found(subjects: Subjects) -> Registration:
    files = {"moving_labels": [subjects.labels], "inverse": True, "model": "none"}
    return register(subjects.fixed, subjects.moving, **files)  # type: ignore[arg-type]


@pytest.mark.skipif(find_spec("atheris") is None, reason="Atheris has wheels for Linux on x86-64 only")
def test_guided_files_are_the_same_every_time_and_reach_more_than_one_ending(tmp_path: Path) -> None:
    content = fuzz.originals(tmp_path)[".nrrd"].read_bytes()
    first, second = (fuzz_guided.campaign(60, ".nrrd", content, first=7) for _ in range(2))
    assert first["ended"] == second["ended"]
    assert set(first["ended"]) <= {"read", "refused"}
    assert (sum(first["ended"].values()), first["lost"]) == (60, [])


def test_guided_fuzzing_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_guided, "find_spec", lambda _name: None)
    with pytest.raises(UsageError, match="atheris"):
        fuzz_guided.campaign(1, ".csv", b"x")


def test_growth_finds_a_leak_among_noise_and_none_where_there_is_none() -> None:
    noise = np.random.default_rng(2).normal(scale=2.0, size=300)
    slope, low, high = soak.growth((500 + noise + 0.03 * np.arange(300)).tolist())
    assert low < 3.0 < high
    assert slope == pytest.approx(3.0, abs=1.0)
    assert slope > soak.MOST_MIB
    slope, low, high = soak.growth((500 + noise).tolist())
    assert low < 0 < high
    assert slope < soak.MOST_MIB


@pytest.mark.data
def test_some_pairs_in_one_process_do_not_grow_it(data: Path) -> None:
    """Results left behind would be 250 MiB for 100 pairs; one jump of the allocator by 25 MiB is at most 80."""
    told = soak.endure(robustness._hippocampi(data)[1][:1], 40)
    assert told["pairs"] == len(told["resident_mib"]) == 40
    assert told["mib_per_100_pairs"] < 125.0, told["resident_mib"]


def test_a_process_that_dies_does_not_pass(tmp_path: Path) -> None:
    told = soak.endure([(tmp_path / "none.nii", tmp_path / "none.nii")], 3)
    assert (told["pairs"], told["passed"]) == (0, False)


@pytest.mark.data
def test_interrupted_runs_are_whole_or_absent_and_can_be_repeated(subjects: Subjects) -> None:
    rows = interruption.interrupt(subjects, (1, 3))
    assert [(row.what, row.times) for row in rows] == [("Ctrl-C", 1), ("kill -9", 1), ("a run after these", 1)]
    assert all(not row.faults for row in rows), rows


@pytest.mark.parametrize(
    ("code", "told", "sent", "right"),
    [
        (0, "results: x\n", signal.SIGINT, True),
        (130, "interrupted\n", signal.SIGINT, True),
        (-2, "", signal.SIGINT, True),
        (-9, "half a li", signal.SIGKILL, True),
        (1, "Traceback\n File runpy.py\nKeyboardInterrupt\n", signal.SIGINT, True),
        (130, "interrupted\nException ignored in lightcrcf\n", signal.SIGINT, False),
        (1, "Traceback\n File lightcrcf/x.py\nKeyboardInterrupt\n", signal.SIGINT, False),
        (1, "", signal.SIGKILL, False),
    ],
)
def test_what_an_interruption_may_end_with(code: int, told: str, sent: int, right: bool) -> None:
    assert (not interruption._faults_of_end(code, told, sent)) == right


@pytest.mark.data
def test_a_folder_that_is_not_whole_is_found_out(found: Registration, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert trials.faults_of(out) == []
    save(found, out, extra_files={"report.html": lambda path: Path(path).write_text("<html></html>") and None})
    assert trials.faults_of(out) == []
    assert trials.left_in(tmp_path, "run") == []
    wanted = {path.name: "0" for path in out.iterdir()}
    assert "moved.nii.gz has other bytes" in trials.faults_of(out, wanted)
    for name, damage in (("moved.nii.gz", b""), ("affine.tfm", None), ("run.json", None)):
        copy = tmp_path / f"without {name}"
        shutil.copytree(out, copy)
        (copy / name).unlink() if damage is None else (copy / name).write_bytes(damage)
        assert trials.faults_of(copy), name


@pytest.mark.data
def test_too_little_disk_leaves_nothing(
    found: Registration, subjects: Subjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource_exhaustion, "register", lambda *_volumes, **_options: found)
    for with_mount in (True, False):
        if not with_mount:
            monkeypatch.setattr(resource_exhaustion, "_mounted", lambda _folder, _options: False)
        disk, operations = resource_exhaustion.scarce_disk(subjects, 3)
        assert (disk.times, disk.faults, operations.faults) == (3, (), ())
        assert operations.times > 8


@pytest.mark.data
def test_a_save_that_leaves_something_is_found_out(
    found: Registration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(_found: Registration, out: Path) -> None:
        (out.parent / "stray").write_text("")
        raise OSError(28, "No space left")

    monkeypatch.setattr(resource_exhaustion, "_save", careless)
    faults = resource_exhaustion._refused(found, tmp_path / "run")
    assert len(faults) == 2
    assert "left behind: stray" in faults


def test_more_memory_than_there_is_is_refused() -> None:
    tried = resource_exhaustion.scarce_memory(short=True)
    assert (tried.times, tried.faults) == (1, ())


@pytest.mark.data
def test_a_few_arrangements_meet_in_the_same_place(subjects: Subjects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightcrcf_bench.stress.orientations.register", _affine_only)
    rows = {row.what: row for row in arrange(subjects, [29])}
    assert {"axis orders", "oblique", "big-endian", "qform only", "sform only"} < set(rows)
    assert not any(row.faults for row in rows.values()), rows


def _affine_only(fixed: object, moving: object) -> Registration:
    return register(fixed, moving, model="none", preset="fast", init="none")


def test_the_command_goes_on_where_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[str] = []

    def part(name: str, *faults: str) -> list[TrialResult]:
        done.append(name)
        return [TrialResult("things", 2, faults, {"s": float(len(done))})]

    todo = {"first": lambda: part("first"), "second": lambda: part("second", "it broke")}
    monkeypatch.setattr(robustness, "parts", lambda *_data, **_counts: todo)
    words = ["--data", str(tmp_path), "--out", str(tmp_path / "2026-01-02-robustness.json")]
    assert robustness.main([*words, "--only", "first"]) == 1  # one is left
    assert robustness.main(words) == 1  # one broke
    assert done == ["first", "second"]
    record = history.plain(history.newest(tmp_path, ROBUSTNESS), FORMAT)
    assert record["parts"]["second"][0]["faults"] == ["it broke"]
    assert "| things | 4 | 1 | 2 s |" in capsys.readouterr().out


def test_a_file_that_is_no_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "2026-01-02-robustness.json"
    for text in ("{", json.dumps({"format": "other"})):
        path.write_text(text)
        with pytest.raises(InputError):
            history.plain(path, FORMAT)
    with pytest.raises(InputError, match="none"):
        history.newest(tmp_path / "empty", ROBUSTNESS)


@pytest.mark.data
def test_all_parts_are_there(data: Path) -> None:
    todo = robustness.parts(data, files=10_000, pairs=500, interruptions=50)
    assert {"guided .json", "mutated .nii", "interruptions 40 to 49", "disk", "memory", "500 pairs"} < set(todo)


def test_processes_get_the_terminal_s_interrupt_although_it_is_ignored_here() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = trials.started([sys.executable, "-c", "import os; os.kill(os.getpid(), 2)"])
        code, told = trials.ended(process, 30)
    finally:
        signal.signal(signal.SIGINT, before)
    assert code in (-signal.SIGINT, 1, 130)
    assert "KeyboardInterrupt" in told or code < 0
    assert os.getpid() != process.pid
