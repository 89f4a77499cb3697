"""kill -9 at random moments, and going on: the end is that of an undisturbed run.

LIGHTCRCF_KILLS=20 says how many runs are killed; without it two are, one of them with two worker processes.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")

# A shell that starts the tests in the background would have Ctrl-C ignored.
MAIN = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from lightcrcf.cli.main import main
main()
"""
ROUNDS = int(os.environ.get("LIGHTCRCF_KILLS", "2"))
Tree = Callable[[Path], dict[str, str]]


def start(people: Sequence[Path], out: Path, *options: str, preset: str = "fast") -> subprocess.Popen[bytes]:
    """Twelve quick pairs in a process of their own."""
    words = ["batch", "--all-pairs", *map(str, people[:4]), "--out", str(out), "--threads", "1"]
    quick = ["--model", "none", "--init", "none", "--preset", preset]
    command = [sys.executable, "-c", MAIN, *words, *quick, *options]
    return subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)


def finish(process: subprocess.Popen[bytes]) -> None:
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr.decode()


def kill(process: subprocess.Popen[bytes], after_s: float) -> bool:
    """End the process in so many seconds; False if it was done before."""
    try:
        process.wait(timeout=after_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


@pytest.fixture(scope="module")
def undisturbed(
    people: list[Path], tmp_path_factory: pytest.TempPathFactory, tree: Tree
) -> tuple[dict[str, str], float]:
    """What a run that nobody disturbs leaves, and how many seconds it takes."""
    out, began = tmp_path_factory.mktemp("undisturbed") / "out", time.monotonic()
    finish(start(people, out))
    return tree(out), time.monotonic() - began


@pytest.mark.parametrize("number", range(ROUNDS))
def test_killed_and_resumed_it_ends_as_if_nothing_had_been(
    number: int, people: list[Path], undisturbed: tuple[dict[str, str], float], tmp_path: Path, tree: Tree
) -> None:
    wanted, seconds = undisturbed
    random_moments = random.Random(number)
    workers = ("--workers", "2") if number % 2 and (os.cpu_count() or 1) > 1 else ()
    kills = 0
    for _ in range(3):
        # Two processes take some seconds to start, with the machine as busy as it is.
        moment = random_moments.uniform(0.2, 1.1) * seconds * (2 if workers else 1)
        kills += kill(start(people, tmp_path / "out", "--resume", *workers), moment)
    finish(start(people, tmp_path / "out", "--resume", *workers))
    assert tree(tmp_path / "out") == wanted, f"after {kills} kills"


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core only")
def test_ctrl_c_ends_all_processes_and_says_how_to_go_on(people: list[Path], tmp_path: Path) -> None:
    process = start(people, tmp_path / "out", "--workers", "2", preset="default")
    while not any((tmp_path / "out" / "manifest").glob("[!.]*.json")):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, stderr = process.communicate(timeout=120)
    hint = b"what is finished is kept; the same command with --resume goes on from there"
    assert (process.returncode, stderr.splitlines()[1:]) == (130, [hint, b"interrupted"])
    for _ in range(200):  # what tracks the processes' resources takes a moment longer
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("a process was left behind")
