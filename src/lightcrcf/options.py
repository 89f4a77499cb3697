"""The options of a registration, declared once: defaults, choices and help for Python, command line and records."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from lightcrcf.errors import UsageError

__all__ = [
    "MAX_SMOOTHNESS", "MIN_SMOOTHNESS", "PRESETS", "SIMILARITIES", "TRANSFORMS", "Fill", "Options", "Preset",
    "Similarity", "Transform", "fill_value", "help_of", "word_of",
]  # fmt: skip

Fill = float | Literal["auto", "nan"]
"""Value of voxels without data: a number, "auto" for the background of the image, or "nan" (JSON has no NaN)."""
Preset = Literal["fast", "default", "accurate"]
"""Time budget after the affine alignment."""
Similarity = Literal["auto", "same", "any"]
"""Similarity measure: for one contrast ("same"), for any two ("any"), or chosen after the affine ("auto")."""
Transform = Literal["rigid", "similarity", "affine", "deformable"]
"""Transform model: 6, 7 or 12 parameters, or an affine with a displacement field."""
PRESETS: tuple[Preset, ...] = get_args(Preset)
TRANSFORMS: tuple[Transform, ...] = get_args(Transform)
SIMILARITIES: tuple[Similarity, ...] = get_args(Similarity)
MIN_SMOOTHNESS, MAX_SMOOTHNESS = 0.1, 10.0
"""Range of `Options.smoothness`: beyond it results do not change, or Gaussians are as wide as the structures."""
_MAX_FLOAT32 = 3.4028235e38  # the largest value of a moved image


def _option(default: Any, help: str, **limits: float) -> Any:
    """Return a field with its help on the command line, and its minimum and maximum."""
    return field(default=default, metadata={"help": help, **limits})


@dataclass(frozen=True)
class Options:
    """The options of `register` that are no volumes; paths are strings.

    Example:
        >>> Options(preset="quick").check()
        Traceback (most recent call last):
            ...
        lightcrcf.errors.UsageError: preset: expected one of fast, default, accurate, got quick; correct the name
    """

    model: str = _option(
        "auto", "auto, none (no network), a name from `lightcrcf models list`, or a .safetensors file."
    )
    init: str = _option("auto", "auto: affine alignment included; none: trust the headers; or an ITK affine file.")
    preset: Preset = _option(
        "default",
        "fast: network and a few steps, or affine only; default: refined as the model asks; accurate: more.",
    )
    refine: int | None = _option(None, "Refinement steps at full resolution [default: by preset].", min=0)
    diffeomorphic: bool = _option(False, "Change the field a little so that it folds nowhere.")
    inverse: bool = _option(False, "Write the inverse displacement field too.")
    coarsen: int = _option(1, "Make the voxels of the working grid so many times larger, to save memory.", min=1)
    engine: Literal["auto", "native", "torch"] = _option("auto", "What runs the network.")
    device: Literal["cpu", "cuda"] = _option("cpu", "Where the network runs.")
    precision: Literal["auto", "f32", "bf16"] = _option("auto", "Arithmetic of the network.")
    threads: int | None = _option(None, "Threads to use [default: all].", min=1)
    fill: Fill = _option("auto", "Value where the moved image has no data; auto: its own background (labels: 0).")
    smoothness: float = _option(
        1.0, "How smooth the refined field is: 0.5 rougher, 2 smoother; not with --preset fast.",
        min=MIN_SMOOTHNESS, max=MAX_SMOOTHNESS,
    )  # fmt: skip
    jacobian: bool = _option(False, "Write jacobian.nii.gz and log_jacobian.nii.gz too: how volumes change locally.")
    similarity: Similarity = _option(
        "auto", "any: the images are of different contrasts; same: of one; auto: decide after the affine."
    )
    transform: Transform = _option("deformable", "rigid; similarity: and one scale; affine; deformable: and a field.")
    channel_weights: tuple[float, ...] = _option(
        (), "How much a pair of volumes tells; once for each pair, in order [default: all alike]."
    )
    brain_mask: bool = _option(False, "Write the fixed image's brain mask; the moving one's too, if made.")

    def record(self) -> dict[str, Any]:
        """Return the options as in `run.json`."""
        return {**asdict(self), "channel_weights": list(self.channel_weights)}

    def check(self) -> None:
        """Check all values.

        Raises:
            UsageError: for invalid values or combinations.
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
        from lightcrcf.engines.base import check_engine  # deferred: imports NumPy

        check_engine(self.engine, self.device, self.precision, self.threads)  # even if no network will run

    def _check_similarity(self) -> None:
        if self.similarity not in SIMILARITIES:
            raise UsageError(
                "similarity",
                expected=f"one of {', '.join(SIMILARITIES)}",
                got=str(self.similarity),
                remedy="correct the name",
            )
        if self.similarity == "any" and self.model not in ("auto", "none"):
            from lightcrcf.weights.store import load  # deferred: imports NumPy

            if load(self.model).preparation.across is None:
                raise UsageError(
                    "similarity",
                    expected="with any, no model or one that runs on two contrasts",
                    got=str(self.model),
                    remedy="leave out the model, or choose same",
                )

    def _check_weights(self) -> None:
        for weight in self.channel_weights:
            if not (isinstance(weight, int | float) and 0 < weight < math.inf):
                raise UsageError(
                    "channel_weight", expected="numbers above 0", got=str(weight), remedy="correct it, or leave it out"
                )

    def _check_smoothness(self) -> None:
        if not (isinstance(self.smoothness, int | float) and MIN_SMOOTHNESS <= self.smoothness <= MAX_SMOOTHNESS):
            raise UsageError(
                "smoothness",
                expected=f"a number from {MIN_SMOOTHNESS:g} to {MAX_SMOOTHNESS:g}",
                got=str(self.smoothness),
                remedy="correct the number: 1 is the default, 2 is smoother",
            )
        if self.smoothness != 1 and (self.refine == 0 or (self.preset == "fast" and self.refine is None)):
            raise UsageError(
                "smoothness",
                expected="a refinement, which it smooths",
                got="--refine 0" if self.refine == 0 else "--preset fast without --refine",
                remedy="choose --preset default or accurate, name a number of steps (--refine 4), or leave it out",
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
    """Parse a fill value: a number, "auto" or "nan".

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
    if abs(value) <= _MAX_FLOAT32:
        return value
    raise UsageError("fill", expected="auto, nan, or a number", got=str(fill), remedy="correct the value")


def help_of(name: str) -> str:
    """Return the help text of an option."""
    text: str = next(f for f in fields(Options) if f.name == name).metadata["help"]
    return text


def word_of(name: str) -> str:
    """Return the command-line option of a Python argument.

    Example:
        >>> word_of("brain_mask"), word_of("channel_weights")
        ('--brain-mask', '--channel-weight')
    """
    return "--channel-weight" if name == "channel_weights" else f"--{name.replace('_', '-')}"
