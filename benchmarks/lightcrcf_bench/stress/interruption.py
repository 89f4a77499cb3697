"""Interruption test: SIGINT and SIGKILL at random moments of `lightcrcf register` leave whole results or none.

Every second moment lies within the writing of results, which takes a small part of the time.
"""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from lightcrcf.errors import InputError
from lightcrcf.run_record.replay import read_run
from lightcrcf_bench.stress.trials import Subjects, TrialResult, command, ended, faults_of, left_in, said, started

__all__ = ["interrupt"]

_SIGNALS = {signal.SIGINT: "Ctrl-C", signal.SIGKILL: "kill -9"}
_BEFORE_REPEAT = 5  # disturbed runs whose remains one undisturbed run clears away


@dataclass(frozen=True)
class _Undisturbed:
    """Bytes of the results, seconds of the whole, and seconds from the first file to the end."""

    files: Mapping[str, str]
    seconds: float
    writing: float


def interrupt(subjects: Subjects, numbers: Sequence[int]) -> list[TrialResult]:
    """Interrupt one run per number, which determines signal and time; repeat some of them without interruption.

    Returns:
        a trial for each signal, with how many folders were whole and absent; and one for the runs afterwards.
    """
    with TemporaryDirectory() as name:
        out = Path(name, "results", "run")
        out.parent.mkdir()
        usual = _undisturbed(subjects, out)
        faults: dict[str, list[str]] = {kind: [] for kind in (*_SIGNALS.values(), "afterwards")}
        states = {kind: {"whole": 0, "absent": 0} for kind in _SIGNALS.values()}
        repeats = 0
        for done, number in enumerate(numbers, 1):
            sent = list(_SIGNALS)[number // 2 % 2]
            code, stderr = _disturbed(subjects, out, number, sent, usual)
            found = [*_faults_of_end(code, stderr, sent), *faults_of(out, usual.files)]
            faults[_SIGNALS[sent]] += [f"{number}: {fault}" for fault in found]
            states[_SIGNALS[sent]]["whole" if out.exists() else "absent"] += 1
            shutil.rmtree(out, ignore_errors=True)
            if done % _BEFORE_REPEAT == 0 or done == len(numbers):
                faults["afterwards"] += _again(subjects, out, usual)
                repeats += 1
    tried = [TrialResult(kind, sum(states[kind].values()), tuple(faults[kind]), detail=states[kind]) for kind in states]
    return [*tried, TrialResult("a run after these", repeats, tuple(faults["afterwards"]))]


def _undisturbed(subjects: Subjects, out: Path) -> _Undisturbed:
    begun = time.monotonic()
    process = started(command(subjects, out))
    _wait_for_writing(process, out)
    writing = time.monotonic()
    code, stderr = ended(process)
    if code:
        raise InputError(str(subjects.fixed), expected="a pair that registers", got=stderr, remedy="choose another")
    now = time.monotonic()
    files = read_run(out).files_sha256
    shutil.rmtree(out)
    return _Undisturbed(files, now - begun, now - writing)


def _disturbed(subjects: Subjects, out: Path, number: int, sent: int, usual: _Undisturbed) -> tuple[int, str]:
    """Return exit code and stderr of a run with a signal at a random moment, unless it ended before."""
    chance = random.Random(number).random()
    process = started(command(subjects, out))
    if number % 2:
        _wait_for_writing(process, out)
        seconds = chance * usual.writing
    else:
        seconds = chance * 1.05 * usual.seconds
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(sent)
    return ended(process)


def _wait_for_writing(process: subprocess.Popen[str], out: Path) -> None:
    while process.poll() is None and not any(out.parent.iterdir()):
        time.sleep(0.001)


def _faults_of_end(code: int, stderr: str, sent: int) -> list[str]:
    """Return failures in how an interrupted run ended: done, interrupted in one line, or killed."""
    early = code == -sent and not stderr  # before Python listens, the system ends it
    interrupted = sent == signal.SIGINT and code == 130 and said(stderr) == "interrupted\n"
    done = code == 0 and "Traceback" not in stderr
    if early or interrupted or done or (sent == signal.SIGKILL and code == -sent):
        return []
    if "Traceback" in stderr and "lightcrcf" not in stderr.replace("-m lightcrcf", ""):
        return []  # Python itself was starting, before a line of ours
    return [f"exit {code}, {' '.join(stderr.split())[-300:]!r}"]


def _again(subjects: Subjects, out: Path, usual: _Undisturbed) -> list[str]:
    """Return failures of an uninterrupted run afterwards: it succeeds with the same bytes and no other files."""
    code, stderr = ended(started(command(subjects, out)))
    faults = [f"exit {code}, {' '.join(stderr.split())[-200:]!r}"] if code else []
    faults += faults_of(out, usual.files) + [f"left behind: {name}" for name in left_in(out.parent, out.name)]
    shutil.rmtree(out.parent)
    out.parent.mkdir()
    return faults
