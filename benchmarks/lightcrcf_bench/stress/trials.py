"""Common parts of the stress tests: results, processes, and checks of a folder of results."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightcrcf.errors import LightCRCFError
from lightcrcf.run_record.input_files import fingerprint
from lightcrcf.run_record.replay import read_run
from lightcrcf.transforms.itk import read_transform_folder
from lightcrcf.volumes import read

__all__ = ["Subjects", "TrialResult", "command", "ended", "faults_of", "left_in", "one_line", "said", "started"]

# A log says what begins, and each half minute how far it is.
_PROGRESS = re.compile(r"registering .+ \.\.\.|[a-z ]+ \(\d+%\)")
_PER_FILE = ("run.json", "report.html")  # hold timings
_OUTPUTS = {"affine.tfm", "inverse_warp.nii.gz", "moved.nii.gz", "moved_labels.nii.gz", "warp.nii.gz", *_PER_FILE}


@dataclass(frozen=True)
class TrialResult:
    """Result of one kind of trial.

    Args:
        what: for people; trials of one name are counted together.
        times: how often.
        faults: what went wrong, one line each; none if all is right.
        worst: largest figures that were seen, by unit.
        detail: more, for the record.
    """

    what: str
    times: int
    faults: tuple[str, ...] = ()
    worst: Mapping[str, float] = field(default_factory=dict)
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Subjects:
    """Two small volumes and the labels of the second."""

    fixed: Path
    moving: Path
    labels: Path


def command(subjects: Subjects, out: Path) -> list[str]:
    """Return the command `lightcrcf register` with all outputs."""
    files = ["--fixed", str(subjects.fixed), "--moving", str(subjects.moving), "--moving-labels", str(subjects.labels)]
    return [sys.executable, "-m", "lightcrcf", "register", *files, "--out", str(out), "--inverse", "--report"]


def started(words: Sequence[str]) -> subprocess.Popen[str]:
    """Return the command in a process of its own, which Ctrl-C reaches even if the caller runs in the background."""
    return subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )  # fmt: skip


def ended(process: subprocess.Popen[str], seconds: float = 300.0) -> tuple[int, str]:
    """Wait for a process; return exit code and stderr. A process that exceeds the limit is killed."""
    try:
        _, stderr = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        _, stderr = process.communicate()
        return 124, stderr
    return process.returncode, stderr


def said(stderr: str) -> str:
    """Return stderr without progress lines.

    Example:
        >>> said("registering m.nii with f.nii ...\\nfield (70%)\\ninterrupted\\n")
        'interrupted\\n'
    """
    return "".join(line for line in stderr.splitlines(keepends=True) if not _PROGRESS.fullmatch(line.rstrip("\n")))


def one_line(code: int, stderr: str, wanted: int) -> list[str]:
    """Return failures of an end that should have an exit code and one line on stderr besides progress."""
    if code == wanted and said(stderr).startswith("error: ") and said(stderr).count("\n") == 1:
        return []
    return [f"exit {code}, {' '.join(stderr.split())[-200:]!r}"]


def left_in(folder: Path, out: str) -> list[str]:
    """Return the names of entries of `folder` other than the results `out`."""
    return sorted(path.name for path in folder.iterdir() if path.name != out)


def faults_of(out: Path, wanted: Mapping[str, str] | None = None) -> list[str]:
    """Return failures of a folder of results, which may be absent; every file is read.

    Args:
        out: the folder.
        wanted: SHA-256 of each file, from an undisturbed run; timings differ from run to run.
    """
    if not out.exists():
        return []
    try:
        record = read_run(out)
        read_transform_folder(out)
        for path in out.glob("moved*.nii.gz"):
            read(path)
    except LightCRCFError as error:
        return [f"not whole: {error}"]
    missing = _OUTPUTS - {path.name for path in out.iterdir()}
    sums = {name: fingerprint(out / name) for name in _OUTPUTS - missing - set(_PER_FILE)}
    faults = [f"without {name}" for name in sorted(missing)]
    faults += [f"{name} is not what run.json says" for name in sums if sums[name] != record.files_sha256.get(name)]
    faults += [f"{name} has other bytes" for name in sums if wanted is not None and sums[name] != wanted[name]]
    if "report.html" not in missing and not (out / "report.html").read_text(encoding="utf-8").rstrip().endswith(">"):
        faults.append("report.html is cut off")
    return faults
