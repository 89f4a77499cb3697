"""Check that kernel objects share no inline functions with other objects, see base/dispatch.hpp.

Usage: symbols.py NM ISA OBJECT... Prints the weak definitions outside of the namespace of the instruction set, and
fails if there are any: the linker would keep one copy of each, perhaps one that the processor cannot run.
"""

from __future__ import annotations

import re
import subprocess
import sys


def shared_symbols(nm: str, isa: str, objects: list[str]) -> list[str]:
    """Return weak definitions without the namespace of an instruction set in their name."""
    listing = subprocess.run([nm, "-C", *objects], check=True, capture_output=True, text=True).stdout
    weak = re.findall(r"^[0-9a-f]+ [WVu] (.*)$", listing, re.MULTILINE)
    # The compiler's own, of data only: the personality of exceptions, and marks of sanitizers.
    own = ("DW.ref.", "__asan", "__odr_asan", "__tsan", "__ubsan")
    return sorted({name for name in weak if f"lightcrcf::{isa}::" not in name and not name.startswith(own)})


if __name__ == "__main__":
    found = shared_symbols(sys.argv[1], sys.argv[2], sys.argv[3:])
    print("\n".join(found))
    sys.exit(bool(found))
