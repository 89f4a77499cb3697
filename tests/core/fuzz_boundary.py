"""Call every function of lightcrcf._core with valid, odd and invalid arguments: each returns or raises.

Usage: fuzz_boundary.py SEED EXAMPLES LOG [FUNCTION...]. The last call is in the file LOG, for a crash.
"""

from __future__ import annotations

import faulthandler
import sys
from pathlib import Path
from typing import Any

import numpy as np
from boundary_arguments import ARGUMENTS, ARRAY_CHANGES, SIZES, VALUES, Call, Parameter, parameters, valid_call
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from lightcrcf import _core

LEGAL = (TypeError, ValueError, OverflowError)


def functions() -> list[str]:
    """Return the names of all functions of the extension."""
    return [name for name in dir(_core) if callable(getattr(_core, name)) and not name.startswith("_")]


def change(call: Call, wanted: Parameter, data: st.DataObject, rng: np.random.Generator) -> str:
    """Change one argument of a call, and return how."""
    value = call[wanted.name]
    if not wanted.is_array or not isinstance(value, np.ndarray):
        index = data.draw(st.integers(0, len(VALUES) - 1))
        call[wanted.name] = VALUES[index]
        return f"{wanted.name}: {VALUES[index]!r}"
    kind = data.draw(st.sampled_from(["overlap", *ARRAY_CHANGES]))
    call[wanted.name] = overlap(call, value, rng) if kind == "overlap" else ARRAY_CHANGES[kind](value, rng)
    return f"{wanted.name}: {kind}"


def overlap(call: Call, value: Any, rng: np.random.Generator) -> Any:
    """Return an array of the same shape and type in the memory of another argument, perhaps shifted."""
    others = [a for a in call.values() if isinstance(a, np.ndarray) and a is not value and a.flags.c_contiguous]
    if not others:
        return value
    memory = others[int(rng.integers(len(others)))].reshape(-1).view(np.uint8)
    room = memory.size - value.nbytes
    if room < 0 or value.size == 0:
        return value
    start = int(rng.integers(room // value.itemsize + 1)) * value.itemsize
    return memory[start : start + value.nbytes].view(value.dtype).reshape(value.shape)


def inputs(call: Call, wanted: list[Parameter]) -> dict[str, bytes]:
    """Return the bytes of the arrays that a function only reads, unless they overlap one that it writes."""
    arrays = {p.name: call[p.name] for p in wanted if isinstance(call[p.name], np.ndarray) and p.is_array}
    written = [arrays[p.name] for p in wanted if p.name in arrays and p.writable]
    read = [p.name for p in wanted if p.name in arrays and not p.writable and arrays[p.name].dtype != object]
    return {
        n: arrays[n].tobytes()
        for n in read
        if arrays[n].size < 10**6 and not any(map(lambda w, n=n: np.may_share_memory(w, arrays[n]), written))
    }


def attempt(name: str, call: Call, wanted: list[Parameter]) -> bool:
    """Call a function, and return whether it returned. Arrays that it only reads must not change."""
    before = inputs(call, wanted)
    try:
        getattr(_core, name)(*call.values())
    except LEGAL:
        return False
    finally:
        _core.limit_isa("avx512bf16")
        _core.set_thread_count(2)
        assert before == {n: call[n].tobytes() for n in before}, "an input was written"
    return True


def fuzz(name: str, number: int, examples: int, log: Path) -> None:
    """Call one function with examples, half of them changed. Raise AssertionError if it never returned."""
    wanted, returned = parameters(getattr(_core, name)), 0

    @seed(number)
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def check(data: st.DataObject) -> None:
        nonlocal returned
        sizes = {size: data.draw(st.sampled_from([1, 2, 3, 5, 7, 37 if size in "nw" else 4])) for size in SIZES}
        fill = data.draw(st.integers(0, 2**32 - 1))
        call = valid_call(ARGUMENTS[name], wanted, sizes, np.random.default_rng(fill))
        changes = data.draw(st.lists(st.sampled_from(wanted), max_size=2)) if wanted else []
        told = [change(call, one, data, np.random.default_rng(fill + 1)) for one in changes]
        log.write_text(f"{name}: sizes {sizes}, fill {fill}, changed {told}")
        returned += attempt(name, call, wanted)

    check()
    assert returned, f"{name} never returned: correct its line in ARGUMENTS"


def main(number: int, examples: int, log: Path, names: list[str]) -> None:
    faulthandler.enable()
    for n, name in enumerate(names or functions()):
        fuzz(name, number + n, examples, log)


if __name__ == "__main__":
    np.seterr(all="ignore")
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
