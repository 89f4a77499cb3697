"""Progress messages of a training run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from lightcrcf.progress import Throttle, format_duration

__all__ = ["Narrator"]


class Narrator:
    """Progress messages of a run: start, speed at most every half minute, validations, checkpoints, end.

    Args:
        log: prints a line.
        total: number of steps of all stages.

    Example:
        >>> narrator = Narrator(print, 300)
        >>> narrator.begins("brain", 0, 17, 4, Path("run"))
        training brain, 300 steps, 17 images, 4 to monitor; log: run/log.jsonl
        >>> narrator.trained(100, {"loss": 0.5, "seconds_per_step": 1.5})
        step 100 of 300: loss 0.5, 1.5 s a step, 5 min left
        >>> narrator.trained(110, {"loss": 0.4, "seconds_per_step": 1.5})  # half a minute has not passed
    """

    def __init__(self, log: Callable[[str], None], total: int) -> None:
        self._log, self._total, self._may_print = log, total, Throttle(start=False)
        self._start, self._saved = time.monotonic(), -1

    def prepared(self, done: int, images: int) -> None:
        """Report images that are read and aligned."""
        if done < images and self._may_print():
            self._log(f"{done} of {images} images read and aligned")

    def begins(
        self, name: str, step: int, images: int, monitored: int, folder: Path, source: str | None = None
    ) -> None:
        """Report the start of the run, from `source` if it names weights, or its resumption from a checkpoint."""
        self._start, self._may_print = time.monotonic(), Throttle()
        monitored_text = f", {monitored} to monitor" if monitored else ""
        start = f"on from step {step} of {self._total}" if step else f"{self._total} steps"
        start += f" from {source}" if source and not step else ""
        self._log(f"training {name}, {start}, {images} images{monitored_text}; log: {folder / 'log.jsonl'}")

    def trained(self, step: int, values: Mapping[str, float]) -> None:
        """Report means over the steps since the last record."""
        if self._may_print():
            pace = values["seconds_per_step"]
            left = format_duration((self._total - step) * pace)
            self._report_step(step, f"loss {values['loss']:.4g}, {pace:.3g} s a step, {left} left")

    def monitored(self, step: int, scores: Mapping[str, float], *, trained: bool = False) -> None:
        """Report Dice, or local correlation without labels, and folding of validation pairs, or of a trained pair."""
        name, title = ("dice", "Dice") if "dice" in scores else ("correlation", "local correlation")
        after, affine, folding = (scores[key] for key in (name, f"{name}_affine", "folding_percent"))
        who = "a pair that it trains on: " if trained else ""
        self._report_step(step, f"{who}{title} {after:.4f} (affine {affine:.4f}), folding {folding:.3g} %")

    def warn(self, text: str) -> None:
        """Report something that does not stop the run."""
        self._log(text)

    def saved(self, step: int, checkpoint: Path) -> None:
        """Report a checkpoint; that of the last step may be written twice, and is reported once."""
        if step != self._saved:
            self._saved = step
            self._report_step(step, f"checkpoint {checkpoint}")

    def ends(self, weights: Path, command: str, report: Path) -> None:
        """Report the end: duration and report, then the exported weights and a command that uses them."""
        self._log(f"trained in {format_duration(time.monotonic() - self._start)}; report: {report}")
        self._log(f"model {weights}; to use it: {command}")

    def _report_step(self, step: int, text: str) -> None:
        self._log(f"step {step} of {self._total}: {text}")
