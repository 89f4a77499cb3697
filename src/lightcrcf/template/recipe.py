"""Parameters of a template."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lightcrcf.batch.options import BatchOptions
from lightcrcf.batch.run import check_workers
from lightcrcf.errors import UsageError

__all__ = ["Recipe"]


@dataclass(frozen=True)
class Recipe:
    """Parameters of a template.

    Args:
        iterations: number of registrations of all images to the current template.
        step: fraction of the mean displacement that is undone in each iteration.
        sharpen: strength of the unsharp mask after each averaging; 0 for none.
        options: of the registrations.
        workers, scheduler: see `batch.run.run_batch`.
    """

    iterations: int = 4
    step: float = 1.0
    sharpen: float = 0.5
    options: BatchOptions = field(default_factory=BatchOptions)
    workers: int = 1
    scheduler: str | None = None

    def check(self) -> None:
        """Check all parameters.

        Raises:
            UsageError: for a number out of range, or as `BatchOptions.check`.
        """
        self.options.check()
        check_workers(self.workers, self.scheduler)
        for name, value, good, expected in (
            ("iterations", self.iterations, self.iterations >= 1, "1 or more"),
            ("step", self.step, 0 < self.step <= 1, "a number above 0, at most 1"),
            ("sharpen", self.sharpen, 0 <= self.sharpen <= 5, "a number from 0 to 5"),
        ):
            if not good:
                raise UsageError(name, expected=expected, got=str(value), remedy="correct the number")

    def identity(self) -> dict[str, Any]:
        """Return the parameters on which a template depends, besides the images."""
        named = {"iterations": self.iterations, "step": self.step, "sharpen": self.sharpen}
        return {**self.options.identity(), **named}
