"""Tracing of the functions within one call, without changes to their code."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import NDArray

import lightcrcf
from lightcrcf.engines.bfloat16 import Bfloat16Features

__all__ = ["Event", "Labeller", "nbytes", "trace"]

_PACKAGE = Path(lightcrcf.__file__).resolve().parent
Labeller = Callable[[Mapping[str, Any]], str]
Function = tuple[str, str]


@dataclass
class Event:
    """One call.

    Args:
        label: what it was.
        start: when it began, in seconds of `time.perf_counter`.
        seconds: it took.
        bytes_moved: of the arrays that went in and came out.
        gflop: 10^9 operations of its convolution; a multiply-add is two.
    """

    label: str
    start: float
    seconds: float
    bytes_moved: int
    gflop: float = 0.0


def trace(call: Callable[[], object], watched: Mapping[Function, Labeller]) -> list[Event]:
    """Run `call` and time functions in it; a watched function inside of another one counts as part of that.

    Args:
        call: what to run, in this thread.
        watched: (file below the package, name of a function) to what names the call, given its arguments.

    Example:
        >>> from lightcrcf.geometry.kernels import upsample
        >>> field = np.zeros((3, 2, 3, 4), np.float32)
        >>> watched = {("geometry/kernels.py", "upsample"): lambda arguments: f"to {arguments['shape']}"}
        >>> [event.label for event in trace(lambda: upsample(field, (4, 6, 8)), watched)]
        ['to (4, 6, 8)']
    """
    labellers = {(str(_PACKAGE / file), name): labeller for (file, name), labeller in watched.items()}
    events: list[Event] = []
    outer: list[FrameType] = []
    arguments: list[dict[str, Any]] = []

    def observe(frame: FrameType, event: str, value: Any) -> None:
        if event == "call" and not outer:
            function = (frame.f_code.co_filename, frame.f_code.co_name)
            labeller = labellers.get(function)
            if labeller is not None:
                outer.append(frame)
                arguments.append(dict(frame.f_locals))
                events.append(Event(labeller(arguments[-1]), time.perf_counter(), 0.0, 0))
        elif event == "return" and outer and outer[-1] is frame:
            events[-1].seconds = time.perf_counter() - events[-1].start
            events[-1].bytes_moved = nbytes([*arguments.pop().values(), value])
            outer.pop()

    before = sys.getprofile()
    sys.setprofile(observe)
    try:
        call()
    finally:
        sys.setprofile(before)
    return events


def nbytes(values: list[Any]) -> int:
    """Return the bytes of all arrays; what is written into an argument may be returned as well, and counts once."""
    return sum(array.nbytes for array in {id(array): array for array in _arrays(values)}.values())


def _arrays(value: Any) -> Iterator[NDArray[Any]]:
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, Bfloat16Features):
        yield value.data
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _arrays(part)
