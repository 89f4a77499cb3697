"""How a registration is to be done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lightcrcf.engines.base import check_engine
from lightcrcf.errors import UsageError
from lightcrcf.pipeline.schedule import PRESETS

__all__ = ["Options"]


@dataclass(frozen=True)
class Options:
    """The options of `register` that are no volumes, as it documents them; paths are strings.

    Example:
        >>> Options(preset="quick").check()
        Traceback (most recent call last):
            ...
        lightcrcf.errors.UsageError: preset: expected one of fast, default, accurate, got quick; correct the name
    """

    model: str = "auto"
    init: str = "auto"
    preset: str = "default"
    refine: int | None = None
    diffeomorphic: bool = False
    inverse: bool = False
    coarsen: int = 1
    engine: Literal["auto", "openvino", "torch"] = "auto"
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Literal["auto", "f32", "bf16"] = "auto"
    threads: int | None = None

    def check(self) -> None:
        """Refuse what no pair could be registered with.

        Raises:
            UsageError: for values that are none, or do not fit together.
        """
        if self.preset not in PRESETS:
            raise UsageError(
                "preset", expected=f"one of {', '.join(PRESETS)}", got=str(self.preset), remedy="correct the name"
            )
        if self.coarsen < 1:
            raise UsageError("coarsen", expected="1 or more", got=str(self.coarsen), remedy="correct the number")
        if self.refine is not None and self.refine < 0:
            raise UsageError("refine", expected="a number of steps", got=str(self.refine), remedy="correct the number")
        check_engine(self.engine, self.device, self.precision, self.threads)  # also where a pair will need none
