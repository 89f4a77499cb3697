"""How a template is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lightcrcf.batch.options import Options
from lightcrcf.batch.run import check_places
from lightcrcf.errors import UsageError

__all__ = ["Recipe"]


@dataclass(frozen=True)
class Recipe:
    """How a template is made.

    Args:
        iterations: how often all images are registered to the template that there is.
        step: share of the mean displacement that is undone each time.
        sharpen: strength of the unsharp mask after each averaging; 0 for none.
        options: of the registrations.
        workers, scheduler: who does them; see `batch.run_batch`.
    """

    iterations: int = 4
    step: float = 1.0
    sharpen: float = 0.5
    options: Options = field(default_factory=Options)
    workers: int = 1
    scheduler: str | None = None

    def check(self) -> None:
        """Refuse at once what cannot be meant.

        Raises:
            UsageError: for a number out of range, or as `Options.check`.
        """
        self.options.check()
        check_places(self.workers, self.scheduler)
        for name, value, good, expected in (
            ("iterations", self.iterations, self.iterations >= 1, "1 or more"),
            ("step", self.step, 0 < self.step <= 1, "a number above 0, at most 1"),
            ("sharpen", self.sharpen, 0 <= self.sharpen <= 5, "a number from 0 to 5"),
        ):
            if not good:
                raise UsageError(name, expected=expected, got=str(value), remedy="correct the number")

    def identity(self) -> dict[str, Any]:
        """What a template depends on besides the images."""
        named = {"iterations": self.iterations, "step": self.step, "sharpen": self.sharpen}
        return {**self.options.identity(), **named}
