"""How all pairs of a cohort are registered."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from lightcrcf import options
from lightcrcf.run_record.input_files import fingerprint
from lightcrcf.transforms.itk import read_affine
from lightcrcf.weights.store import load

__all__ = ["Options"]


@dataclass(frozen=True)
class Options(options.Options):
    """Options of `lightcrcf.register` that hold for every pair, and whether each gets a report.

    Args:
        threads: of each pair; None shares the cores out.
    """

    report: bool = False

    def check(self) -> None:
        """Refuse at once what every pair would refuse.

        Raises:
            UsageError: for an unknown model, and as for one pair.
            InputError: for a damaged model, or an affine file that cannot be read.
        """
        super().check()
        if self.model not in ("auto", "none"):
            load(self.model)
        if self.init not in ("auto", "none"):
            read_affine(self.init)

    def for_register(self, pairs: int | None = None) -> dict[str, Any]:
        """What `register` takes.

        Args:
            pairs: of images that are registered together, if the weights may be of more.
        """
        named = {name: value for name, value in asdict(self).items() if name != "report"}
        return {**named, "channel_weights": self.channel_weights[:pairs]}

    def identity(self) -> dict[str, Any]:
        """What results depend on: all but threads, files by their content, and the version of LightCRCF."""
        named = {name: value for name, value in asdict(self).items() if name != "threads" and value != ()}
        if self.channel_weights:
            named["channel_weights"] = list(self.channel_weights)  # as JSON has it
        if self.model not in ("auto", "none"):
            weights = load(self.model)
            named["model"] = {"name": weights.name, "sha256": weights.sha256}
        if self.init not in ("auto", "none"):
            named["init"] = {"sha256": fingerprint(self.init)}
        return {"lightcrcf": version("lightcrcf"), **named}
