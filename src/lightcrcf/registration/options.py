"""How a registration is to be done."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from lightcrcf.engines.base import check_engine
from lightcrcf.errors import UsageError
from lightcrcf.refinement.schedule import PRESETS

__all__ = [
    "ROUGHEST", "SIMILARITIES", "SMOOTHEST", "TRANSFORMS", "Fill", "Options", "Similarity", "Transform", "fill_value",
]  # fmt: skip

Fill = float | Literal["auto", "nan"]
"""What voxels without data become; "auto" for the image's own background, "nan" (JSON has no NaN) for not a number."""
Similarity = Literal["auto", "same", "any"]
"""Whether images of two contrasts are compared so that it does not matter: "auto" looks, "same" never, "any" always."""
Transform = Literal["rigid", "similarity", "affine", "deformable"]
"""What may move: 6 parameters, 7, 12, or an affine and each voxel."""
TRANSFORMS: tuple[str, ...] = get_args(Transform)
ROUGHEST, SMOOTHEST = 0.1, 10.0
"""Of `Options.smoothness`: beyond them nothing changes any more, or Gaussians are as wide as what they smooth."""
SIMILARITIES: tuple[Similarity, ...] = get_args(Similarity)
_LARGEST = 3.4028235e38  # that moved images, in float32, can hold


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
    fill: Fill = "auto"
    smoothness: float = 1.0
    jacobian: bool = False
    similarity: Similarity = "auto"
    transform: Transform = "deformable"
    channel_weights: tuple[float, ...] = ()
    brain_mask: bool = False

    def record(self) -> dict[str, Any]:
        """For `run.json`."""
        return {**asdict(self), "channel_weights": list(self.channel_weights)}

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
        self._check_smoothness()
        self._check_similarity()
        self._check_transform()
        self._check_weights()
        fill_value(self.fill)
        check_engine(self.engine, self.device, self.precision, self.threads)  # also where a pair will need none

    def _check_similarity(self) -> None:
        if self.similarity not in SIMILARITIES:
            raise UsageError(
                "similarity",
                expected=f"one of {', '.join(SIMILARITIES)}",
                got=str(self.similarity),
                remedy="correct the name",
            )
        if self.similarity == "any" and self.model not in ("auto", "none"):
            raise UsageError(
                "similarity",
                expected="no model with any, since networks were trained on one contrast",
                got=self.model,
                remedy="leave out the model, or choose same",
            )

    def _check_weights(self) -> None:
        for weight in self.channel_weights:
            if not (isinstance(weight, int | float) and 0 < weight < math.inf):
                raise UsageError(
                    "channel_weight", expected="numbers above 0", got=str(weight), remedy="correct it, or leave it out"
                )

    def _check_smoothness(self) -> None:
        if not (isinstance(self.smoothness, int | float) and ROUGHEST <= self.smoothness <= SMOOTHEST):
            raise UsageError(
                "smoothness",
                expected=f"a number from {ROUGHEST:g} to {SMOOTHEST:g}",
                got=str(self.smoothness),
                remedy="correct the number: 1 is the default, 2 is smoother",
            )
        if self.smoothness != 1 and (self.refine == 0 or (self.preset == "fast" and self.refine is None)):
            raise UsageError(
                "smoothness",
                expected="a refinement, which it smooths",
                got="--refine 0" if self.refine == 0 else "--preset fast, which has none",
                remedy="choose --preset default or accurate, or leave it out",
            )

    def _check_transform(self) -> None:
        if self.transform not in TRANSFORMS:
            raise UsageError(
                "transform", expected=f"one of {', '.join(TRANSFORMS)}", got=str(self.transform),
                remedy="correct the name",
            )  # fmt: skip
        if self.transform == "deformable":
            return
        needless = {
            "--refine": bool(self.refine), "--smoothness": self.smoothness != 1, "--diffeomorphic": self.diffeomorphic
        }  # fmt: skip
        if given := [name for name, is_given in needless.items() if is_given]:
            raise UsageError(
                "transform",
                expected=f"no {', '.join(given)} with {self.transform}, which has no deformation",
                got=f"--transform {self.transform} {' '.join(given)}",
                remedy="leave out one or the other",
            )
        if self.init != "auto":
            raise UsageError(
                "transform",
                expected=f"--init auto, with which a {self.transform} transform is found",
                got=f"--init {self.init}",
                remedy="leave out one or the other",
            )


def fill_value(fill: str | float) -> Fill:
    """A number, "auto" or "nan", from what was typed.

    Raises:
        UsageError: for anything else.

    Example:
        >>> fill_value("-1024"), fill_value("auto"), fill_value("NaN")
        (-1024.0, 'auto', 'nan')
    """
    if fill == "auto":
        return "auto"
    try:
        value = float(fill)
    except ValueError:
        value = math.inf
    if math.isnan(value):
        return "nan"
    if abs(value) <= _LARGEST:
        return value
    raise UsageError("fill", expected="auto, nan, or a number", got=str(fill), remedy="correct the value")
