"""`lightcrcf batch`: every option arrives, the exit codes hold, and how far it is gets said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lightcrcf import progress as throttle
from lightcrcf.batch.options import BatchOptions
from lightcrcf.batch.progress import BatchProgress
from lightcrcf.batch.summary import Summary
from lightcrcf.cli.commands.cohorts import batch as command
from lightcrcf.cli.main import run
from lightcrcf.errors import LightCRCFError, UsageError
from lightcrcf.geometry.grid import Grid
from lightcrcf.volumes import Volume, write

QUICK = ["--model", "none", "--init", "none", "--preset", "fast"]


@pytest.fixture(scope="module")
def inputs(
    grids: Callable[..., Grid],
    brains: Callable[..., tuple[Volume, Volume]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Three small persons."""
    folder = tmp_path_factory.mktemp("inputs")
    for person in range(3):
        write(folder / f"p{person}.nii.gz", brains(grids((25, 31, 22), (6.0, 6.1, 6.2)), person=person)[0])
    (folder / "pairs.csv").write_text("fixed,moving,id\np0.nii.gz,p1.nii.gz,one\np0.nii.gz,p2.nii.gz,two\n")
    return folder


def test_a_table_of_pairs(inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["batch", str(inputs / "pairs.csv"), "--out", str(tmp_path / "out"), *QUICK]) == 0
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    first, then, last = stderr.splitlines()
    assert first == f"2 pairs to register; results go to {tmp_path / 'out'}"
    assert then.startswith("2 pairs: ")
    assert last.startswith(f"results: {tmp_path / 'out' / 'index.html'}, ")
    assert {p.name for p in (tmp_path / "out" / "pairs").iterdir()} == {"one", "two"}
    assert run(["batch", str(inputs / "pairs.csv"), "--out", str(tmp_path / "out"), *QUICK]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert run(["batch", str(inputs / "pairs.csv"), "--out", str(tmp_path / "out"), *QUICK, "--resume", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pairs"] == 2


def test_images_to_a_template_and_each_to_each(inputs: Path, tmp_path: Path) -> None:
    images = [str(inputs / f"p{n}.nii.gz") for n in range(3)]
    assert run(["batch", "--to", images[0], *images[1:], "--out", str(tmp_path / "to"), *QUICK]) == 0
    assert {p.name for p in (tmp_path / "to" / "pairs").iterdir()} == {"p1", "p2"}
    assert run(["batch", "--all-pairs", *images[:2], "--out", str(tmp_path / "all"), *QUICK]) == 0
    assert {p.name for p in (tmp_path / "all" / "pairs").iterdir()} == {"p0-to-p1", "p1-to-p0"}


@pytest.mark.parametrize(
    "words",
    [
        ["a.nii", "b.nii"],
        ["a.nii"],
        ["a.csv", "b.csv"],
        ["--to", "t.nii", "--all-pairs", "a.nii", "b.nii"],
        ["--all-pairs", "a.nii"],
        ["a.csv", "--preset", "best"],
        ["a.csv", "--workers", "0"],
        [],
    ],
)
def test_what_does_not_say_what_goes_with_what_is_2(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["batch", *words, "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["batch", "template"])
def test_a_folder_is_told_to_name_its_images(
    command: str, inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "p0.nii.gz").touch()
    assert run([command, str(tmp_path / "images"), "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert f"got a folder with 1 of them, such as p0.nii.gz; name them: {tmp_path / 'images' / '*.nii.gz'}" in err
    assert ("with --to TEMPLATE or --all-pairs" in err) == (command == "batch")
    assert not (tmp_path / "out").exists()


def test_every_option_reaches_the_batch(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def stop(pairs: Any, out: Path, options: BatchOptions, **how: Any) -> None:
        seen.update(ids=[p.id for p in pairs], out=out, options=options, **how)
        raise UsageError("stop", expected="this", got="that", remedy="stop")

    monkeypatch.setattr("lightcrcf.batch.run.run_batch", stop)
    options = (
        "--workers 2 --scheduler tcp://x:1 --retry-failed --model m --init i --preset accurate --refine 4 "
        "--diffeomorphic --inverse --report --engine torch --device cuda --precision bf16 --threads 3 --coarsen 2 "
        "--smoothness 0.5 --jacobian --similarity same --transform rigid "
        "--channel-weight 2 --channel-weight 1"
    )
    assert run(["batch", str(inputs / "pairs.csv"), "--out", str(tmp_path), *options.split()]) == 2
    assert callable(seen.pop("progress"))
    assert callable(seen.pop("begun"))
    assert seen == {
        "ids": ["one", "two"],
        "out": tmp_path,
        "options": BatchOptions(
            "m",
            "i",
            "accurate",
            4,
            True,
            True,
            2,
            "torch",
            "cuda",
            "bf16",
            3,
            smoothness=0.5,
            jacobian=True,
            similarity="same",
            transform="rigid",
            channel_weights=(2.0, 1.0),
            report=True,
        ),
        "workers": 2,
        "scheduler": "tcp://x:1",
        "resume": True,
        "retry_failed": True,
    }


def test_pairs_without_a_result_make_the_exit_code(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pairs.csv").write_text(
        f"fixed,moving\n{inputs / 'p0.nii.gz'},{inputs / 'p1.nii.gz'}\nno.nii,such.nii\n"
    )
    assert run(["batch", str(tmp_path / "pairs.csv"), "--out", str(tmp_path / "out"), *QUICK]) == 3
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")
    assert "1 without" in last
    assert "--retry-failed" in last


@pytest.mark.parametrize(
    ("codes", "verdicts", "code"), [([3, 5], 1, 5), ([3, 1, 5], 1, 1), ([3], 1, 3), ([], 1, 4), ([], 0, 0)]
)
def test_the_most_serious_failure_counts(codes: list[int], verdicts: int, code: int, tmp_path: Path) -> None:
    failures = {str(n): {"exit_code": c, "message": "why"} for n, c in enumerate(codes)}
    summary = Summary(9, {"pass": 3, "fail": verdicts, "failed": len(codes)}, failures)
    if code:
        with pytest.raises(LightCRCFError) as caught:
            command.raise_for(summary, tmp_path, fail_on_qc=True)
        assert caught.value.exit_code == code
    else:
        command.raise_for(summary, tmp_path, fail_on_qc=True)
    if not codes:
        command.raise_for(summary, tmp_path, fail_on_qc=False)


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    monkeypatch.setattr(throttle.time, "monotonic", lambda: now[0])
    with command.follow_batch(Path("study")) as follower:
        follower.begun(9)
        for done in range(1, 9):
            now[0] += 10.0
            follower.progress(BatchProgress(9, done, 0, now[0]))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "9 pairs to register; results go to study",
        "3 of 9 pairs, 360 an hour, 1 min left",
        "6 of 9 pairs, 360 an hour, 30 s left",
    ]
