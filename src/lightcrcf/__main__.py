"""`python -m lightcrcf` and the script `lightcrcf`: the command line, whose import can be interrupted too."""

import os
import sys
from contextlib import suppress
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command line of this process and leave with its exit code."""
    _open_closed_streams()
    try:
        from lightcrcf.cli.main import main as run
    except KeyboardInterrupt:
        sys.exit(_interrupted())
    run()


def _open_closed_streams() -> None:
    """Give standard streams that the caller closed to the null device.

    Python has None for such a stream, and the next file to be opened would get its number: what a library prints would
    end in that file.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        with suppress(OSError):
            os.fstat(number)
            continue
        null = os.open(os.devnull, os.O_RDWR)
        if null != number:
            os.dup2(null, number)
            os.close(null)
        os.set_inheritable(number, True)
        setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - a number


def _interrupted() -> int:
    sys.stderr.write("interrupted\n")
    return 130


if __name__ == "__main__":
    main()
