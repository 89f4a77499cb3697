"""Volumes that are wanted again and again, read once."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from pathlib import Path
from threading import Lock
from typing import Any

from lightcrcf.volumes import Volume, as_volume

__all__ = ["BUDGET_BYTES", "KeptVolumes"]

# A pair may come with seven files. What registrations find out about a volume takes a few times its voxels.
_MOST_VOLUMES, BUDGET_BYTES = 8, 512 << 20
# These keep their voxels in another file of the same stem.
_DETACHED = (".hdr", ".img", ".mhd", ".nhdr")


class KeptVolumes:
    """Reads volumes and keeps those that were wanted last, in bounded memory; a file written to since is read again.

    Args:
        budget_bytes: of the voxels of all that is kept.
    """

    def __init__(self, budget_bytes: int = BUDGET_BYTES) -> None:
        self._budget, self._lock = budget_bytes, Lock()
        self._kept: OrderedDict[Hashable, Volume] = OrderedDict()

    def volume(self, given: Any) -> Volume:
        """`as_volume`, but the same volume for the same file.

        Raises:
            InputError: as `as_volume`.
        """
        if not isinstance(given, str | os.PathLike):
            return as_volume(given)
        key = _stamp(Path(given))
        with self._lock:
            found = self._kept.pop(key, None)
        found = as_volume(given) if found is None else found
        with self._lock:
            self._kept[key] = found
            while len(self._kept) > _MOST_VOLUMES or self._bytes() > self._budget:
                self._kept.popitem(last=False)
        return found

    def _bytes(self) -> int:
        return sum(volume.data.nbytes for volume in self._kept.values())


def _stamp(path: Path) -> Hashable:
    """Equal as long as nobody writes to the files of a volume; of files that are missing it is empty."""
    files: Iterable[Path] = [path]
    if path.is_dir():
        files = path.rglob("*")
    elif path.name.lower().removesuffix(".gz").endswith(_DETACHED):
        stem = path.name.split(".")[0]
        files = (p for p in path.parent.iterdir() if p.name.split(".")[0] == stem)
    stats = ((str(p), p.stat()) for p in sorted(files) if p.exists())
    return os.fspath(path), tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
