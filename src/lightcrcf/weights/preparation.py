"""Preparation of images for a network, and ranges of its training images; both are stored in the weights file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Literal, get_args

__all__ = ["CT", "Preparation", "Profile", "Ranges", "RefinementInit", "RefinementScale", "View"]

View = Literal["foreground", "whole"]
RefinementInit = Literal["network", "identity", "none"]
RefinementScale = Literal[8, 4, 2]
CT = "CT"
"""Entry of `Profile.kinds` for training images in Hounsfield units."""
Vector = tuple[float, float, float]
Ranges = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class Preparation:
    """The preparation of a pair: working grid, intensity range, alignment, and start of the refinement.

    Args:
        spacing_mm: of the working grid along each axis; None keeps the voxels of the fixed image.
        view: extent of the working grid: the foreground with a margin, or the whole fixed image (crops).
        window: intensity range that maps to 0 and 1 (CT); None estimates it from each image.
        align: whether to align the pair affinely first; otherwise the headers define the frame (one subject).
        refinement_init: initial field of the refinement: the low-pass filtered field of the "network", the "identity"
            (the network serves the fast preset only), or "none", without refinement. For images of one contrast.
        refinement_scale: of the coarsest level that refines the field of the network: 8, 4 or 2, where 1 is full
            resolution.
        contrast: weight of local contrast in the refinement, relative to that of the images.
        across: the initial field for images of two contrasts, one of which the network sees in the contrast of the
            other; None if it does not run on them.

    Example:
        >>> Preparation.from_json(Preparation((1.0, 1.0, 1.0)).to_json()).view
        'foreground'
    """

    spacing_mm: Vector | None
    view: View = "foreground"
    window: tuple[float, float] | None = None
    align: bool = True
    refinement_init: RefinementInit = "network"
    refinement_scale: RefinementScale = 8
    contrast: float = 0.0
    across: RefinementInit | None = None

    def __post_init__(self) -> None:
        spacing, window = self.spacing_mm, self.window
        if spacing is not None and (len(spacing) != 3 or not all(0 < s < math.inf for s in spacing)):
            raise ValueError(f"a spacing of three positive numbers or none, got {spacing}")
        if self.view not in get_args(View):
            raise ValueError(f"a view of {' or '.join(get_args(View))}, got {self.view!r}")
        for init in (self.refinement_init, self.across):
            if init is not None and init not in get_args(RefinementInit):
                raise ValueError(f"an initial field of {' or '.join(get_args(RefinementInit))}, got {init!r}")
        if self.refinement_scale not in get_args(RefinementScale):
            scales = " or ".join(map(str, get_args(RefinementScale)))
            raise ValueError(f"a scale of {scales}, got {self.refinement_scale!r}")
        if not 0 <= self.contrast < math.inf:
            raise ValueError(f"a contrast of zero or more, got {self.contrast}")
        if window is not None and not (len(window) == 2 and -math.inf < window[0] < window[1] < math.inf):
            raise ValueError(f"a window of two rising numbers or none, got {window}")

    @property
    def metric(self) -> Literal["lncc", "mse"]:
        """Similarity measure: MSE within a subject, whose images have comparable intensities, else LNCC."""
        return "lncc" if self.align else "mse"

    def to_json(self) -> str:
        """Return one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Preparation:
        """Parse the output of `to_json`.

        Raises:
            ValueError, TypeError, KeyError: for other text.
        """
        values = _with_defaults(cls, json.loads(text))
        for name in ("spacing_mm", "window"):
            if values[name] is not None:
                values[name] = tuple(float(v) for v in values[name])
        return cls(**values)


@dataclass(frozen=True)
class Profile:
    """Ranges of the training images, to decide whether a model suits an image.

    Args:
        kinds: image types of `preprocessing.foreground`; "CT" too if some images were CT.
        voxels: minimum and maximum number of voxels along each working axis.
        extent_mm: minimum and maximum length of the image along each working axis.
        litres: minimum and maximum volume of the foreground.
    """

    kinds: tuple[str, ...]
    voxels: Ranges
    extent_mm: Ranges
    litres: tuple[float, float]

    def to_json(self) -> str:
        """Return one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Profile:
        """Parse the output of `to_json`.

        Raises:
            ValueError, TypeError, KeyError: for other text.
        """
        values = _with_defaults(cls, json.loads(text))
        ranges = {name: tuple((float(a), float(b)) for a, b in values[name]) for name in ("voxels", "extent_mm")}
        if any(len(r) != 3 for r in ranges.values()):
            raise ValueError("ranges of three axes")
        low, high = values["litres"]
        kinds = tuple(str(kind) for kind in values["kinds"])
        return cls(kinds, **ranges, litres=(float(low), float(high)))  # type: ignore[arg-type]


def _with_defaults(cls: type, values: Any) -> dict[str, Any]:
    """Return all fields by name; fields with a default are optional."""
    defaults = {f.name: f.default for f in fields(cls) if f.default is not MISSING}
    names = {f.name for f in fields(cls)}
    if not isinstance(values, Mapping) or not names - set(defaults) <= set(values) <= names:
        raise ValueError(f"the names {sorted(names)}")
    return {**defaults, **values}
