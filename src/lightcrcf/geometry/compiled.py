"""Decorators that compile kernels with Numba, and cache them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba import njit
from numba.core import event
from numpy.typing import ArrayLike, DTypeLike, NDArray

from lightcrcf.geometry.kernel_cache import KernelCache, compilation_begins, kernel_cache

__all__ = ["device", "inlined", "kernel", "ready"]

F = TypeVar("F", bound=Callable[..., Any])

# Fused multiply-add only: the other relaxations let the compiler drop the NaN-safe clamps that keep reads in bounds.
_FASTMATH = {"contract"}


def kernel(function: F) -> F:
    """Compile a kernel: parallel over `prange`, and cached on disk in the folder from `kernel_cache`.

    Numba compares only the file of the kernel to detect a stale cache: after editing a device function, touch the files
    of the kernels that use it.

    Raises:
        InputError: as `kernel_cache`.
    """
    options: dict[str, Any] = {"parallel": True, "fastmath": _FASTMATH, "error_model": "numpy"}
    source = Path(inspect.getfile(function))
    place = kernel_cache(source.parent) if source.is_file() else None
    if place is None or not place.written:
        return cast(F, njit(**options)(function))
    with _numba_cache(place):
        return cast(F, njit(cache=True, **options)(function))


@contextmanager
def _numba_cache(place: KernelCache) -> Iterator[None]:
    """Set the cache folder of Numba for functions compiled within the block."""
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = "" if place.folder is None else str(place.folder)
    try:
        yield
    finally:
        numba.config.CACHE_DIR = before


class _Compilation(event.Listener):  # type: ignore[misc]  # numba ships no types
    def on_start(self, _event: Any) -> None:
        compilation_begins()

    def on_end(self, _event: Any) -> None:
        """Do nothing."""


event.register("numba:compile", _Compilation())


def device(function: F) -> F:
    """Compile a function for use in kernels."""
    return cast(F, njit(fastmath=_FASTMATH, error_model="numpy")(function))


def inlined(function: F) -> F:
    """Compile a function for use in kernels that is always inlined, so that vectors stay in registers."""
    return cast(F, njit(fastmath=_FASTMATH, error_model="numpy", forceinline=True)(function))


def ready(array: ArrayLike | None, dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Return the array C-contiguous, aligned and writable, as kernels require; copied only if it is not."""
    return np.require(array, dtype, ["C_CONTIGUOUS", "ALIGNED", "WRITEABLE"])
