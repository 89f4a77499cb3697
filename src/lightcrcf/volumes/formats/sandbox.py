"""A sandbox for ITK's decoders: a separate process with limits on memory and time.

GDCM, above all, is a large decoder of a large format. A file that makes it crash, hang or allocate without bound must
not do so in the process of the caller.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from lightcrcf.errors import InputError, LightCRCFError, MemoryEstimateError
from lightcrcf.files import GZIP_MAX_RATIO
from lightcrcf.geometry.grid import Grid
from lightcrcf.volumes.formats.itk_headers import stored_bytes
from lightcrcf.volumes.limits import address_space, available_memory
from lightcrcf.volumes.volume import Volume

__all__ = ["read_sandboxed", "time_limit_s"]

_ERRORS = {error.__name__: error for error in (InputError, MemoryEstimateError)}
_VOXELS, _RESULT = "voxels.npy", "result.json"
# ITK's buffer and the array are each at most GZIP_MAX_RATIO times the file.
_BYTES, _BYTES_PER_BYTE = 2 << 30, 2 * GZIP_MAX_RATIO
_SECONDS, _BYTES_PER_SECOND = 60.0, 1 << 20
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}


def read_sandboxed(path: str | os.PathLike[str]) -> Volume:
    """Read an image file, or the only DICOM series of a folder, through ITK in a separate process.

    Raises:
        InputError, MemoryEstimateError: as `itk_images.read_image` and `dicom.read_series`; InputError too if the
            decoder crashes, or takes longer than `time_limit_s`.
    """
    name, absolute = str(path), os.path.abspath(path)  # noqa: PTH100 - keeps symbolic links
    stored = _stored_bytes(Path(path))
    with TemporaryDirectory() as work:
        code = _decode(name, absolute, work, _memory_limit(stored), time_limit_s(stored))
        result = _load_result(Path(work) / _RESULT)
        if "error" in result:
            raise _ERRORS[result["error"]](**{k: v.replace(absolute, name) for k, v in result["text"].items()})
        if code != 0 or not result:
            raise _unreadable(name, f"what its decoder gave up on (code {code})")
        data = np.load(Path(work) / _VOXELS, allow_pickle=False)
    affine = np.array(result["affine"])
    return Volume(data, Grid(data.shape, affine), name, {}, tuple(n.replace(absolute, name) for n in result["notes"]))


def time_limit_s(stored: int) -> float:
    """Return the time limit in seconds for files of `stored` bytes."""
    return _SECONDS + stored / _BYTES_PER_SECOND


def _memory_limit(stored: int) -> int:
    most = _BYTES + _BYTES_PER_BYTE * stored
    available = available_memory()
    return most if available is None else min(most, available)


def _stored_bytes(path: Path) -> int:
    if not path.is_dir():
        return stored_bytes(path)[0]
    with suppress(OSError):
        return sum(file.stat().st_size for file in path.iterdir() if file.is_file())
    return 0


def _decode(name: str, path: str, work: str, memory: int, seconds: float) -> int:
    """Run `_main` in a separate process, and return its exit code."""
    # It runs in an empty folder, so that no module of the caller's folder shadows one of ours.
    modules = os.pathsep.join(os.path.abspath(p) for p in sys.path if p)  # noqa: PTH100
    command = [sys.executable, "-m", "lightcrcf.volumes.formats.sandbox", path, work, str(memory), str(seconds)]
    try:
        done = subprocess.run(
            command, cwd=work, env={**os.environ, **_ONE_THREAD, "PYTHONPATH": modules}, timeout=seconds, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise _unreadable(name, f"what was not decoded within {seconds:.0f} s") from None
    return done.returncode


def _unreadable(source: str, got: str) -> InputError:
    expected = "a whole image file or DICOM series"
    return InputError(source, expected=expected, got=got, remedy="copy or export it again, or convert it")


def _load_result(path: Path) -> Mapping[str, Any]:
    try:
        result: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return result


def _main(path: str, work: str, memory: str, seconds: str) -> int:
    """Run in the separate process: read the image, and write voxels or error to `work`."""
    decode = _decoder(path)
    _set_limits(int(memory), float(seconds))
    result: dict[str, Any]
    try:
        volume = decode(path)
        _save_voxels(Path(work) / _VOXELS, volume)
        result = {"affine": volume.grid.affine.tolist(), "notes": list(volume.notes)}
    except MemoryError:
        result = {"error": "MemoryEstimateError", "text": _memory_error(path, int(memory))}
    except OSError as error:
        result = {"error": "InputError", "text": _access_error(path, error)}
    except LightCRCFError as error:
        names = ("subject", "expected", "got", "remedy")
        result = {"error": type(error).__name__, "text": {name: str(getattr(error, name)) for name in names}}
    (Path(work) / _RESULT).write_text(json.dumps(result), encoding="utf-8")
    return 0


def _decoder(path: str) -> Callable[[str], Volume]:
    if Path(path).is_dir():
        from lightcrcf.volumes.formats.dicom import read_series

        return read_series
    from lightcrcf.volumes.formats.itk_images import read_image

    return read_image


def _save_voxels(path: Path, volume: Volume) -> None:
    try:
        np.save(path, volume.data)
    except OSError as error:
        path.unlink(missing_ok=True)  # makes room for the message
        raise InputError(
            volume.source,
            expected=f"space for {volume.data.nbytes} bytes in the folder of temporary files",
            got=error.strerror or str(error),
            remedy="set TMPDIR to a folder with more space",
        ) from error


def _access_error(path: str, error: OSError) -> dict[str, str]:
    got = (error.strerror or str(error)).lower()
    return {
        "subject": str(error.filename or path),
        "expected": "files that can be read",
        "got": got,
        "remedy": "change their permissions",
    }


def _memory_error(path: str, memory: int) -> dict[str, str]:
    expected = f"at most {memory / 2**30:.3g} GiB of memory to be needed"
    return {"subject": path, "expected": expected, "got": "more", "remedy": "use a machine with more memory"}


def _set_limits(memory: int, seconds: float) -> None:
    """Limit memory and time of this process; on Windows only the caller's time limit applies."""
    try:
        import resource
    except ImportError:
        return
    with suppress(ValueError, OSError):  # a stricter limit is set, or the system lacks this one
        resource.setrlimit(resource.RLIMIT_AS, (address_space() + memory, resource.RLIM_INFINITY))
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 2))


if __name__ == "__main__":
    os._exit(_main(*sys.argv[1:5]))  # without the teardown of SimpleITK, which takes 0.06 s
