"""Bounded cache of volumes that are read repeatedly."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from pathlib import Path
from threading import Lock
from typing import Any

from lightcrcf.volumes import Volume, as_volume

__all__ = ["BUDGET_BYTES", "VolumeCache"]

# A pair may have seven files. The cached results for a volume take a few times the size of its voxels.
_MAX_VOLUMES, BUDGET_BYTES = 8, 512 << 20
# Headers whose voxels are in another file of the same stem.
_DETACHED_HEADERS = (".hdr", ".img", ".mhd", ".nhdr")


class VolumeCache:
    """Least-recently-used cache of volumes in bounded memory; a file that changed is read again.

    Args:
        budget_bytes: limit on the voxels of all cached volumes.
    """

    def __init__(self, budget_bytes: int = BUDGET_BYTES) -> None:
        self._budget, self._lock = budget_bytes, Lock()
        self._cached: OrderedDict[Hashable, Volume] = OrderedDict()

    def volume(self, given: Any) -> Volume:
        """Return `as_volume(given)`, or the cached volume for the same unchanged file.

        Raises:
            InputError: as `as_volume`.
        """
        if not isinstance(given, str | os.PathLike):
            return as_volume(given)
        key = _file_state(Path(given))
        with self._lock:
            found = self._cached.pop(key, None)
        found = as_volume(given) if found is None else found
        with self._lock:
            self._cached[key] = found
            while len(self._cached) > _MAX_VOLUMES or self._bytes() > self._budget:
                self._cached.popitem(last=False)
        return found

    def _bytes(self) -> int:
        return sum(volume.data.nbytes for volume in self._cached.values())


def _file_state(path: Path) -> Hashable:
    """Return path, sizes and modification times of the files of a volume; without missing files."""
    files: Iterable[Path] = [path]
    if path.is_dir():
        files = path.rglob("*")
    elif path.name.lower().removesuffix(".gz").endswith(_DETACHED_HEADERS):
        stem = path.name.split(".")[0]
        files = (p for p in path.parent.iterdir() if p.name.split(".")[0] == stem)
    stats = ((str(p), p.stat()) for p in sorted(files) if p.exists())
    return os.fspath(path), tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
