"""Logs of a training run: `log.jsonl` and events of TensorBoard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

__all__ = ["Journal"]


class Journal:
    """The log of a run.

    Args:
        folder: of the run.
        tensorboard: whether to write scalars and images for TensorBoard, in `folder`/tensorboard.
        step: at which the run resumes; later events of an earlier attempt are hidden.
    """

    def __init__(self, folder: Path, *, tensorboard: bool, step: int = 0) -> None:
        self._file = folder / "log.jsonl"
        self._events: SummaryWriter | None = None
        if tensorboard:
            from torch.utils.tensorboard.writer import SummaryWriter

            self._events = SummaryWriter(str(folder / "tensorboard"), purge_step=step)

    def write(self, step: int, group: str, values: dict[str, float]) -> None:
        """Append `values` at a step; those of groups other than "train" stand below the group's name."""
        record: dict[str, Any] = {"step": step, **(values if group == "train" else {group: values})}
        with self._file.open("a", encoding="utf-8") as log:
            log.write(json.dumps(record) + "\n")
        if self._events is not None:
            for name, value in values.items():
                self._events.add_scalar(f"{group}/{name}", value, step)
            self._events.flush()

    def picture(self, step: int, name: str, image: NDArray[np.float32]) -> None:
        """Add a greyscale image (H, W) in [0, 1] to the events of TensorBoard."""
        if self._events is not None:
            self._events.add_image(f"monitor/{name}", np.clip(image, 0.0, 1.0), step, dataformats="HW")
            self._events.flush()

    def close(self) -> None:
        """Close the files."""
        if self._events is not None:
            self._events.close()
