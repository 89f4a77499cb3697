"""SIGINT and SIGTERM as exceptions in the main thread, raised again if a library drops them."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from types import FrameType

__all__ = ["Terminated", "acknowledge", "ignore", "install"]

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


def _on_signal(number: int, _frame: FrameType | None) -> None:
    again = number in _resent
    _resent.discard(number)
    if again and number not in _pending:
        return
    if again and _is_unwinding():
        _raise_later(number)
        return
    _pending.add(number)
    _raise_later(number)
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


def _raise_later(number: int) -> None:
    def signalled() -> None:
        _scheduled.discard(number)
        _resent.add(number)
        _thread.interrupt_main(signal.Signals(number))

    if number not in _scheduled:
        _scheduled.add(number)
        again = threading.Timer(_DROPPED_S, signalled)
        again.daemon = True
        again.start()
