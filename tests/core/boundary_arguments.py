"""Arguments for functions of the extension: valid ones, and changes that make them invalid or odd."""

from __future__ import annotations

import ctypes
import mmap
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Call = dict[str, Any]

SIZES = ("c", "d", "e", "g", "h", "n", "v", "w")  # variables in shapes

# Shapes of arrays by the sizes above, in the order of the parameters, and values of others after "=". With these a
# function may still raise; it must return for some of them. A new function needs one line.
ARGUMENTS = {
    "isa": "",
    "limit_isa": "='avx2'",
    "usable_cores": "",
    "thread_count": "",
    "set_thread_count": "=n",
    "warp": "c d h w, 3 d h w, c d h w",
    "compose": "3 d h w, 3 d h w, 3 d h w",
    "block_mean": "2*d h 3*w, =(2, 1, 3), d h w",
    "normal_equations": "d h w, d h w, e g v, e g v, 3 4, =True, 15 15",
    "fisher_sums": "d h w, d h w, e g v, e g v, 3 4, =False, n+1 n+1, =1.0, 15 15",
    "correlation_sums": "d h w, d h w, e g v, e g v, n 3 4, =True, n 6",
    "joint_histogram": "d h w, d h w, e g v, e g v, 3 4, =False, =0.7, n+1 n+1",
    "interpolate_table": "n, c+1, =1.0, n",
    "label_fractions": "2*d h 3*w, c d h w",
    "atlas_weights": "c+1 d h w, d h w, =(1, 2, n), =True, v c",
    "vote": "c d h w, d h w, v c, 3, =v, d h w, d h w",
}


@dataclass(frozen=True)
class Parameter:
    """A parameter of a function of the extension; arrays have a dtype and a number of axes."""

    name: str
    dtype: str = ""
    rank: int = 0
    writable: bool = False
    several: bool = False  # a sequence of arrays

    @property
    def is_array(self) -> bool:
        return bool(self.dtype)


def parameters(function: Any) -> list[Parameter]:
    """Return the parameters of a function from its signature.

    Example:
        >>> class Function:
        ...     __nb_signature__ = (("def f(a: numpy.ndarray[dtype=int16, shape=(*, *)], n: int) -> None", None, None),)
        >>> [(p.name, p.dtype, p.rank, p.writable) for p in parameters(Function)]
        [('a', 'int16', 2, True), ('n', '', 0, False)]
    """
    text = function.__nb_signature__[0][0]
    inner = text[text.index("(") + 1 : text.rindex(")")]
    parts = re.split(r", (?=\w+: )", inner) if inner else []
    return [_parameter(*part.split(": ", 1)) for part in parts]


def _parameter(name: str, kind: str) -> Parameter:
    dtype, shape = re.search(r"dtype=(\w+)", kind), re.search(r"shape=\(([^)]*)\)", kind)
    if dtype is None or shape is None:
        return Parameter(name)
    several = "Sequence[" in kind or kind.startswith(("list[", "tuple["))
    return Parameter(name, dtype[1], shape[1].count("*"), "writable=False" not in kind, several)


def valid_call(arguments: str, wanted: list[Parameter], sizes: dict[str, int], rng: np.random.Generator) -> Call:
    """Return the arguments of a line of ARGUMENTS, for sizes."""
    parts = arguments.split(", ") if "=" not in arguments else re.split(r", (?![^(\[]*[)\]])", arguments)
    parts = [part for part in parts if part]
    assert len(parts) == len(wanted), f"{len(parts)} arguments for {[p.name for p in wanted]}"
    return {p.name: _argument(part, p, sizes, rng) for part, p in zip(parts, wanted, strict=True)}


def _argument(part: str, wanted: Parameter, sizes: dict[str, int], rng: np.random.Generator) -> Any:
    if part.startswith("="):
        return eval(part[1:], {}, dict(sizes))
    if wanted.several:
        return [array(_shape(one, sizes), wanted.dtype, rng) for one in part.strip("[]").split("; ")]
    return array(_shape(part, sizes), wanted.dtype, rng)


def _shape(text: str, sizes: dict[str, int]) -> tuple[int, ...]:
    return tuple(int(eval(size, {}, dict(sizes))) for size in text.split())


def array(shape: tuple[int, ...], dtype: str, rng: np.random.Generator) -> NDArray[Any]:
    """Return random values that end where memory ends, or begin where it begins: other accesses crash."""
    count = int(np.prod(shape))
    flat = guarded(count * np.dtype(dtype).itemsize, at_end=bool(rng.random() < 0.7)).view(dtype)
    if flat.dtype.kind == "f":
        flat[:] = rng.normal(0.5, 1.0, count)
        odd = rng.random(count) < 0.03
        flat[odd] = rng.choice([np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0, 1e-40], int(odd.sum()))
    elif flat.dtype.kind == "b":
        flat[:] = rng.random(count) < 0.5
    else:
        flat[:] = rng.integers(0, 3, count)
    return flat.reshape(shape)


