"""What a registration is given: read all at once, checked, and named for the record."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from lightcrcf.cache.registration import RegistrationCache
from lightcrcf.cache.volumes import BUDGET_BYTES
from lightcrcf.errors import InputError, UsageError
from lightcrcf.evaluation.labels import check_label_map
from lightcrcf.geometry.kernels import resample
from lightcrcf.preprocessing.validity import Extent, compare_extremes, examine, remove_table
from lightcrcf.quality.label_check import check_fixed_labels
from lightcrcf.volumes import Volume, check_usable, on_grid_of

__all__ = ["BrainOf", "Given", "ImagePair", "Inputs", "channels_of"]

_SAME_MM = 0.01  # what tools round when they write headers


def channels_of(given: Any) -> list[Any]:
    """One image, or a sequence of them, as a list; (array, affine) is one image.

    Example:
        >>> channels_of("t1.nii"), channels_of(["t1.nii", "t2.nii"])
        (['t1.nii'], ['t1.nii', 't2.nii'])
        >>> len(channels_of((np.zeros((5, 7, 11)), np.eye(4))))
        1
    """
    if not isinstance(given, list | tuple):
        return [given]
    array = len(given) == 2 and (any(isinstance(part, np.ndarray) for part in given) or _is_affine(given[1]))
    return [given] if array else list(given)


def _is_affine(part: Any) -> bool:
    """Four rows of four numbers."""
    return isinstance(part, list | tuple) and len(part) == 4 and all(isinstance(row, list | tuple) for row in part)


@dataclass(frozen=True, eq=False)
class Given:
    """Paths, images, arrays with affines, or volumes, as the caller has them; None for what there is not.

    The fixed and moving images are lists, pair by pair.
    """

    fixed: Sequence[Any]
    moving: Sequence[Any]
    fixed_mask: Any
    moving_mask: Any
    fixed_labels: Any
    moving_labels: Sequence[Any]
    also: Sequence[Any]

    @property
    def roles(self) -> list[tuple[str, Any]]:
        """Each with what it is for."""
        return [
            *(("fixed", item) for item in self.fixed),
            *(("moving", item) for item in self.moving),
            ("fixed_mask", self.fixed_mask),
            ("moving_mask", self.moving_mask),
            ("fixed_labels", self.fixed_labels),
            *(("moving_labels", item) for item in self.moving_labels),
            *(("also", item) for item in self.also),
        ]


@dataclass(frozen=True, eq=False)
class BrainOf:
    """The brain of one of the images.

    Args:
        mask: on the image's grid, not zero in the brain.
        by: what found it, the network or a mask of the user's.
        litres: its volume.
        certainty: as `brain.Brain`; None for the user's.
    """

    mask: Volume
    by: Literal["network", "mask"]
    litres: float
    certainty: float | None

    def record(self, *, alone: bool) -> dict[str, Any]:
        """For `run.json`; `alone`: whether it was registered without what lies around it."""
        how = {"by": self.by, "litres": round(self.litres, 4), "registered_alone": alone}
        return {**how, "certainty": None if self.certainty is None else round(self.certainty, 4)}

    def onto(self, image: Volume) -> BrainOf:
        """The same brain on the grid of another image of the same space."""
        mask = _onto_grid(self.mask, image)
        return self if mask is None else replace(self, mask=replace(mask, data=mask.data != 0))


@dataclass(frozen=True, eq=False)
class ImagePair:
    """A fixed and a moving image that are compared.

    Args:
        fixed, moving: with the value of their background where they have no data and beside the body.
        shown: the same with what lies beside the body, as people want to see them.
        extents: where each of them has data.
        fixed_mask, moving_mask: on the grid of their image, with voxels that count; None for all.
        share: of this pair in what all pairs tell together.
        brains: of both images, where they were looked for and found.
        whole: `fixed` and `moving` as they were, where the brain of one was cut out of it and now is that one.
        whole_extents: where those have data.
    """

    fixed: Volume
    moving: Volume
    shown: tuple[Volume, Volume]
    extents: tuple[Extent, Extent]
    fixed_mask: Volume | None
    moving_mask: Volume | None
    share: float = 1.0
    brains: tuple[BrainOf | None, BrainOf | None] = (None, None)
    whole: tuple[Volume, Volume] | None = None
    whole_extents: tuple[Extent, Extent] | None = None

    @property
    def images(self) -> tuple[Volume, Volume]:
        """Fixed and moving."""
        return self.fixed, self.moving

    @property
    def masks(self) -> tuple[Volume | None, Volume | None]:
        """Of both."""
        return self.fixed_mask, self.moving_mask

    @property
    def masked(self) -> tuple[tuple[Volume, Volume | None], tuple[Volume, Volume | None]]:
        """Both images, each with what of it counts: 0 where a mask leaves it out or it has no data; None for all."""
        return (
            (self.fixed, self.extents[0].usable_mask(self.fixed, self.fixed_mask)),
            (self.moving, self.extents[1].usable_mask(self.moving, self.moving_mask)),
        )

    @property
    def shown_extents(self) -> tuple[Extent, Extent]:
        """Where both images have data, heads with all that is around their brains."""
        return self.whole_extents or self.extents

    @property
    def cut_out(self) -> bool:
        """Whether one of the images is the brain of a head."""
        return self.whole is not None

    @property
    def alone(self) -> tuple[bool, bool]:
        """Of both images, whether it is the brain of a head."""
        fixed, moving = self.whole or self.images
        return fixed is not self.fixed, moving is not self.moving

    @property
    def brain_masks(self) -> tuple[Volume | None, Volume | None]:
        """(D, H, W) uint8 of both images, where their brains were found."""
        first, second = (
            None if brain is None else replace(brain.mask, data=brain.mask.data.astype(np.uint8))
            for brain in self.brains
        )
        return first, second

    def tell(self, record: dict[str, dict[str, Any]]) -> None:
        """Add to the record of each image what of it is unknown, and its brain."""
        both = zip(("fixed", "moving"), self.shown_extents, self.brains, self.alone, strict=True)
        for role, extent, brain, alone in both:
            record[role]["unknown"] = extent.reasons
            record[role]["brain"] = None if brain is None else brain.record(alone=alone)


@dataclass(frozen=True, eq=False)
class Inputs:
    """The same as volumes that can be used.

    Args:
        pairs: of images; more than one are contrasts of the same two persons, each on grids of its own, in the spaces
            of the first one.
        fixed_labels: on the grid of the first fixed image.
        moving_labels: label maps of the moving image, on any grid.
        also: further images of the moving subject, on any grid.
    """

    pairs: tuple[ImagePair, ...]
    fixed_labels: Volume | None
    moving_labels: list[Volume]
    also: list[Volume]

    @property
    def first(self) -> ImagePair:
        """The pair that leads: its fixed grid is that of results, its images choose model and working grid."""
        return self.pairs[0]

    @property
    def further_shown(self) -> tuple[tuple[Volume, Volume], ...]:
        """Both images of each further pair, as people want to see them."""
        return tuple(pair.shown for pair in self.pairs[1:])

    @property
    def fixed(self) -> Volume:
        """Of the first pair."""
        return self.first.fixed

    @property
    def moving(self) -> Volume:
        """Of the first pair."""
        return self.first.moving

    @classmethod
    def read(cls, given: Given, shared: RegistrationCache, weights: Sequence[float] = ()) -> Inputs:
        """All at once: gzip and the disk leave the other core idle.

        Args:
            given: what to read.
            shared: keeps volumes.
            weights: of the pairs; all equal by default.

        Raises:
            UsageError: if there are not as many fixed as moving images, or as many weights.
            InputError: for what cannot be read or used.
        """
        shares = _shares(given, weights)
        wanted = [item for _, item in given.roles]
        with ThreadPoolExecutor(2) as readers:
            volumes = list(readers.map(lambda item: None if item is None else shared.volume(item), wanted))
        n = len(shares)
        fixed, moving = (_images(some, role) for some, role in ((volumes[:n], "fixed"), (volumes[n : 2 * n], "moving")))
        fixed_mask, moving_mask, fixed_labels, *rest = volumes[2 * n :]
        fixed_mask, moving_mask = _checked_mask(fixed_mask, fixed[0]), _checked_mask(moving_mask, moving[0])
        fixed_labels = check_fixed_labels(fixed_labels, fixed[0])
        moved = [volume for volume in rest if volume is not None]
        count = len(given.moving_labels)
        for labels in moved[:count]:
            check_label_map(labels.data, labels.source)
        masks = fixed_mask, moving_mask
        pairs = tuple(_pair(f, m, masks, share, shared) for f, m, share in zip(fixed, moving, shares, strict=True))
        return cls(pairs, fixed_labels, moved[:count], moved[count:])

    @property
    def volumes(self) -> tuple[Volume, ...]:
        """All there are, each time it was given, but the fixed labels, which are only counted."""
        images = [image for pair in self.pairs for image in pair.images]
        masks = [mask for pair in self.pairs for mask in pair.masks]
        cut = [volume for pair in self.pairs for volume in pair.whole or ()]
        brains = [brain.mask for pair in self.pairs for brain in pair.brains if brain is not None]
        every = (*images, *masks, *self.moving_labels, *self.also, *cut, *brains)
        return tuple(volume for volume in every if volume is not None)

    @property
    def examined_bytes(self) -> int:
        """Of what tells where the images have data, and of the images as they were read, where others replace them."""
        seen = [both for pair in self.pairs for both in zip(pair.images, pair.extents, strict=True)]
        kept = [mask for _, e in seen for mask in (e.known, *e.extremes, e.measured, e.table)]
        masks = [mask for mask in kept if mask is not None]
        replaced = sum(v.data.nbytes * ((e.measured is not None) + (e.table is not None)) for v, e in seen)
        return sum({id(mask): mask.nbytes for mask in masks}.values()) + min(replaced, BUDGET_BYTES)


def _shares(given: Given, weights: Sequence[float]) -> list[float]:
    """Of each pair, so that they sum to 1."""
    fixed, moving = len(given.fixed), len(given.moving)
    if fixed != moving or not fixed:
        raise UsageError(
            "fixed and moving",
            expected="as many fixed as moving images, in pairs of one contrast or two",
            got=f"{fixed} fixed and {moving} moving",
            remedy="give --fixed and --moving once for each pair; what shall only be moved along goes to --also",
        )
    if weights and len(weights) != fixed:
        raise UsageError(
            "channel_weight",
            expected=f"{fixed}, one for each pair of images",
            got=str(len(weights)),
            remedy="give one for each pair in order, or none",
        )
    weights = weights or (1.0,) * fixed
    return [weight / sum(weights) for weight in weights]


def _images(volumes: Sequence[Volume | None], role: str) -> list[Volume]:
    """Images with contrast."""
    images = [volume for volume in volumes if volume is not None]
    if len(images) != len(volumes):
        raise InputError("volume", expected="a fixed and a moving volume", got="None", remedy="give both")
    for image in images:
        check_usable(image, role)
    return images


def _pair(
    fixed: Volume, moving: Volume, masks: tuple[Volume | None, Volume | None], share: float, shared: RegistrationCache
) -> ImagePair:
    """Both images with what is known of them; masks are of the first pair, and hold for all."""
    fixed, fixed_shown, here = _examined(fixed, shared)
    moving, moving_shown, there = _examined(moving, shared)
    fixed_mask, moving_mask = _onto_grid(masks[0], fixed), _onto_grid(masks[1], moving)
    return ImagePair(
        fixed, moving, (fixed_shown, moving_shown), compare_extremes(here, there), fixed_mask, moving_mask, share
    )


def _onto_grid(mask: Volume | None, image: Volume) -> Volume | None:
    """A mask on the grid of another image of the same space; beyond its own grid nothing counts."""
    if mask is None or mask.grid.isclose(image.grid, tolerance_mm=_SAME_MM):
        return mask
    inside = resample((mask.data != 0).astype(np.float32), image.grid.shape, image.grid.to(mask.grid)[:3]) > 0.5
    return Volume(inside, image.grid, mask.source)


def _examined(volume: Volume, shared: RegistrationCache) -> tuple[Volume, Volume, Extent]:
    """An image as it is registered and as it is shown, and where it has data.

    They are found once for each volume. What is remembered must not hold the volume itself.
    """

    def find() -> tuple[Volume | None, Volume | None, Extent]:
        shown, extent = examine(volume)
        seen = remove_table(shown, extent)
        return None if seen is volume else seen, None if shown is volume else shown, extent

    seen, shown, extent = shared.get_or_compute(volume, "examined", find)
    return seen or volume, shown or volume, extent


def _checked_mask(mask: Volume | None, image: Volume) -> Volume | None:
    if mask is None:
        return None
    mask = on_grid_of(mask, image, what="a mask")
    unknown = np.isnan(mask.data) if mask.data.dtype.kind == "f" else None
    if unknown is not None and unknown.any():  # as tools write around a mask; it would count as nonzero
        mask = replace(mask, data=np.where(unknown, 0, mask.data))
    if not mask.data.any():
        raise InputError(
            mask.source, expected="a mask with nonzero voxels", got="an empty one", remedy="check the mask"
        )
    return mask
