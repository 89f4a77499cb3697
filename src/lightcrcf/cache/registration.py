"""Cache for consecutive registrations: volumes read, results per volume, and the compiled network."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from lightcrcf.cache.volumes import VolumeCache
from lightcrcf.engines.base import Engine, open_engine
from lightcrcf.preprocessing.foreground import ImageType, classify
from lightcrcf.volumes import Volume
from lightcrcf.weights.store import Weights

__all__ = ["RegistrationCache"]

T = TypeVar("T")


class RegistrationCache:
    """Cache of the volumes read last, of results for them while they exist, and of the last network.

    Pass one to registrations that run one after another; concurrent threads need one each. Results are bit-equal to
    those without a cache.

    Example:
        >>> import numpy as np
        >>> from lightcrcf.geometry.grid import Grid
        >>> cache, volume = RegistrationCache(), Volume(np.zeros((2, 3, 4)), Grid((2, 3, 4), np.eye(4)))
        >>> [cache.get_or_compute(volume, "mean", lambda: print("computed")) for _ in range(2)]
        computed
        [None, None]
    """

    def __init__(self) -> None:
        self._volumes = VolumeCache()
        self._results: WeakKeyDictionary[Volume, dict[Hashable, Any]] = WeakKeyDictionary()
        self._key: Hashable = None
        self._engine: Engine | None = None

    def volume(self, given: Any) -> Volume:
        """Return a volume from any input of `as_volume`; the same object for the same unchanged file.

        Raises:
            InputError: as `as_volume`.
        """
        return self._volumes.volume(given)

    def get_or_compute(self, volume: Volume, key: Hashable, compute: Callable[[], T]) -> T:
        """Return the cached result for a volume and `key`, computed at first use; it must not reference the volume."""
        results = self._results.setdefault(volume, {})
        if key not in results:
            results[key] = compute()
        result: T = results[key]
        return result

    def image_type(self, volume: Volume) -> ImageType:
        """Return the type of an image, estimated once."""
        return self.get_or_compute(volume, "content", lambda: classify(volume))

    def engine(self, weights: Weights, *, name: Any, device: Any, precision: Any, threads: int | None) -> Engine:
        """Return the engine of the last call if its arguments are equal, else open one.

        Raises:
            UsageError: as `open_engine`.
        """
        key = (weights.sha256, name, device, precision, threads)
        if self._engine is None or key != self._key:
            self._engine = None  # release the old graphs before new ones are built
            self._engine = open_engine(weights, name=name, device=device, precision=precision, threads=threads)
            self._key = key
        return self._engine
