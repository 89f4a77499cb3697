"""An environment of its own for each tool that is compared, so that none of them changes another's libraries."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lightcrcf.errors import InputError
from lightcrcf_bench.measure import CommandError, run

__all__ = ["REQUIREMENTS", "Environments"]

# Pinned: the records hold figures of these releases. ConvexAdam is not bound to a release of PyTorch; networks run on
# the one that our training has.
REQUIREMENTS: dict[str, tuple[str, ...]] = {
    "ants": ("antspyx==0.6.3",),
    "greedy": ("picsl-greedy==1.4.0.3",),
    "elastix": ("itk-elastix==0.25.4",),
    "demons": ("SimpleITK==2.5.7",),
    "convexadam": ("convexadam==0.2.0", "torch==2.13.0"),
    "voxelmorph": ("voxelmorph==0.3.4", "torch==2.13.0"),
    "torch": ("torch==2.13.0", "numpy"),
}
_METADATA = "requirements.txt"
_LIMIT_SECONDS = 1800


@dataclass(frozen=True)
class Environments:
    """Virtual environments below a folder, made when they are first asked for.

    Args:
        folder: that holds them; None runs every tool in this process's own environment.
        log: gets a line before one is made.
    """

    folder: Path | None
    log: Callable[[str], None] = print

    def python(self, tool: str) -> Path:
        """Return the interpreter that has a tool.

        Args:
            tool: a key of `REQUIREMENTS`.

        Raises:
            InputError: if the tool cannot be installed.
        """
        if self.folder is None:
            return Path(sys.executable)
        place, wanted = self.folder / tool, "\n".join(REQUIREMENTS[tool]) + "\n"
        metadata, python = place / _METADATA, place / "bin" / "python"
        if not metadata.is_file() or metadata.read_text(encoding="utf-8") != wanted:
            self.log(f"installing {', '.join(REQUIREMENTS[tool])} into {place}")
            self._make(tool, place)
            metadata.write_text(wanted, encoding="utf-8")
        return python

    def _make(self, tool: str, place: Path) -> None:
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        pip = (str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        try:
            run((sys.executable, "-m", "venv", str(place)), _LIMIT_SECONDS)
            run((*pip, *REQUIREMENTS[tool]), _LIMIT_SECONDS)
        except CommandError as error:
            shutil.rmtree(place, ignore_errors=True)
            raise InputError(
                tool, expected=f"{', '.join(REQUIREMENTS[tool])} to be installed", got=error.reason,
                remedy="see whether this Python and this machine can have it",
            ) from error  # fmt: skip
