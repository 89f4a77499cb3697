"""SIGINT and SIGTERM as exceptions in the main thread, raised again if a library drops them."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from types import FrameType

__all__ = ["Terminated", "acknowledge", "ignore", "install"]

_LLVM_S = 0.02  # seconds; LLVM compiles a function within milliseconds
_DROPPED_S = 0.2
_pending: set[int] = set()  # signals raised and not yet acknowledged
_scheduled: set[int] = set()  # signals that a timer will raise again
_resent: set[int] = set()  # signals that a timer has raised again


class Terminated(KeyboardInterrupt):
    """SIGTERM, which unwinds as SIGINT does, so that temporary files are removed."""


def install() -> None:
    """Raise both signals as exceptions in the main thread; a signal that the shell ignores stays ignored.

    Python drops exceptions in destructors and in some callbacks, and so do some libraries: the program would continue.
    A signal is therefore raised again until `acknowledge` is called.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _on_signal)
    signal.signal(signal.SIGTERM, _on_signal)
    sys.unraisablehook = _on_dropped


def acknowledge() -> None:
    """Stop raising signals again; the exception reached main()."""
    _pending.clear()


def ignore() -> None:
    """Ignore both signals during the final clean-up, which would print a traceback."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _on_signal(number: int, frame: FrameType | None) -> None:
    again = number in _resent
    _resent.discard(number)
    if again and number not in _pending:
        return
    if again and _is_unwinding():
        _raise_later(number, _DROPPED_S)
        return
    _pending.add(number)
    if _is_in_llvm(frame):
        # LLVM calls back into Python for its caches. An exception is dropped there together with the return value,
        # and the process crashes with a null pointer: raise the signal a moment later instead.
        _raise_later(number, _LLVM_S)
        return
    _raise_later(number, _DROPPED_S)
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


def _on_dropped(dropped: sys.UnraisableHookArgs) -> None:
    if not isinstance(dropped.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(dropped)


def _is_unwinding() -> bool:
    """Return whether the main thread is in an `except`, `finally` or `with` clause that handles a signal."""
    error = sys.exc_info()[1]
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _raise_later(number: int, seconds: float) -> None:
    def signalled() -> None:
        _scheduled.discard(number)
        _resent.add(number)
        _thread.interrupt_main(signal.Signals(number))

    if number not in _scheduled:
        _scheduled.add(number)
        again = threading.Timer(seconds, signalled)
        again.daemon = True
        again.start()


def _is_in_llvm(frame: FrameType | None) -> bool:
    """Return whether the call stack of this frame contains LLVM."""
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith("llvmlite."):
            return True
        frame = frame.f_back
    return False
