"""Options of the registrations of a cohort."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from lightcrcf import options
from lightcrcf.run_record.input_files import fingerprint
from lightcrcf.transforms.itk import read_affine
from lightcrcf.weights.store import load

__all__ = ["BatchOptions"]


@dataclass(frozen=True)
class BatchOptions(options.Options):
    """Options of `lightcrcf.register` for all pairs, and whether to write a report of each.

    Args:
        threads: of each pair; None divides the cores among the workers.
        report: whether to write report.html for each pair.
    """

    report: bool = False

    def check(self) -> None:
        """Check options before any pair is registered.

        Raises:
            UsageError: for an unknown model, and as `options.Options.check`.
            InputError: for a damaged model, or an affine file that cannot be read.
        """
        super().check()
        if self.model not in ("auto", "none"):
            load(self.model)
        if self.init not in ("auto", "none"):
            read_affine(self.init)

    def for_register(self, pairs: int | None = None) -> dict[str, Any]:
        """Return the keyword arguments for `register`.

        Args:
            pairs: number of image pairs registered together; further channel weights are dropped.
        """
        named = {name: value for name, value in asdict(self).items() if name != "report"}
        return {**named, "channel_weights": self.channel_weights[:pairs]}

    def identity(self) -> dict[str, Any]:
        """Return the options on which results depend, files by their SHA-256, with the version; without threads."""
        named = {name: value for name, value in asdict(self).items() if name != "threads" and value != ()}
        if self.channel_weights:
            named["channel_weights"] = list(self.channel_weights)  # as JSON stores it
        if self.model not in ("auto", "none"):
            weights = load(self.model)
            named["model"] = {"name": weights.name, "sha256": weights.sha256}
        if self.init not in ("auto", "none"):
            named["init"] = {"sha256": fingerprint(self.init)}
        return {"lightcrcf": version("lightcrcf"), **named}
