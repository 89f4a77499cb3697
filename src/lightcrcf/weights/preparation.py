"""How images must be prepared for a network, and which images it was trained on. Both travel in its file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Literal, get_args

__all__ = ["CT", "Preparation", "Profile", "Ranges", "RefinementInit", "View"]

View = Literal["foreground", "whole"]
RefinementInit = Literal["network", "identity", "none"]
CT = "CT"
"""Among the kinds of images of a profile: some were in Hounsfield units."""
Vector = tuple[float, float, float]
Ranges = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class Preparation:
    """What is done to a pair before the network sees it.

    Args:
        spacing_mm: of the working grid, along each of its axes; None keeps the fixed image's own voxels.
        view: what the working grid shows: the foreground and a margin, or the whole fixed image (crops).
        window: the intensities that become 0 and 1 (CT); None takes them from each image.
        align: whether the pair is aligned affinely first; otherwise the headers are trusted (one person, one frame).
        refinement_init: where the refinement starts: from block means of the "network"'s field, from the "identity"
            (the network serves the fast preset only), or not at all ("none": it would lose what the network knows).
        contrast: weight of the images' local contrast in the refinement, beside that of the images themselves.

    Example:
        >>> Preparation.from_json(Preparation((1.0, 1.0, 1.0)).to_json()).view
        'foreground'
    """

    spacing_mm: Vector | None
    view: View = "foreground"
    window: tuple[float, float] | None = None
    align: bool = True
    refinement_init: RefinementInit = "network"
    contrast: float = 0.0

    def __post_init__(self) -> None:
        spacing, window = self.spacing_mm, self.window
        if spacing is not None and (len(spacing) != 3 or not all(0 < s < math.inf for s in spacing)):
            raise ValueError(f"a spacing of three positive numbers or none, got {spacing}")
        if self.view not in get_args(View):
            raise ValueError(f"a view of {' or '.join(get_args(View))}, got {self.view!r}")
        if self.refinement_init not in get_args(RefinementInit):
            names = " or ".join(get_args(RefinementInit))
            raise ValueError(f"an initial field of {names}, got {self.refinement_init!r}")
        if not 0 <= self.contrast < math.inf:
            raise ValueError(f"a contrast of zero or more, got {self.contrast}")
        if window is not None and not (len(window) == 2 and -math.inf < window[0] < window[1] < math.inf):
            raise ValueError(f"a window of two rising numbers or none, got {window}")

    @property
    def metric(self) -> Literal["lncc", "mse"]:
        """By what its images are compared: those of one person in one frame have comparable intensities."""
        return "lncc" if self.align else "mse"

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Preparation:
        """The inverse of `to_json`.

        Raises:
            ValueError, TypeError, KeyError: for anything else.
        """
        values = _known(cls, json.loads(text))
        for name in ("spacing_mm", "window"):
            if values[name] is not None:
                values[name] = tuple(float(v) for v in values[name])
        return cls(**values)


@dataclass(frozen=True)
class Profile:
    """What the training images looked like: the extremes that were seen.

    Args:
        kinds: in the words of `preprocessing.foreground`, and "CT" where there were CTs among them.
        voxels: least and most voxels along each working axis.
        extent_mm: least and greatest length of the image along each working axis.
        litres: least and greatest volume of the foreground.
    """

    kinds: tuple[str, ...]
    voxels: Ranges
    extent_mm: Ranges
    litres: tuple[float, float]

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Profile:
        """The inverse of `to_json`.

        Raises:
            ValueError, TypeError, KeyError: for anything else.
        """
        values = _known(cls, json.loads(text))
        ranges = {name: tuple((float(a), float(b)) for a, b in values[name]) for name in ("voxels", "extent_mm")}
        if any(len(r) != 3 for r in ranges.values()):
            raise ValueError("ranges of three axes")
        low, high = values["litres"]
        kinds = tuple(str(kind) for kind in values["kinds"])
        return cls(kinds, **ranges, litres=(float(low), float(high)))  # type: ignore[arg-type]


def _known(cls: type, values: Any) -> dict[str, Any]:
    """All fields, by name; those that have a default may be missing."""
    defaults = {f.name: f.default for f in fields(cls) if f.default is not MISSING}
    names = {f.name for f in fields(cls)}
    if not isinstance(values, Mapping) or not names - set(defaults) <= set(values) <= names:
        raise ValueError(f"the names {sorted(names)}")
    return {**defaults, **values}
