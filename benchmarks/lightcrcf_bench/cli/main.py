"""`lightcrcf-bench`, which is `lightcrcf bench`."""

from __future__ import annotations

import sys

from lightcrcf.cli.main import run

__all__ = ["main"]


def main() -> None:
    """Run the command line of this process and leave with its exit code."""
    sys.exit(run(["bench", *sys.argv[1:]]))
