"""Standard streams that are closed, or whose other end went away: daemons, schedulers, pipes that end early."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lightcrcf.geometry.grid import Grid
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.itk import AFFINE_NAME, write_affine
from lightcrcf.volumes import Volume, read, write

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX shells and pipes")

APPLY = "apply --reference f.nii.gz --input f.nii.gz --transform run --output moved.nii.gz"
EVALUATE = "evaluate --fixed-labels l.nii.gz --moved-labels l.nii.gz"
REGISTER = "register --fixed f.nii.gz --moving f.nii.gz --out out --model none --init none --preset fast"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small image, its labels, and the folder of a run."""
    grid = Grid((20, 24, 22), np.diag([3.0, 3.0, 3.5, 1.0]))
    labels = np.zeros(grid.shape, np.uint8)
    labels[4:15, 5:18, 6:17] = 1
    write(tmp_path / "l.nii.gz", Volume(labels, grid))
    write(tmp_path / "f.nii.gz", Volume(np.random.default_rng(0).normal(100 * labels, 5).astype(np.float32), grid))
    (tmp_path / "run").mkdir()
    write_affine(tmp_path / "run" / AFFINE_NAME, Affine.identity())
    return tmp_path


def shell(words: str, redirection: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = f"{shlex.quote(sys.executable)} -m lightcrcf {words} {redirection}"
    return subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("words", ["info", "info --json", APPLY, EVALUATE, f"{EVALUATE} --json", "--version", "--help"])
def test_a_closed_stream_is_no_error(words: str, closed: str, folder: Path) -> None:
    done = shell(words, closed, folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "" or ">&- 2" not in closed
    if words == APPLY:  # nothing was printed into a file that took the place of the stream
        assert np.array_equal(read(folder / "moved.nii.gz").data, read(folder / "f.nii.gz").data)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("more", ["", "--json --report"])
def test_a_registration_writes_its_results(more: str, closed: str, folder: Path) -> None:
    done = shell(f"{REGISTER} {more}", closed, folder)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert (folder / "out" / "run.json").is_file()


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_errors_keep_their_exit_code(closed: str, folder: Path) -> None:
    assert shell("points --input no.csv --transform run --to moving --output q.csv", closed, folder).returncode == 3
    assert shell("register --fixed f.nii.gz", closed, folder).returncode == 2


@pytest.mark.parametrize(
    ("words", "code"), [(APPLY, 0), (REGISTER, 0), ("register", 2), ("apply --reference x.nii --input x.nii "
    "--transform run --output y.nii", 3)]
)  # fmt: skip
def test_a_log_whose_reader_left_changes_nothing(words: str, code: int, folder: Path) -> None:
    """Neither the work nor the exit code; of stdout, whose reader wants the result, 141 says it."""
    process = subprocess.Popen([sys.executable, "-m", "lightcrcf", *words.split()], cwd=folder, stderr=subprocess.PIPE)
    assert process.stderr is not None
    process.stderr.close()
    assert process.wait(timeout=120) == code


def test_a_reader_of_the_record_who_left_is_141_and_the_results_are_there(folder: Path) -> None:
    words = [sys.executable, "-m", "lightcrcf", *REGISTER.split(), "--json"]
    process = subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=120) == 141
    assert (folder / "out" / "run.json").is_file()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_behind_stdout_is_one_line(folder: Path) -> None:
    done = shell("info --json", ">/dev/full", folder)
    assert done.returncode == 3
    assert done.stderr.startswith("error: standard output: expected ")
    assert "no space left" in done.stderr.lower()
    assert done.stderr.count("\n") == 1
