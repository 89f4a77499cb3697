"""How this project compiles its loops with Numba."""

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
    """Compile a kernel: parallel over `prange`, and cached on disk in the place that `kernel_cache` decides.

    Numba looks only at the kernel's own file to tell whether a cached kernel is stale: after editing a device function,
    touch the files of the kernels that use it.

    Raises:
        InputError: as `kernel_cache`.
    """
    options: dict[str, Any] = {"parallel": True, "fastmath": _FASTMATH, "error_model": "numpy"}
    source = Path(inspect.getfile(function))
    place = kernel_cache(source.parent) if source.is_file() else None
    if place is None or not place.written:
        return cast(F, njit(**options)(function))
    with _numba_keeps_in(place):
        return cast(F, njit(cache=True, **options)(function))


@contextmanager
def _numba_keeps_in(place: KernelCache) -> Iterator[None]:
    """Functions that Numba is given within the block have this cache; those of other packages are left alone."""
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
        """Nothing to say."""


event.register("numba:compile", _Compilation())


def device(function: F) -> F:
    """Compile a function that only kernels call; it becomes part of each of them."""
    return cast(F, njit(fastmath=_FASTMATH, error_model="numpy")(function))


def inlined(function: F) -> F:
    """As `device`, and always part of its caller, so that vectors stay in registers."""
    return cast(F, njit(fastmath=_FASTMATH, error_model="numpy", forceinline=True)(function))


def ready(array: ArrayLike | None, dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """The array as the one type that kernels are compiled for: C-contiguous, aligned, writable; copied only if not."""
    return np.require(array, dtype, ["C_CONTIGUOUS", "ALIGNED", "WRITEABLE"])
