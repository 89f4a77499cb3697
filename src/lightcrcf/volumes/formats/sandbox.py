"""A sandbox for decoding DICOM: a separate process with limits on memory and time.

GDCM is a large decoder of a large format. A file that makes it crash, hang or allocate without bound must not do so in
the process of the caller.
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

__all__ = ["read_sandboxed", "time_limit_s"]

_ERRORS = {error.__name__: error for error in (InputError, MemoryEstimateError)}
_VOXELS, _RESULT = "voxels.npy", "result.json"
# A series needs at most this much memory beyond the size of its files: a slice of one value compresses 500 to 1.
_BYTES, _BYTES_PER_BYTE = 2 << 30, 500
_SECONDS, _BYTES_PER_SECOND = 60.0, 1 << 20


def read_sandboxed(folder: str | os.PathLike[str]) -> Volume:
    """Read the only DICOM series of a folder in a separate process; see `dicom.read_series`.

    Raises:
        InputError, MemoryEstimateError: as `read_series`; InputError too if the decoder crashes, or takes longer than
            `time_limit_s`.
    """
    name, absolute = str(folder), os.path.abspath(folder)  # noqa: PTH100 - keeps symbolic links
    stored = _stored_bytes(absolute)
    with TemporaryDirectory() as work:
        limits = _memory_limit(stored), time_limit_s(stored)
        code = _decode(name, absolute, work, *limits)
        result = _load_result(Path(work) / _RESULT)
        if "error" in result:
            raise _ERRORS[result["error"]](**{k: v.replace(absolute, name) for k, v in result["text"].items()})
        if code != 0 or not result:
            raise _unreadable(name, f"files on which the decoder gave up (code {code})")
        data = np.load(Path(work) / _VOXELS, allow_pickle=False)
    affine = np.array(result["affine"])
    return Volume(data, Grid(data.shape, affine), name, {}, tuple(n.replace(absolute, name) for n in result["notes"]))


def time_limit_s(stored: int) -> float:
    """Return the time limit in seconds for DICOM files of `stored` bytes."""
    return _SECONDS + stored / _BYTES_PER_SECOND


def _memory_limit(stored: int) -> int:
    most = _BYTES + _BYTES_PER_BYTE * stored
    available = available_memory()
    return most if available is None else min(most, available)


def _stored_bytes(folder: str) -> int:
    with suppress(OSError):
        return sum(path.stat().st_size for path in Path(folder).iterdir() if path.is_file())
    return 0


def _decode(name: str, folder: str, work: str, memory: int, seconds: float) -> int:
    # It runs in an empty folder, so that no module of the caller's folder shadows one of ours.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(os.path.abspath(p) for p in sys.path if p)}  # noqa: PTH100
    command = [sys.executable, "-m", "lightcrcf.volumes.formats.sandbox", folder, work, str(memory), str(seconds)]
    try:
        done = subprocess.run(
            command, cwd=work, env=environment, timeout=seconds, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise _unreadable(name, f"files that were not decoded within {seconds:.0f} s") from None
    return done.returncode


def _unreadable(source: str, got: str) -> InputError:
    return InputError(source, expected="a whole DICOM series", got=got, remedy="export the series again")


def _load_result(path: Path) -> Mapping[str, Any]:
    try:
        result: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return result


def _main(folder: str, work: str, memory: str, seconds: str) -> int:
    """Run in the separate process: read the series, and write voxels or error to `work`."""
    from lightcrcf.volumes.formats.dicom import read_series

    _set_limits(int(memory), float(seconds))
    result: dict[str, Any]
    try:
        volume = read_series(folder)
        np.save(Path(work) / _VOXELS, volume.data)
        result = {"affine": volume.grid.affine.tolist(), "notes": list(volume.notes)}
    except MemoryError:
        result = {"error": "MemoryEstimateError", "text": _memory_error(folder, int(memory))}
    except OSError as error:
        result = {"error": "InputError", "text": _access_error(folder, error)}
    except LightCRCFError as error:
        names = ("subject", "expected", "got", "remedy")
        result = {"error": type(error).__name__, "text": {name: str(getattr(error, name)) for name in names}}
    (Path(work) / _RESULT).write_text(json.dumps(result), encoding="utf-8")
    return 0


def _access_error(folder: str, error: OSError) -> dict[str, str]:
    got = (error.strerror or str(error)).lower()
    return {
        "subject": str(error.filename or folder),
        "expected": "files that can be read",
        "got": got,
        "remedy": "change their permissions",
    }


def _memory_error(folder: str, memory: int) -> dict[str, str]:
    expected = f"at most {memory / 2**30:.3g} GiB of memory to be needed"
    return {"subject": folder, "expected": expected, "got": "more", "remedy": "use a machine with more memory"}


def _set_limits(memory: int, seconds: float) -> None:
    """Limit memory and time of this process; on Windows only the caller's time limit applies."""
    try:
        import resource
    except ImportError:
        return
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE") if _linux() else 0
    with suppress(ValueError, OSError):  # a stricter limit is set, or the system lacks this one
        resource.setrlimit(resource.RLIMIT_AS, (in_use + memory, resource.RLIM_INFINITY))
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 2))


def _linux() -> bool:
    return Path("/proc/self/statm").is_file()


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:5]))
