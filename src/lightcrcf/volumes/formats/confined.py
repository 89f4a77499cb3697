"""DICOM series are decoded in a process of their own, bounded in memory and time.

GDCM is a large decoder of a large format: whatever a file makes it do, it does not do it to the caller's process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from lightcrcf.errors import InputError, LightCRCFError, MemoryEstimateError
from lightcrcf.geometry.grid import Grid
from lightcrcf.volumes.limits import available_memory
from lightcrcf.volumes.volume import Volume

__all__ = ["read_confined", "time_limit_s"]

_ERRORS = {error.__name__: error for error in (InputError, MemoryEstimateError)}
_VOXELS, _TOLD = "voxels.npy", "told.json"
# No series needs more than this beyond what its files hold: a slice of one value packs 500 to 1 into its headers' size.
_BYTES, _BYTES_PER_BYTE = 2 << 30, 500
_SECONDS, _BYTES_PER_SECOND = 60.0, 1 << 20


def read_confined(folder: str | os.PathLike[str]) -> Volume:
    """`dicom.read_series` in another process.

    Raises:
        InputError, MemoryEstimateError: as there; InputError too if the files made the decoder crash, or take longer
            than `time_limit_s`.
    """
    given, absolute = str(folder), os.path.abspath(folder)  # noqa: PTH100 - a link stays the link that was named
    stored = _stored(absolute)
    with TemporaryDirectory() as work:
        limits = _memory_limit(stored), time_limit_s(stored)
        code = _decode(given, absolute, work, *limits)
        told = _told(Path(work) / _TOLD)
        if "error" in told:
            raise _ERRORS[told["error"]](**{k: v.replace(absolute, given) for k, v in told["text"].items()})
        if code != 0 or not told:
            raise _unreadable(given, f"files on which the decoder gave up (code {code})")
        data = np.load(Path(work) / _VOXELS, allow_pickle=False)
    affine = np.array(told["affine"])
    return Volume(data, Grid(data.shape, affine), given, {}, tuple(n.replace(absolute, given) for n in told["notes"]))


def time_limit_s(stored: int) -> float:
    """Seconds that so many bytes of DICOM may take."""
    return _SECONDS + stored / _BYTES_PER_SECOND


def _memory_limit(stored: int) -> int:
    most = _BYTES + _BYTES_PER_BYTE * stored
    available = available_memory()
    return most if available is None else min(most, available)


def _stored(folder: str) -> int:
    with suppress(OSError):
        return sum(path.stat().st_size for path in Path(folder).iterdir() if path.is_file())
    return 0


def _decode(given: str, folder: str, work: str, memory: int, seconds: float) -> int:
    # In an empty folder, so that no module of the caller's folder is imported instead of one of ours.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(os.path.abspath(p) for p in sys.path if p)}  # noqa: PTH100
    words = [sys.executable, "-m", "lightcrcf.volumes.formats.confined", folder, work, str(memory), str(seconds)]
    try:
        done = subprocess.run(
            words, cwd=work, env=environment, timeout=seconds, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise _unreadable(given, f"files that were not decoded within {seconds:.0f} s") from None
    return done.returncode


def _unreadable(source: str, got: str) -> InputError:
    return InputError(source, expected="a whole DICOM series", got=got, remedy="export the series again")


def _told(path: Path) -> Mapping[str, Any]:
    try:
        told: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told


def _main(folder: str, work: str, memory: str, seconds: str) -> int:
    """The other process: read, and leave the voxels, or the error, in `work`."""
    from lightcrcf.volumes.formats.dicom import read_series

    _confine(int(memory), float(seconds))
    told: dict[str, Any]
    try:
        volume = read_series(folder)
        np.save(Path(work) / _VOXELS, volume.data)
        told = {"affine": volume.grid.affine.tolist(), "notes": list(volume.notes)}
    except MemoryError:
        told = {"error": "MemoryEstimateError", "text": _too_large(folder, int(memory))}
    except OSError as error:
        told = {"error": "InputError", "text": _refused(folder, error)}
    except LightCRCFError as error:
        names = ("subject", "expected", "got", "remedy")
        told = {"error": type(error).__name__, "text": {name: str(getattr(error, name)) for name in names}}
    (Path(work) / _TOLD).write_text(json.dumps(told), encoding="utf-8")
    return 0


def _refused(folder: str, error: OSError) -> dict[str, str]:
    got = (error.strerror or str(error)).lower()
    return {
        "subject": str(error.filename or folder),
        "expected": "files that can be read",
        "got": got,
        "remedy": "change their permissions",
    }


def _too_large(folder: str, memory: int) -> dict[str, str]:
    expected = f"at most {memory / 2**30:.3g} GiB of memory to be needed"
    return {"subject": folder, "expected": expected, "got": "more", "remedy": "use a machine with more memory"}


def _confine(memory: int, seconds: float) -> None:
    """Limits on this process from here on; nothing on Windows, where only the time is bounded, by the caller."""
    try:
        import resource
    except ImportError:
        return
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE") if _linux() else 0
    with suppress(ValueError, OSError):  # a stricter limit is set already, or the system has none of this kind
        resource.setrlimit(resource.RLIMIT_AS, (in_use + memory, resource.RLIM_INFINITY))
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 2))


def _linux() -> bool:
    return Path("/proc/self/statm").is_file()


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:5]))
