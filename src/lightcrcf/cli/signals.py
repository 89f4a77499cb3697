"""Ctrl-C and SIGTERM: when they may unwind the program, and as what."""

from __future__ import annotations

import _thread
import signal
import threading
from types import FrameType

__all__ = ["Terminated", "ignore", "install"]

_AGAIN_S = 0.02  # LLVM works on one function for milliseconds
_waiting: set[int] = set()


class Terminated(KeyboardInterrupt):
    """SIGTERM came; it unwinds as Ctrl-C does, so that temporary files are removed."""


def install() -> None:
    """From now on both signals raise in the main thread; one that a shell ignores for us stays ignored."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _on_signal)
    signal.signal(signal.SIGTERM, _on_signal)


def ignore() -> None:
    """What is left is tidying up, which would print a traceback."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _on_signal(number: int, frame: FrameType | None) -> None:
    if not _below_llvm(frame):
        raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
    # LLVM calls back into Python for its caches. An exception is dropped there, together with the answer that LLVM
    # waits for, and the process dies of a null pointer: the signal comes again a moment later.
    if number not in _waiting:
        _waiting.add(number)
        _come_again(number)


def _come_again(number: int) -> None:
    def signalled() -> None:
        _waiting.discard(number)
        _thread.interrupt_main(signal.Signals(number))

    again = threading.Timer(_AGAIN_S, signalled)
    again.daemon = True
    again.start()


def _below_llvm(frame: FrameType | None) -> bool:
    """Whether LLVM is at work in any of the calls that led to this frame."""
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith("llvmlite."):
            return True
        frame = frame.f_back
    return False
