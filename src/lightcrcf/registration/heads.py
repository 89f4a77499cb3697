"""A whole head beside a bare brain: the head's own brain is cut out, and both are registered as bare brains."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lightcrcf.cache.registration import RegistrationCache
from lightcrcf.preprocessing.brain import Brain, brain_not_found, find_brain
from lightcrcf.preprocessing.foreground import ImageType, foreground, robust_minimum, volume_litres
from lightcrcf.preprocessing.masks import fill_holes
from lightcrcf.preprocessing.validity import Extent, compare_extremes, examine
from lightcrcf.quality.thresholds import HEAD_LITRES
from lightcrcf.registration.inputs import BrainOf, ImagePair, Inputs
from lightcrcf.volumes import Volume

__all__ = ["brains_cut_out", "cut_out", "shown_contents"]

Mask = NDArray[np.bool_]

_BARE, _HEAD = "skull-stripped brain", "whole head or body"
# What the network calls a brain is taken for one: by its volume, by how sure it is, and by how much of what lies around
# it is something else. Where it is not, nothing changes.
_LITRES = (0.5, 2.3)
_CERTAIN = 0.8
_OF_HEAD = 0.85
# A stripped image is taken for a brain where the network thinks the same of so much of it (Dice).
_SAME = 0.8
# Brains of adults differ by less in volume.
_TIMES = 1.8
_ENDS_PERCENT = (0.5, 99.5)


def brains_cut_out(inputs: Inputs, shared: RegistrationCache, *, wanted: bool) -> Inputs:
    """The brain alone of a head that meets a bare brain; all other inputs as they are.

    Of several pairs the first one decides; the others are cut by its brain.

    Args:
        inputs: of the registration.
        shared: what is known of the images from earlier registrations.
        wanted: whether a brain mask of the fixed image is asked for.

    Raises:
        InputError: if it is asked for, and there is none.
    """
    pair, further = inputs.first, inputs.pairs[1:]
    head = _head_of(*shown_contents(pair, shared))
    if head is not None:
        found = _of_mask(pair.images[head], pair.masks[head]) or _of_network(pair.images, pair.extents, head, shared)
        if found is not None:
            pair = _without_the_rest(pair, head, found)
            further = tuple(_without_the_rest(each, head, found.onto(each.images[head])) for each in further)
    if wanted and pair.brains[0] is None:
        pair = replace(pair, brains=(_asked_for(pair, shared), pair.brains[1]))
    return inputs if pair is inputs.first else replace(inputs, pairs=(pair, *further))


def shown_contents(pair: ImagePair, shared: RegistrationCache) -> tuple[ImageType, ImageType]:
    """What both images show before a brain is cut out."""
    fixed, moving = pair.whole or pair.images
    return shared.image_type(fixed), shared.image_type(moving)


def _head_of(fixed: ImageType, moving: ImageType) -> int | None:
    """Which of both images may be a head whose brain the other one shows: 0, 1 or None."""
    for number, (one, other) in enumerate(((fixed, moving), (moving, fixed))):
        if other.kind == _BARE and one.kind == _HEAD and not one.ct and one.foreground_litres <= HEAD_LITRES:
            return number
    return None


def _of_mask(image: Volume, mask: Volume | None) -> BrainOf | None:
    """The brain that a mask of the user's outlines; None if it leaves out something else, such as lesions."""
    if mask is None:
        return None
    inside = mask.data != 0
    tissue, size = foreground(image.data), volume_litres(inside, image.grid)
    most = min(_LITRES[1], _OF_HEAD * volume_litres(tissue, image.grid))
    if not (_LITRES[0] <= size <= _LITRES[1] and volume_litres(tissue & inside, image.grid) <= most):
        return None
    return BrainOf(Volume(fill_holes(inside), image.grid, mask.source), "mask", size, None)


def _of_network(
    images: tuple[Volume, Volume], extents: tuple[Extent, Extent], head: int, shared: RegistrationCache
) -> BrainOf | None:
    """The brain that the network sees in the head, if it sees one in the bare brain too."""
    found = _brain_of(images[head], extents[head], shared)
    size = volume_litres(foreground(images[head].data), images[head].grid)
    sure = found.doubt is None and found.certainty >= _CERTAIN
    if not (sure and _LITRES[0] <= found.litres <= min(_LITRES[1], _OF_HEAD * size)):
        return None
    other = _brain_of(images[1 - head], extents[1 - head], shared).mask
    bare = fill_holes(foreground(images[1 - head].data))
    if not 1 / _TIMES <= found.litres / volume_litres(bare, images[1 - head].grid) <= _TIMES:
        return None
    if 2 * np.count_nonzero(other & bare) < _SAME * (np.count_nonzero(other) + np.count_nonzero(bare)):
        return None
    return _told(images[head], found)


def _asked_for(pair: ImagePair, shared: RegistrationCache) -> BrainOf:
    found = _brain_of(pair.fixed, pair.extents[0], shared)
    if found.doubt is not None:
        raise brain_not_found(pair.fixed, found)
    return _told(pair.fixed, found)


def _told(image: Volume, found: Brain) -> BrainOf:
    return BrainOf(Volume(found.mask, image.grid, image.source), "network", found.litres, found.certainty)


def _brain_of(image: Volume, extent: Extent, shared: RegistrationCache) -> Brain:
    return shared.get_or_compute(image, "brain", lambda: find_brain(image, extent))


def _without_the_rest(pair: ImagePair, head: int, found: BrainOf) -> ImagePair:
    """The pair with the head's brain in the place of the head."""
    mask = pair.masks[head]
    alone, extent = cut_out(pair.images[head], found.mask.data, pair.extents[head])
    mask = None if mask is None else _rest_of(mask, found.mask.data)
    told = replace(pair, whole=pair.images, whole_extents=pair.extents)
    if head == 0:
        extents = compare_extremes(extent, pair.extents[1])
        return replace(told, fixed=alone, fixed_mask=mask, extents=extents, brains=(found, None))
    extents = compare_extremes(pair.extents[0], extent)
    return replace(told, moving=alone, moving_mask=mask, extents=extents, brains=(None, found))


def cut_out(image: Volume, brain: Mask, extent: Extent) -> tuple[Volume, Extent]:
    """The image with one value outside of its brain, and where it has data.

    That value is the image's darkest, but at most as far below the brain's darkest as that is below its brightest: air
    in CT would leave the brain no contrast.
    """
    inside = image.data[brain].astype(np.float64)
    low, high = (float(value) for value in np.percentile(inside, _ENDS_PERCENT))
    value = max(min(robust_minimum(image.data), low), 2 * low - high)
    outside = np.asarray(value if image.data.dtype.kind == "f" else np.ceil(value)).astype(image.data.dtype)
    alone, seen = examine(replace(image, data=np.where(brain, image.data, outside)))
    if extent.known is not None:
        known = extent.known | ~brain
        seen = replace(seen, known=known if seen.known is None else seen.known & known)
    return alone, seen


def _rest_of(mask: Volume, brain: Mask) -> Volume | None:
    """What a mask leaves out within the brain; None if nothing."""
    counts = (mask.data != 0) | ~brain
    return None if counts.all() else replace(mask, data=counts)
