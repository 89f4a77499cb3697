"""Ctrl-C and SIGTERM: when they may unwind the program, and as what."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from types import FrameType

__all__ = ["Terminated", "arrived", "ignore", "install"]

_LLVM_S = 0.02  # LLVM works on one function for milliseconds
_DROPPED_S = 0.2
_raised: set[int] = set()  # signals that were raised and have not arrived
_waiting: set[int] = set()  # signals that a timer will send again
_again: set[int] = set()  # signals that a timer has sent again


class Terminated(KeyboardInterrupt):
    """SIGTERM came; it unwinds as Ctrl-C does, so that temporary files are removed."""


def install() -> None:
    """From now on both signals raise in the main thread; one that a shell ignores for us stays ignored.

    Python drops what is raised while it frees an object or is called back by a library, and some libraries drop it
    too: the program would go on. A signal is therefore raised again until `arrived` is told of it.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _on_signal)
    signal.signal(signal.SIGTERM, _on_signal)
    sys.unraisablehook = _on_dropped


def arrived() -> None:
    """The exception has come to the program's door: it need not be raised again."""
    _raised.clear()


def ignore() -> None:
    """What is left is tidying up, which would print a traceback."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _on_signal(number: int, frame: FrameType | None) -> None:
    again = number in _again
    _again.discard(number)
    if again and number not in _raised:
        return
    if again and _unwinds():
        _come_again(number, _DROPPED_S)
        return
    _raised.add(number)
    if _below_llvm(frame):
        # LLVM calls back into Python for its caches. An exception is dropped there, together with the answer that
        # LLVM waits for, and the process dies of a null pointer: the signal comes again a moment later.
        _come_again(number, _LLVM_S)
        return
    _come_again(number, _DROPPED_S)
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


def _on_dropped(dropped: sys.UnraisableHookArgs) -> None:
    if not isinstance(dropped.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(dropped)


def _unwinds() -> bool:
    """Whether the main thread is between `except`, `finally` or `with` and what they do about a signal."""
    error = sys.exc_info()[1]
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _come_again(number: int, seconds: float) -> None:
    def signalled() -> None:
        _waiting.discard(number)
        _again.add(number)
        _thread.interrupt_main(signal.Signals(number))

    if number not in _waiting:
        _waiting.add(number)
        again = threading.Timer(seconds, signalled)
        again.daemon = True
        again.start()


def _below_llvm(frame: FrameType | None) -> bool:
    """Whether LLVM is at work in any of the calls that led to this frame."""
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith("llvmlite."):
            return True
        frame = frame.f_back
    return False
