"""The inputs of a registration: read concurrently, checked, and examined for missing data."""

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

__all__ = ["BrainMask", "ImagePair", "Inputs", "RawInputs", "channels_of"]

_TOLERANCE_MM = 0.01  # rounding of tools when they write headers


def channels_of(images: Any) -> list[Any]:
    """Return one image, or a sequence of them, as a list; (array, affine) is one image.

    Example:
        >>> channels_of("t1.nii"), channels_of(["t1.nii", "t2.nii"])
        (['t1.nii'], ['t1.nii', 't2.nii'])
        >>> len(channels_of((np.zeros((5, 7, 11)), np.eye(4))))
        1
    """
    if not isinstance(images, list | tuple):
        return [images]
    array = len(images) == 2 and (any(isinstance(part, np.ndarray) for part in images) or _is_affine(images[1]))
    return [images] if array else list(images)


def _is_affine(part: Any) -> bool:
    """Return whether this is four rows of four columns."""
    return isinstance(part, list | tuple) and len(part) == 4 and all(isinstance(row, list | tuple) for row in part)


@dataclass(frozen=True, eq=False)
class RawInputs:
    """Unread inputs: paths, images, arrays with affines, or volumes; None for what is missing.

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
        """Each input with its role."""
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
class BrainMask:
    """The brain mask of one of the images.

    Args:
        mask: on the image's grid, not zero in the brain.
        by: source of the mask: the network for brains, or the user's mask.
        litres: volume of the brain.
        certainty: mean probability within the mask; None for the user's.
    """

    mask: Volume
    by: Literal["network", "mask"]
    litres: float
    certainty: float | None

    def onto(self, image: Volume) -> BrainMask:
        """Return the mask on the grid of another image of the same space."""
        mask = _onto_grid(self.mask, image)
        return self if mask is None else replace(self, mask=replace(mask, data=mask.data != 0))


@dataclass(frozen=True, eq=False)
class ImagePair:
    """A fixed and a moving image that are compared.

    Args:
        fixed, moving: filled with their background value where they have no data, and outside of the body.
        shown: the same with everything outside of the body kept, for output.
        extents: valid region of each image.
        fixed_mask, moving_mask: on the grid of their image, nonzero for voxels that count; None for all.
        weight: of this pair in the objective; the weights of all pairs sum to 1.
        brains: masks of both images, where they were looked for and found.
        whole: both images before one of them was replaced by its brain; None if none was.
        whole_extents: valid regions of those.
    """

    fixed: Volume
    moving: Volume
    shown: tuple[Volume, Volume]
    extents: tuple[Extent, Extent]
    fixed_mask: Volume | None
    moving_mask: Volume | None
    weight: float = 1.0
    brains: tuple[BrainMask | None, BrainMask | None] = (None, None)
    whole: tuple[Volume, Volume] | None = None
    whole_extents: tuple[Extent, Extent] | None = None

    @property
    def images(self) -> tuple[Volume, Volume]:
        """The fixed and the moving image."""
        return self.fixed, self.moving

    @property
    def masks(self) -> tuple[Volume | None, Volume | None]:
        """The masks of both images."""
        return self.fixed_mask, self.moving_mask

    @property
    def masked(self) -> tuple[tuple[Volume, Volume | None], tuple[Volume, Volume | None]]:
        """Both images, each with the mask of its valid voxels that count; None for all."""
        return (
            (self.fixed, self.extents[0].usable_mask(self.fixed, self.fixed_mask)),
            (self.moving, self.extents[1].usable_mask(self.moving, self.moving_mask)),
        )

    @property
    def shown_extents(self) -> tuple[Extent, Extent]:
        """Valid regions of both images before a brain was extracted."""
        return self.whole_extents or self.extents

    @property
    def cut_out(self) -> bool:
        """True if one of the images was replaced by its brain."""
        return self.whole is not None

    @property
    def extracted(self) -> tuple[bool, bool]:
        """For both images, whether it was replaced by its brain."""
        fixed, moving = self.whole or self.images
        return fixed is not self.fixed, moving is not self.moving

    @property
    def brain_masks(self) -> tuple[Volume | None, Volume | None]:
        """(D, H, W) uint8 brain masks of both images, where they were found."""
        first, second = (
            None if brain is None else replace(brain.mask, data=brain.mask.data.astype(np.uint8))
            for brain in self.brains
        )
        return first, second


@dataclass(frozen=True, eq=False)
class Inputs:
    """Checked volumes of a registration.

    Args:
        pairs: of images; more than one are contrasts of the same two persons, each on its own grid, in the spaces of
            the first one.
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
        """The first pair: results lie on its fixed grid, its images select the model and the working grid."""
        return self.pairs[0]

    @property
    def further_shown(self) -> tuple[tuple[Volume, Volume], ...]:
        """Both images of each further pair, for output."""
        return tuple(pair.shown for pair in self.pairs[1:])

    @property
    def fixed(self) -> Volume:
        """The fixed image of the first pair."""
        return self.first.fixed

    @property
    def moving(self) -> Volume:
        """The moving image of the first pair."""
        return self.first.moving

    @classmethod
    def read(cls, raw: RawInputs, cache: RegistrationCache, weights: Sequence[float] = ()) -> Inputs:
        """Read and check all inputs, two at a time.

        Args:
            raw: unread inputs.
            cache: holds volumes for further registrations.
            weights: of the pairs; all equal by default.

        Raises:
            UsageError: if there are not as many fixed as moving images, or as many weights.
            InputError: for inputs that cannot be read or used.
        """
        weights = _normalized_weights(raw, weights)
        items = [item for _, item in raw.roles]
        with ThreadPoolExecutor(2) as readers:
            volumes = list(readers.map(lambda item: None if item is None else cache.volume(item), items))
        n = len(weights)
        fixed, moving = (_images(some, role) for some, role in ((volumes[:n], "fixed"), (volumes[n : 2 * n], "moving")))
        fixed_mask, moving_mask, fixed_labels, *rest = volumes[2 * n :]
        fixed_mask, moving_mask = _checked_mask(fixed_mask, fixed[0]), _checked_mask(moving_mask, moving[0])
        fixed_labels = check_fixed_labels(fixed_labels, fixed[0])
        moved = [volume for volume in rest if volume is not None]
        count = len(raw.moving_labels)
        for labels in moved[:count]:
            check_label_map(labels.data, labels.source)
        masks = fixed_mask, moving_mask
        pairs = tuple(_pair(f, m, masks, weight, cache) for f, m, weight in zip(fixed, moving, weights, strict=True))
        return cls(pairs, fixed_labels, moved[:count], moved[count:])

    @property
    def volumes(self) -> tuple[Volume, ...]:
        """All volumes in memory, each as often as it was given, without the fixed labels, which are only counted."""
        images = [image for pair in self.pairs for image in pair.images]
        masks = [mask for pair in self.pairs for mask in pair.masks]
        cut = [volume for pair in self.pairs for volume in pair.whole or ()]
        brains = [brain.mask for pair in self.pairs for brain in pair.brains if brain is not None]
        every = (*images, *masks, *self.moving_labels, *self.also, *cut, *brains)
        return tuple(volume for volume in every if volume is not None)

    @property
    def examined_bytes(self) -> int:
        """Bytes of the masks of valid voxels, and of images as read where filled ones replace them."""
        images = [both for pair in self.pairs for both in zip(pair.images, pair.extents, strict=True)]
        kept = [mask for _, e in images for mask in (e.known, *e.extremes, e.measured, e.table)]
        masks = [mask for mask in kept if mask is not None]
        replaced = sum(v.data.nbytes * ((e.measured is not None) + (e.table is not None)) for v, e in images)
        return sum({id(mask): mask.nbytes for mask in masks}.values()) + min(replaced, BUDGET_BYTES)


