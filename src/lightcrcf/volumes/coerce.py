"""Whatever the caller has, as a volume."""

from __future__ import annotations

import os
from typing import Any

from lightcrcf.errors import InputError
from lightcrcf.volumes.read import read
from lightcrcf.volumes.volume import Volume

__all__ = ["coerce"]


def coerce(obj: Any) -> Volume:
    """A volume from a path or a volume.

    Raises:
        InputError: if `obj` is none of these, or cannot be used.
    """
    if isinstance(obj, Volume):
        return obj
    if isinstance(obj, str | os.PathLike):
        return read(obj)
    raise InputError("volume", expected="a path or a volume", got=type(obj).__name__, remedy="give one of these")
