"""`python -m lightcrcf` and the script `lightcrcf`: the command line, whose import can be interrupted too."""

import sys
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command line of this process and leave with its exit code."""
    try:
        from lightcrcf.cli.main import main as run
    except KeyboardInterrupt:
        sys.exit(_interrupted())
    run()


def _interrupted() -> int:
    sys.stderr.write("interrupted\n")
    return 130


if __name__ == "__main__":
    main()