def _normalized_weights(raw: RawInputs, weights: Sequence[float]) -> list[float]:
    """Return the weight of each pair, so that they sum to 1."""
    fixed, moving = len(raw.fixed), len(raw.moving)
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
    """Return the images, each checked to have contrast."""
    images = [volume for volume in volumes if volume is not None]
    if len(images) != len(volumes):
        raise InputError("volume", expected="a fixed and a moving volume", got="None", remedy="give both")
    for image in images:
        check_usable(image, role)
    return images


def _pair(
    fixed: Volume, moving: Volume, masks: tuple[Volume | None, Volume | None], weight: float, cache: RegistrationCache
) -> ImagePair:
    """Return an examined pair; the masks of the first pair hold for all."""
    fixed, fixed_shown, here = _examined(fixed, cache)
    moving, moving_shown, there = _examined(moving, cache)
    fixed_mask, moving_mask = _onto_grid(masks[0], fixed), _onto_grid(masks[1], moving)
    return ImagePair(
        fixed, moving, (fixed_shown, moving_shown), compare_extremes(here, there), fixed_mask, moving_mask, weight
    )


def _onto_grid(mask: Volume | None, image: Volume) -> Volume | None:
    """Return a mask on the grid of another image of the same space, 0 outside of its own grid."""
    if mask is None or mask.grid.isclose(image.grid, tolerance_mm=_TOLERANCE_MM):
        return mask
    inside = resample((mask.data != 0).astype(np.float32), image.grid.shape, image.grid.to(mask.grid)[:3]) > 0.5
    return Volume(inside, image.grid, mask.source)


def _examined(volume: Volume, cache: RegistrationCache) -> tuple[Volume, Volume, Extent]:
    """Return an image for registration, for output, and its valid region.

    They are computed once per volume. A cached result must not hold the volume itself.
    """

    def find() -> tuple[Volume | None, Volume | None, Extent]:
        shown, extent = examine(volume)
        registered = remove_table(shown, extent)
        return None if registered is volume else registered, None if shown is volume else shown, extent

    registered, shown, extent = cache.get_or_compute(volume, "examined", find)
    return registered or volume, shown or volume, extent


def _checked_mask(mask: Volume | None, image: Volume) -> Volume | None:
    if mask is None:
        return None
    mask = on_grid_of(mask, image, what="a mask")
    unknown = np.isnan(mask.data) if mask.data.dtype.kind == "f" else None
    if unknown is not None and unknown.any():  # some tools write NaN around a mask; it would count as nonzero
        mask = replace(mask, data=np.where(unknown, 0, mask.data))
    if not mask.data.any():
        raise InputError(
            mask.source, expected="a mask with nonzero voxels", got="an empty one", remedy="check the mask"
        )
    return mask