def guarded(size: int, *, at_end: bool) -> NDArray[np.uint8]:
    """Return `size` bytes between pages without access, at the end or the beginning."""
    page = mmap.PAGESIZE
    pages = -(-size // page)
    memory = mmap.mmap(-1, (pages + 2) * page)
    protect = getattr(ctypes.CDLL(None), "mprotect", None) if hasattr(mmap, "MAP_PRIVATE") else None
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    if protect is not None:
        for n in (0, pages + 1):
            protect(ctypes.c_void_p(address + n * page), ctypes.c_size_t(page), 0)
    start = page + (pages * page - size if at_end else 0)
    return np.frombuffer(memory, np.uint8)[start : start + size]


def _axis(a: NDArray[Any], rng: np.random.Generator) -> int:
    return int(rng.integers(a.ndim))


def _resized(a: NDArray[Any], rng: np.random.Generator, change: Callable[[int], int]) -> NDArray[Any]:
    shape, axis = list(a.shape), _axis(a, rng)
    shape[axis] = max(0, change(shape[axis]))
    return array(tuple(shape), a.dtype.name, rng)


def _read_only(a: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    view = a.view()
    view.flags.writeable = False
    return view


def _misaligned(a: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    return np.ndarray(a.shape, a.dtype, np.zeros(a.nbytes + 1, np.uint8).data, 1)


def _extreme(a: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    limits = np.finfo(a.dtype) if a.dtype.kind == "f" else np.iinfo(a.dtype if a.dtype.kind in "iu" else np.int8)
    values = [limits.min, limits.max, 0, 1, 7, *([np.nan, np.inf, -np.inf] if a.dtype.kind == "f" else [])]
    result = array(a.shape, a.dtype.name, rng)
    result[...] = rng.choice(np.array(values).astype(a.dtype), a.shape)
    return result


def _huge(a: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Without elements, but with a size beyond 32 bits."""
    shape = [1] * a.ndim
    shape[_axis(a, rng)] = 1 << 40
    shape[_axis(a, rng)] = 0
    return np.empty(shape if 0 in shape and a.ndim > 0 else [0] * a.ndim, a.dtype)


def _cut(a: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Return a part of every axis, with the strides of the whole."""
    return np.repeat(a, 2, axis=_axis(a, rng))[tuple(slice(0, n) for n in a.shape)]


# What replaces an array; each takes the array and a generator of random numbers.
ARRAY_CHANGES: dict[str, Callable[[NDArray[Any], np.random.Generator], Any]] = {
    "extreme values": _extreme,
    "other type": lambda a, rng: a.astype(
        rng.choice(["f4", "f8", "i2", "i4", "i8", "u1", "c8", "?", ">f4", "f2", "O"])
    ),
    "read only": _read_only,
    "Fortran order": lambda a, rng: np.asfortranarray(a),
    "reversed": lambda a, rng: np.flip(a, _axis(a, rng)),
    "cut from a larger one": _cut,
    "one value": lambda a, rng: np.broadcast_to(a.reshape(-1)[:1].reshape((1,) * a.ndim) if a.size else a, a.shape),
    "axis empty": lambda a, rng: _resized(a, rng, lambda n: 0),
    "axis longer": lambda a, rng: _resized(a, rng, lambda n: n + 1),
    "axis shorter": lambda a, rng: _resized(a, rng, lambda n: n - 1),
    "axis of one": lambda a, rng: _resized(a, rng, lambda n: 1),
    "one axis more": lambda a, rng: a[None],
    "one axis less": lambda a, rng: a.reshape(-1) if a.ndim > 1 else a.sum(),
    "misaligned": _misaligned,
    "huge": _huge,
    "no array": lambda a, rng: [None, a.tolist(), 3, "text", b"bytes", object(), (), np.float32(1), memoryview(b"ab")][
        int(rng.integers(9))
    ],
}

# What replaces other values.
VALUES = (-1, 0, 1, 2, 255, 2**31 - 1, 2**31, -(2**31), 2**63 - 1, 2**63, -(2**63), 10**30, 0.0, -0.5, 1e-300, 1e300)
VALUES += (float("nan"), float("inf"), None, True, "", "baseline", "x" * 1000, b"", (), (1,), (1, 1, 1), (0, 0, 0))  # type: ignore[assignment]
VALUES += ((1, 2, 2**62), (-1, -1, -1), (2**62,) * 3, [1, 2, "3"], (1.5, 1, 1), object, [None], {}, np.float64(2))  # type: ignore[assignment]
