"""How this project compiles its loops with Numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, DTypeLike, NDArray

__all__ = ["device", "inlined", "kernel", "ready"]

F = TypeVar("F", bound=Callable[..., Any])

# Fused multiply-add only: the other relaxations let the compiler drop the NaN-safe clamps that keep reads in bounds.
_FASTMATH = {"contract"}


def kernel(function: F) -> F:
    """Compile a kernel: parallel over `prange`, and cached on disk.

    The cache lies beside the source, in NUMBA_CACHE_DIR, or in the user's cache folder, whichever can be written;
    where none can, the kernel is compiled anew in each process. Numba looks only at the kernel's own file to tell
    whether a cached kernel is stale: after editing a device function, touch the files of the kernels that use it.
    """
    options: dict[str, Any] = {"parallel": True, "fastmath": _FASTMATH, "error_model": "numpy"}
    try:
        return cast(F, njit(cache=True, **options)(function))
    except RuntimeError:  # "cannot cache function: no locator available": nothing is writable
        return cast(F, njit(**options)(function))


def device(function: F) -> F:
    """Compile a function that only kernels call; it becomes part of each of them."""
    return cast(F, njit(fastmath=_FASTMATH, error_model="numpy")(function))


def inlined(function: F) -> F:
    """As `device`, and always part of its caller, so that vectors stay in registers."""
    return cast(F, njit(fastmath=_FASTMATH, error_model="numpy", forceinline=True)(function))


def ready(array: ArrayLike | None, dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """The array as the one type that kernels are compiled for: C-contiguous, aligned, writable; copied only if not."""
    return np.require(array, dtype, ["C_CONTIGUOUS", "ALIGNED", "WRITEABLE"])
