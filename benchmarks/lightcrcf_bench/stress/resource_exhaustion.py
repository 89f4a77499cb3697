"""Resource exhaustion: full disks, low memory and read-only folders give one line, the right exit code, no files."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nibabel as nib
import numpy as np

from lightcrcf.errors import InputError
from lightcrcf.registration.register import Registration, register
from lightcrcf.registration.save import save
from lightcrcf.report.html import report_files
from lightcrcf.volumes.limits import available_memory
from lightcrcf_bench.stress.trials import Subjects, TrialResult, command, ended, faults_of, left_in, one_line, started

__all__ = ["scarce_disk", "scarce_memory", "unwritable"]

_PAGE = 4096
_BAD_INPUT, _OUT_OF_MEMORY = 3, 5


def scarce_disk(subjects: Subjects, steps: int) -> list[TrialResult]:
    """Save results where ever more room is left, up to all that they need; and where each single opening fails.

    Args:
        subjects: what to register, once.
        steps: amounts of room.
    """
    found = register(subjects.fixed, subjects.moving, moving_labels=[subjects.labels], inverse=True)
    with TemporaryDirectory() as name, _small_disk(Path(name)) as limited:
        out = Path(name) / "run"
        _save(found, out)
        needed = sum(-(-path.stat().st_size // _PAGE) for path in out.iterdir())
        largest = max(-(-path.stat().st_size // _PAGE) for path in out.iterdir())
        shutil.rmtree(out)
        faults = []
        most = needed if limited is _filled else largest
        for pages in sorted({int(share) for share in np.linspace(0, most - 1, steps)}):
            with limited(Path(name), pages):
                faults += [f"{pages} pages: {fault}" for fault in _refused(found, out)]
        what = "disk full" if limited is _filled else "files limited in size"
        tried = [TrialResult(what, steps, tuple(faults), detail={"pages": most})]
    with TemporaryDirectory() as name:
        return [*tried, _failing(found, Path(name) / "run")]


def _save(found: Registration, out: Path) -> None:
    save(found, out, extra_files=report_files(found, out=str(out)))


def _refused(found: Registration, out: Path) -> list[str]:
    """Return failures of a save that cannot succeed."""
    try:
        _save(found, out)
        faults = ["saved, although it could not be"]
    except InputError as error:
        faults = ["more than one line"] if "\n" in str(error) else []
    except Exception as error:
        faults = [f"{type(error).__name__}: {error}"]
    faults += ["results"] * out.exists() + [f"left behind: {n}" for n in left_in(out.parent, out.name) if n != "full"]
    shutil.rmtree(out, ignore_errors=True)
    return faults


@contextmanager
def _small_disk(folder: Path) -> Iterator[Callable[[Path, int], Any]]:
    """Mount a small disk, and yield a function that leaves some pages free; without rights, limit file sizes."""
    if not _mounted(folder, f"size={64 << 20}"):
        yield _limited
        return
    try:
        yield _filled
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _mounted(folder: Path, options: str) -> bool:
    if os.geteuid() or shutil.which("mount") is None:
        return False
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


@contextmanager
def _filled(folder: Path, pages: int) -> Iterator[None]:
    full = folder / "full"
    with full.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, max(shutil.disk_usage(folder).free - pages * _PAGE, 1))
    try:
        yield
    finally:
        full.unlink()


@contextmanager
def _limited(folder: Path, pages: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (pages * _PAGE, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _failing(found: Registration, out: Path) -> TrialResult:
    """Return no space at each single opening, folder and renaming in turn.

    An audit hook cannot be taken away again, so a flag disables it.
    """
    state: dict[str, int | None] = {"left": None, "seen": 0}

    def fail(event: str, arguments: tuple[Any, ...]) -> None:
        if state["left"] is None or not _writes(event, arguments) or f"{out.parent}{os.sep}" not in str(arguments[0]):
            return
        state["seen"] = (state["seen"] or 0) + 1
        state["left"] -= 1
        if state["left"] == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(arguments[0]))

    sys.addaudithook(fail)
    state["left"] = sys.maxsize
    _save(found, out)
    operations = state["seen"] or 0
    shutil.rmtree(out)
    faults = []
    for number in range(1, operations + 1):
        state["left"] = number
        faults += [f"operation {number}: {fault}" for fault in _refused(found, out)]
    state["left"] = None
    return TrialResult("no space at one operation", operations, tuple(faults))


def _writes(event: str, arguments: tuple[Any, ...]) -> bool:
    if event == "open":
        return isinstance(arguments[2], int) and bool(arguments[2] & (os.O_WRONLY | os.O_RDWR))
    return event in ("os.mkdir", "os.rename")


def unwritable(subjects: Subjects) -> list[TrialResult]:
    """Return the whole command, into a folder on a full disk and one that is read-only."""
    faults: dict[str, list[str]] = {"full": [], "read-only": []}
    with TemporaryDirectory() as name, _small_disk(Path(name)) as limited:
        if limited is _filled:  # a limit on the size of files would hit what the command compiles, too
            with limited(Path(name), 8):
                code, stderr = ended(started(command(subjects, Path(name, "run"))))
            faults["full"] = [
                *one_line(code, stderr, _BAD_INPUT),
                *faults_of(Path(name, "run")),
                *left_in(Path(name), "run"),
            ]
    with TemporaryDirectory() as name, _read_only(Path(name)):
        code, stderr = ended(started(command(subjects, Path(name, "run"))))
        faults["read-only"] = [*one_line(code, stderr, _BAD_INPUT), *left_in(Path(name), "")]
    times = {"full": int(limited is _filled), "read-only": 1}
    return [
        TrialResult(f"the command, disk {kind}", times[kind], tuple(faults[kind])) for kind in faults if times[kind]
    ]


@contextmanager
def _read_only(folder: Path) -> Iterator[None]:
    """Make `folder` read-only, for root too, by a read-only mount."""
    mounted = _mounted(folder, "ro")
    folder.chmod(0o555) if not mounted else None
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True) if mounted else folder.chmod(0o755)


def scarce_memory(*, short: bool) -> TrialResult:
    """Try volumes whose voxels, or (unless `short`) registration, need more memory than available."""
    available = available_memory() or 8 << 30
    faults, slowest = [], 0.0
    cases = (2 * available, *(() if short else (available // 100,)))
    for voxels in cases:
        with TemporaryDirectory() as name:
            volume = _sparse(Path(name, "large.nii"), voxels)
            begun = time.monotonic()
            process = started(command(Subjects(volume, volume, volume), Path(name, "run")))
            code, stderr = ended(process)
            slowest = max(slowest, round(time.monotonic() - begun, 2))
            faults += one_line(code, stderr, _OUT_OF_MEMORY) + left_in(Path(name), "large.nii")
    return TrialResult("more memory than there is", len(cases), tuple(faults), {"s": slowest})


def _sparse(path: Path, voxels: int) -> Path:
    """Return a volume of so many voxels of one byte each, all but a few of them zero, that takes no room."""
    side = round(voxels ** (1 / 3))
    header = nib.Nifti2Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape((side + 1, side, side - 1))
    header.set_sform(np.diag([1.0, 1.0, 1.0, 1.0]), code=1)
    header["vox_offset"] = 544
    with path.open("wb") as stream:
        stream.write(header.binaryblock + bytes(4))
        stream.truncate(544 + (side + 1) * side * (side - 1))
        stream.seek(544 + side * side * (side // 2))
        stream.write(bytes(range(1, 200)) * 50)
    return path
