"""Selection of the model for a pair of images."""

from __future__ import annotations

import os
from dataclasses import dataclass

from lightcrcf.geometry.grid import Grid
from lightcrcf.preprocessing.foreground import ImageType
from lightcrcf.preprocessing.normalization import working_order
from lightcrcf.weights.preparation import CT, Profile
from lightcrcf.weights.store import Weights, load, names

__all__ = ["ModelSelection", "mismatches", "select_model"]

_SIZE_TOLERANCE = (
    1.25  # factor by which an image may be smaller or larger than all training images, which are often few
)
# Along axes with downsampling the network covers several resolutions, and voxels of unknown size may be finer: hearts
# of training persons on grids with twice the voxels lost less Dice with the network than without.
_FINER_TOLERANCE = 2.0
_STRIPPED = "skull-stripped brain"
_HOW_TO_STRIP = "a head can be stripped first: lightcrcf brain HEAD --output MASK --stripped BRAIN"


@dataclass(frozen=True)
class ModelSelection:
    """A model, or None, and the reason.

    Args:
        weights: None for no network.
        reason: for the record.
        mismatch: differences between the pair and the model's training images; empty if there are none.
    """

    weights: Weights | None
    reason: str
    mismatch: tuple[str, ...] = ()


def select_model(
    model: str | os.PathLike[str], contents: tuple[ImageType, ImageType], grids: tuple[Grid, Grid]
) -> ModelSelection:
    """Return the model that was asked for, or with "auto" the shipped one that was trained on such images.

    Args:
        model: "auto", "none", a name or a file.
        contents: types of the fixed and the moving image.
        grids: of both images.

    Raises:
        UsageError: for an unknown name.
        InputError: for a damaged file.
    """
    if os.fspath(model) == "none":
        return ModelSelection(None, "no model, as asked")
    if os.fspath(model) != "auto":
        weights = load(model)
        return ModelSelection(weights, "as asked", tuple(mismatches(weights, contents, grids)))
    nearest = []
    # Of two models for the same images, the one trained with labels is the more accurate.
    for weights in sorted(map(load, names()), key=lambda w: w.supervision == "none"):
        differences = _differences(weights, contents, grids)
        if not differences:
            return ModelSelection(weights, f"both images look like {_phrase(weights.content)}")
        if weights.profile is not None and all(_of_kind(content, weights.profile) for content in contents):
            nearest.append(differences[0])  # its image type, of another size
    kinds = contents[0].kind, contents[1].kind
    reason = "; ".join(
        [
            f"no model fits: {_describe(*map(_name, contents))}",
            *(f"of the nearest, {unlike}" for unlike in nearest[:1]),
            *(
                [_HOW_TO_STRIP]
                if "skull-stripped brain" in kinds and set(kinds) & {"whole head or body", "other"}
                else []
            ),
        ]
    )
    # Images of one type are judged by their metrics alone, but in a crop the edges of any two things can be aligned.
    return ModelSelection(None, reason, (reason,) if kinds[0] != kinds[1] or "small crop" in kinds else ())


def _describe(fixed: str, moving: str) -> str:
    if fixed == moving:
        return f"both images look like {_phrase(fixed)}"
    return f"the fixed image looks like {_phrase(fixed)} and the moving image looks like {_phrase(moving)}"


def _name(content: ImageType) -> str:
    return f"{CT} of a {content.kind}" if content.ct and content.kind != "other" else CT if content.ct else content.kind


def _of_kind(content: ImageType, profile: Profile) -> bool:
    """Return whether a model was trained on such images, of any size."""
    return content.kind in profile.kinds and (CT in profile.kinds or not content.ct)


def mismatches(weights: Weights, contents: tuple[ImageType, ImageType], grids: tuple[Grid, Grid]) -> list[str]:
    """Return the differences between a pair and the model's training images; empty if there are none."""
    trained = f"{weights.name} was trained on {_phrase(weights.content)}"
    return [f"{trained}, but {difference}" for difference in _differences(weights, contents, grids)]


def _differences(weights: Weights, contents: tuple[ImageType, ImageType], grids: tuple[Grid, Grid]) -> list[str]:
    """Return the same without the model's name."""
    found = []
    for role, content, grid in zip(("fixed", "moving"), contents, grids, strict=True):
        unlike = _unlike(weights, content, grid)
        if unlike:
            found.append(f"the {role} image {unlike}")
    if not weights.preparation.align and not grids[0].isclose(grids[1]):
        found.append("these two images do not share a grid, as those in training did")
    return found


def _unlike(weights: Weights, content: ImageType, grid: Grid) -> str:
    profile = weights.profile
    if profile is None:
        return "" if content.kind == weights.content else f"looks like {_phrase(content.kind)}"
    if content.ct and CT not in profile.kinds:
        return f"looks like {_phrase(CT)}"
    # Training images without voxel sizes have no reliable type; a stripped brain is recognised in any unit.
    in_voxels = weights.preparation.spacing_mm is None
    if content.kind not in profile.kinds and (not in_voxels or content.kind == _STRIPPED):
        return f"looks like {_phrase(content.kind)}"
    own = working_order(grid, weights.config.pool).grid(grid)
    sizes: list[tuple[str, float, tuple[float, float], float]]
    if in_voxels:
        larger = [_FINER_TOLERANCE if p == 2 else _SIZE_TOLERANCE for p in weights.config.pool]
        sizes = [("voxels", n, r, more) for n, r, more in zip(own.shape, profile.voxels, larger, strict=True)]
    else:
        lengths = own.spacing_mm * own.shape
        sizes = [("mm", float(n), r, _SIZE_TOLERANCE) for n, r in zip(lengths, profile.extent_mm, strict=True)]
        sizes.append(("litres of foreground", content.foreground_litres, profile.litres, _SIZE_TOLERANCE))
    for unit, size, (least, most), larger_by in sizes:
        if not least / _SIZE_TOLERANCE <= size <= most * larger_by:
            return f"has {size:.3g} {unit} where {least:.3g} to {most:.3g} were seen in training"
    return ""


def _phrase(kind: str) -> str:
    return "something else" if kind == "other" else f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
