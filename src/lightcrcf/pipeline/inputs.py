"""What a registration is given: read all at once, checked, and named for the record."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from lightcrcf.errors import InputError
from lightcrcf.evaluation.labels import check_label_map
from lightcrcf.pipeline.kept import BUDGET_BYTES
from lightcrcf.pipeline.known import Extent, compared, examine, without_table
from lightcrcf.pipeline.label_care import check_fixed_labels
from lightcrcf.pipeline.shared import Shared
from lightcrcf.volumes import Volume, check_usable, on_grid_of

__all__ = ["BrainOf", "Given", "Inputs"]


@dataclass(frozen=True, eq=False)
class Given:
    """Paths, images, arrays with affines, or volumes, as the caller has them; None for what there is not."""

    fixed: Any
    moving: Any
    fixed_mask: Any
    moving_mask: Any
    fixed_labels: Any
    moving_labels: Sequence[Any]
    also: Sequence[Any]

    @property
    def roles(self) -> list[tuple[str, Any]]:
        """Each with what it is for."""
        return [
            ("fixed", self.fixed),
            ("moving", self.moving),
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


@dataclass(frozen=True, eq=False)
class Inputs:
    """The same as volumes that can be used.

    Args:
        fixed, moving: the two images, with the value of their background where they have no data and beside the body.
        shown: the same with what lies beside the body, as people want to see them.
        extents: where each of them has data.
        fixed_mask, moving_mask: on the grid of their image, with voxels that count.
        fixed_labels: on the grid of the fixed image.
        moving_labels: label maps of the moving image, on any grid.
        also: further images of the moving subject, on any grid.
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
    fixed_labels: Volume | None
    moving_labels: list[Volume]
    also: list[Volume]
    brains: tuple[BrainOf | None, BrainOf | None] = (None, None)
    whole: tuple[Volume, Volume] | None = None
    whole_extents: tuple[Extent, Extent] | None = None

    @classmethod
    def read(cls, given: Given, shared: Shared) -> Inputs:
        """All at once: gzip and the disk leave the other core idle.

        Raises:
            InputError: for what cannot be read or used.
        """
        wanted = [item for _, item in given.roles]
        with ThreadPoolExecutor(2) as readers:
            volumes = list(readers.map(lambda item: None if item is None else shared.volume(item), wanted))
        fixed, moving, fixed_mask, moving_mask, fixed_labels, *rest = volumes
        if fixed is None or moving is None:
            raise InputError("volume", expected="a fixed and a moving volume", got="None", remedy="give both")
        check_usable(fixed, "fixed")
        check_usable(moving, "moving")
        fixed_mask, moving_mask = _checked_mask(fixed_mask, fixed), _checked_mask(moving_mask, moving)
        fixed_labels = check_fixed_labels(fixed_labels, fixed)
        moved = [volume for volume in rest if volume is not None]
        count = len(given.moving_labels)
        for labels in moved[:count]:
            check_label_map(labels.data, labels.source)
        fixed, fixed_shown, here = _examined(fixed, shared)
        moving, moving_shown, there = _examined(moving, shared)
        return cls(
            fixed, moving, (fixed_shown, moving_shown), compared(here, there), fixed_mask, moving_mask, fixed_labels,
            moved[:count], moved[count:],
        )  # fmt: skip

    @property
    def masked(self) -> tuple[tuple[Volume, Volume | None], tuple[Volume, Volume | None]]:
        """Both images, each with what of it counts: 0 where a mask leaves it out or it has no data; None for all."""
        return (
            (self.fixed, self.extents[0].masked(self.fixed, self.fixed_mask)),
            (self.moving, self.extents[1].masked(self.moving, self.moving_mask)),
        )

    @property
    def shown_extents(self) -> tuple[Extent, Extent]:
        """Where both images have data, heads with all that is around their brains."""
        return self.whole_extents or self.extents

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
        for role, extent, brain in zip(("fixed", "moving"), self.shown_extents, self.brains, strict=True):
            record[role]["unknown"] = extent.reasons
            record[role]["brain"] = None if brain is None else brain.record(alone=self.cut_out)

    @property
    def cut_out(self) -> bool:
        """Whether one of the images is the brain of a head."""
        return self.whole is not None

    @property
    def volumes(self) -> tuple[Volume, ...]:
        """All there are, each time it was given, but the fixed labels, which are only counted."""
        every = (
            self.fixed, self.moving, self.fixed_mask, self.moving_mask, *self.moving_labels, *self.also,
            *(self.whole or ()), *(brain.mask for brain in self.brains if brain is not None),
        )  # fmt: skip
        return tuple(volume for volume in every if volume is not None)

    @property
    def examined_bytes(self) -> int:
        """Of what tells where the images have data, and of the images as they were read, where others replace them."""
        masks = [mask for e in self.extents for mask in (e.known, e.extreme, e.measured, e.beside) if mask is not None]
        changed = ((extent.measured is not None) + (extent.beside is not None) for extent in self.extents)
        replaced = sum(v.data.nbytes * times for v, times in zip((self.fixed, self.moving), changed, strict=True))
        return sum({id(mask): mask.nbytes for mask in masks}.values()) + min(replaced, BUDGET_BYTES)


def _examined(volume: Volume, shared: Shared) -> tuple[Volume, Volume, Extent]:
    """An image as it is registered and as it is shown, and where it has data.

    They are found once for each volume. What is remembered must not hold the volume itself.
    """

    def find() -> tuple[Volume | None, Volume | None, Extent]:
        shown, extent = examine(volume)
        seen = without_table(shown, extent)
        return None if seen is volume else seen, None if shown is volume else shown, extent

    seen, shown, extent = shared.about(volume, "examined", find)
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
