"""What registrations that follow each other need not find out again: about a volume met again, and the network."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from lightcrcf.cache.volumes import KeptVolumes
from lightcrcf.engines.base import Engine, open_engine
from lightcrcf.preprocessing.foreground import ImageType, classify
from lightcrcf.volumes import Volume
from lightcrcf.weights.store import Weights

__all__ = ["Shared"]

T = TypeVar("T")


class Shared:
    """Volumes that were read last, findings about volumes for as long as these are kept, and the network that ran last.

    Give one to registrations that run one after another; threads at the same time need one each. Results are those
    of a registration alone, to the bit.

    Example:
        >>> import numpy as np
        >>> from lightcrcf.geometry.grid import Grid
        >>> shared, volume = Shared(), Volume(np.zeros((2, 3, 4)), Grid((2, 3, 4), np.eye(4)))
        >>> [shared.about(volume, "mean", lambda: print("measured")) for _ in range(2)]
        measured
        [None, None]
    """

    def __init__(self) -> None:
        self._volumes = KeptVolumes()
        self._findings: WeakKeyDictionary[Volume, dict[Hashable, Any]] = WeakKeyDictionary()
        self._key: Hashable = None
        self._engine: Engine | None = None

    def volume(self, given: Any) -> Volume:
        """A volume from whatever `coerce` takes; of one file always the same, unless it was written to since.

        Raises:
            InputError: as `coerce`.
        """
        return self._volumes.volume(given)

    def about(self, volume: Volume, key: Hashable, find: Callable[[], T]) -> T:
        """What `find` returned when this volume was first asked about under `key`; it must not hold the volume."""
        known = self._findings.setdefault(volume, {})
        if key not in known:
            known[key] = find()
        found: T = known[key]
        return found

    def image_type(self, volume: Volume) -> ImageType:
        """What a volume shows, found once."""
        return self.about(volume, "content", lambda: classify(volume))

    def engine(self, weights: Weights, *, name: Any, device: Any, precision: Any, threads: int | None) -> Engine:
        """`open_engine`, or the engine of the last call if everything is the same.

        Raises:
            UsageError: as `open_engine`.
        """
        key = (weights.sha256, name, device, precision, threads)
        if self._engine is None or key != self._key:
            self._engine = None  # frees the old graphs before new ones are built
            self._engine = open_engine(weights, name=name, device=device, precision=precision, threads=threads)
            self._key = key
        return self._engine
