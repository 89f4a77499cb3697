"""Ctrl-C and SIGTERM in the middle of a registration: the exit code, one line, and nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lightcrcf.geometry.grid import Grid
from lightcrcf.volumes import Volume, write

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")

# Sends itself the signal a moment after the stage has begun, when the files are being written; from an object that is
# being freed or from a library that catches all, where what is raised is dropped; or before something that takes its
# time to tidy up.
# A shell that starts the tests in the background would have it ignore SIGINT.
SCRIPT = """
import os, signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)

number, wanted = int(sys.argv.pop(1)), sys.argv.pop(1)

from lightcrcf.cli.main import main
from lightcrcf import progress
from lightcrcf.registration import save as outputs

stage, write = progress.Stopwatch.stage, outputs.write

def send():
    os.kill(os.getpid(), number)
    time.sleep(0.01)

class Freed:
    def __del__(self):
        send()

def told(self, name, fraction):
    if name == "network" and wanted == "freed":
        Freed()
    if name == "network" and wanted == "swallowed":
        try:
            send()
        except BaseException:
            pass
    if name == "network" and wanted == "tidying":
        try:
            send()
        finally:
            for _ in range(80):
                time.sleep(0.01)
            sys.stderr.write("tidied\\n")
    if name == wanted:
        threading.Timer(0.02, os.kill, (os.getpid(), number)).start()
    return stage(self, name, fraction)

def written(path, *arguments, **options):
    write(path, *arguments, **options)
    if wanted == "write":
        os.kill(os.getpid(), number)

progress.Stopwatch.stage, outputs.write = told, written
main()
"""


# What a log says on the way: that the work begins, and how far it is where it takes more than half a minute.
LOG = re.compile(r"^(?:registering .+ \.\.\.|[a-z ]+ \(\d+%\))\n", re.MULTILINE)


@pytest.fixture(scope="module")
def inputs(
    grids: Callable[..., Grid],
    brains: Callable[..., tuple[Volume, Volume]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Fine enough that no stage is over at once."""
    folder = tmp_path_factory.mktemp("inputs")
    write(folder / "fixed.nii.gz", brains(grids((72, 88, 66), (2.0, 2.0, 2.0)))[0])
    write(folder / "moving.nii.gz", brains(grids((66, 70, 84), (2.0, 2.1, 2.2), axes="ASR"), person=1)[0])
    return folder


def interrupted(inputs: Path, out: Path, number: int, stage: str) -> subprocess.CompletedProcess[str]:
    files = ["--fixed", str(inputs / "fixed.nii.gz"), "--moving", str(inputs / "moving.nii.gz"), "--out", str(out)]
    words = [sys.executable, "-c", SCRIPT, str(number), stage, "register", *files]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize(
    ("number", "stage", "code", "line"),
    [
        (signal.SIGINT, "read", 130, "interrupted\n"),
        (signal.SIGINT, "affine", 130, "interrupted\n"),
        (signal.SIGINT, "network", 130, "interrupted\n"),
        (signal.SIGINT, "write", 130, "interrupted\n"),
        (signal.SIGTERM, "network", 143, "terminated\n"),
        (signal.SIGTERM, "write", 143, "terminated\n"),
        (signal.SIGINT, "freed", 130, "interrupted\n"),
        (signal.SIGTERM, "freed", 143, "terminated\n"),
        (signal.SIGINT, "swallowed", 130, "interrupted\n"),
        (signal.SIGINT, "tidying", 130, "tidied\ninterrupted\n"),
        (signal.SIGTERM, "tidying", 143, "tidied\nterminated\n"),
    ],
)
def test_a_signal_leaves_nothing_behind(
    number: int,
    stage: str,
    code: int,
    line: str,
    inputs: Path,
    tmp_path: Path,
) -> None:
    done = interrupted(inputs, tmp_path / "study" / "run", number, stage)
    assert (done.returncode, done.stdout, LOG.sub("", done.stderr)) == (code, "", line)
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_result_stays_whole(inputs: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "moved.nii.gz").write_bytes(b"an earlier result")
    assert interrupted(inputs, out, signal.SIGINT, "write").returncode == 130
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert [path.name for path in out.iterdir()] == ["moved.nii.gz"]
    assert (out / "moved.nii.gz").read_bytes() == b"an earlier result"
