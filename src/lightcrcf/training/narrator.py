"""What a training run says to the people who watch its log or its terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from lightcrcf.progress import Throttle, format_duration

__all__ = ["Narrator"]


class Narrator:
    """Lines about a run: its start, its pace at most every half minute, validations, checkpoints, its end.

    Args:
        say: prints a line.
        total: steps of the whole schedule.

    Example:
        >>> narrator = Narrator(print, 300)
        >>> narrator.begins("brain", 0, 17, 4, Path("run"))
        training brain, 300 steps, 17 images, 4 to monitor; log: run/log.jsonl
        >>> narrator.trained(100, {"loss": 0.5, "seconds_per_step": 1.5})
        step 100 of 300: loss 0.5, 1.5 s a step, 5 min left
        >>> narrator.trained(110, {"loss": 0.4, "seconds_per_step": 1.5})  # half a minute has not passed
    """

    def __init__(self, say: Callable[[str], None], total: int) -> None:
        self._say, self._total, self._may_print = say, total, Throttle(start=False)
        self._start, self._saved = time.monotonic(), -1

    def prepared(self, done: int, images: int) -> None:
        """Images are read and aligned, which takes a while where there are many."""
        if done < images and self._may_print():
            self._say(f"{done} of {images} images read and aligned")

    def begins(self, name: str, step: int, images: int, monitored: int, folder: Path) -> None:
        """The first step comes, or the first after a checkpoint."""
        self._start, self._may_print = time.monotonic(), Throttle()
        watched = f", {monitored} to monitor" if monitored else ""
        first = f"on from step {step} of {self._total}" if step else f"{self._total} steps"
        self._say(f"training {name}, {first}, {images} images{watched}; log: {folder / 'log.jsonl'}")

    def trained(self, step: int, values: Mapping[str, float]) -> None:
        """Means over the steps since the last record."""
        if self._may_print():
            pace = values["seconds_per_step"]
            left = format_duration((self._total - step) * pace)
            self._tell(step, f"loss {values['loss']:.4g}, {pace:.3g} s a step, {left} left")

    def monitored(self, step: int, scores: Mapping[str, float]) -> None:
        """Dice and folding on images that are not trained on."""
        dice, affine, folding = (scores[name] for name in ("dice", "dice_affine", "folding_percent"))
        self._tell(step, f"Dice {dice:.4f} (affine {affine:.4f}), folding {folding:.3g} %")

    def saved(self, step: int, checkpoint: Path) -> None:
        """A checkpoint is written; the last step's may be so twice."""
        if step != self._saved:
            self._saved = step
            self._tell(step, f"checkpoint {checkpoint}")

    def ends(self, weights: Path) -> None:
        """The weights are exported."""
        self._say(f"trained in {format_duration(time.monotonic() - self._start)}; weights: {weights}")

    def _tell(self, step: int, text: str) -> None:
        self._say(f"step {step} of {self._total}: {text}")
