"""Brain extraction: of a whole head and a skull-stripped brain, the head is replaced by its own brain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lightcrcf.cache.registration import RegistrationCache
from lightcrcf.preprocessing.brain import Brain, brain_not_found, find_brain
from lightcrcf.preprocessing.foreground import ImageType, foreground, robust_minimum, volume_litres
from lightcrcf.preprocessing.masks import fill_holes
from lightcrcf.preprocessing.validity import Extent, compare_extremes, examine
from lightcrcf.quality.thresholds import MAX_HEAD_LITRES, is_head
from lightcrcf.registration.inputs import BrainMask, ImagePair, Inputs
from lightcrcf.volumes import Volume

__all__ = ["extract_brain", "extract_brains", "image_types"]

Mask = NDArray[np.bool_]

_BARE = "skull-stripped brain"
_MIN_SLAB_LITRES = 1.3  # foreground of a slab of a head; the T2 of thick slices at hand show 1.5 and more
# A predicted brain mask is accepted by its volume, its mean probability, and its fraction of the head's foreground. If
# it is rejected, the head is registered whole.
_BRAIN_LITRES = (0.5, 2.3)
_MIN_CERTAINTY = 0.8
_MAX_OF_HEAD = 0.85
# The stripped image must be a brain for the network too: minimum Dice of its foreground and the predicted mask.
_MIN_DICE = 0.8
# The brains of two adults differ by less than this factor in volume.
_MAX_VOLUME_RATIO = 1.8
_RANGE_PERCENT = (0.5, 99.5)


def extract_brains(inputs: Inputs, cache: RegistrationCache, *, wanted: bool) -> Inputs:
    """Return the inputs with a head that is registered to a skull-stripped brain replaced by its brain.

    The first pair decides; its brain mask is applied to the images of further pairs.

    Args:
        inputs: of the registration.
        cache: results of earlier registrations.
        wanted: whether a brain mask of the fixed image is asked for.

    Raises:
        InputError: if it is asked for, and no brain is found.
    """
    pair, further = inputs.first, inputs.pairs[1:]
    head = _head_index(*image_types(pair, cache))
    if head is not None:
        found = _given_brain(pair.images[head], pair.masks[head]) or _predicted_brain(pair, head, cache)
        if found is not None:
            pair = _with_brain(pair, head, found)
            further = tuple(_with_brain(each, head, found.onto(each.images[head])) for each in further)
    if wanted and pair.brains[0] is None:
        pair = replace(pair, brains=(_fixed_brain(pair, cache), pair.brains[1]))
    return inputs if pair is inputs.first else replace(inputs, pairs=(pair, *further))


def image_types(pair: ImagePair, cache: RegistrationCache) -> tuple[ImageType, ImageType]:
    """Return the types of both images before a brain was extracted."""
    fixed, moving = pair.whole or pair.images
    return cache.image_type(fixed), cache.image_type(moving)


def _head_index(fixed: ImageType, moving: ImageType) -> int | None:
    """Return 0 or 1 for the image that may be a head whose brain the other one shows; None if neither is."""
    for number, (one, other) in enumerate(((fixed, moving), (moving, fixed))):
        if other.kind == _BARE and _may_be_head(one) and not one.ct and one.foreground_litres <= MAX_HEAD_LITRES:
            return number
    return None


def _may_be_head(content: ImageType) -> bool:
    """Return whether an image may show a head, or a slab of one, as a scan of thick slices does."""
    slab = content.kind == "other" and not content.masked and content.foreground_litres >= _MIN_SLAB_LITRES
    return slab or is_head(content)


def _given_brain(image: Volume, mask: Volume | None) -> BrainMask | None:
    """Return the user's mask if it is a brain mask; None if it excludes something else, such as lesions."""
    if mask is None:
        return None
    inside = mask.data != 0
    tissue, size = foreground(image.data), volume_litres(inside, image.grid)
    most = min(_BRAIN_LITRES[1], _MAX_OF_HEAD * volume_litres(tissue, image.grid))
    if not (_BRAIN_LITRES[0] <= size <= _BRAIN_LITRES[1] and volume_litres(tissue & inside, image.grid) <= most):
        return None
    return BrainMask(Volume(fill_holes(inside), image.grid, mask.source), "mask", size, None)


def _predicted_brain(pair: ImagePair, head: int, cache: RegistrationCache) -> BrainMask | None:
    """Return the brain that the network finds in the head, if it finds one in the stripped image too."""
    image, stripped = pair.images[head], pair.images[1 - head]
    found = _find_brain(image, pair.extents[head], cache)
    size = volume_litres(foreground(image.data), image.grid)
    certain = found.doubt is None and found.certainty >= _MIN_CERTAINTY
    if not (certain and _BRAIN_LITRES[0] <= found.litres <= min(_BRAIN_LITRES[1], _MAX_OF_HEAD * size)):
        return None
    other = _find_brain(stripped, pair.extents[1 - head], cache).mask
    bare = fill_holes(foreground(stripped.data))
    if not 1 / _MAX_VOLUME_RATIO <= found.litres / volume_litres(bare, stripped.grid) <= _MAX_VOLUME_RATIO:
        return None
    if 2 * np.count_nonzero(other & bare) < _MIN_DICE * (np.count_nonzero(other) + np.count_nonzero(bare)):
        return None
    return _mask_of(image, found)


def _fixed_brain(pair: ImagePair, cache: RegistrationCache) -> BrainMask:
    found = _find_brain(pair.fixed, pair.extents[0], cache)
    if found.doubt is not None:
        raise brain_not_found(pair.fixed, found)
    return _mask_of(pair.fixed, found)


def _mask_of(image: Volume, found: Brain) -> BrainMask:
    return BrainMask(Volume(found.mask, image.grid, image.source), "network", found.litres, found.certainty)


def _find_brain(image: Volume, extent: Extent, cache: RegistrationCache) -> Brain:
    return cache.get_or_compute(image, "brain", lambda: find_brain(image, extent))


def _with_brain(pair: ImagePair, head: int, found: BrainMask) -> ImagePair:
    """Return the pair with the head replaced by its brain."""
    mask = pair.masks[head]
    brain, extent = extract_brain(pair.images[head], found.mask.data, pair.extents[head])
    mask = None if mask is None else _within_brain(mask, found.mask.data)
    kept = replace(pair, whole=pair.images, whole_extents=pair.extents)
    if head == 0:
        extents = compare_extremes(extent, pair.extents[1])
        return replace(kept, fixed=brain, fixed_mask=mask, extents=extents, brains=(found, None))
    extents = compare_extremes(pair.extents[0], extent)
    return replace(kept, moving=brain, moving_mask=mask, extents=extents, brains=(None, found))


def extract_brain(image: Volume, brain: Mask, extent: Extent) -> tuple[Volume, Extent]:
    """Return the image with one value outside of its brain, and its valid region.

    The value is the image's minimum, but at most as far below the brain's darkest intensities as those are below its
    brightest: the air of a CT would leave the brain no contrast.

    Args:
        image: of a head.
        brain: (D, H, W) mask on the image's grid.
        extent: valid region of the image.
    """
    inside = image.data[brain].astype(np.float64)
    low, high = (float(value) for value in np.percentile(inside, _RANGE_PERCENT))
    value = max(min(robust_minimum(image.data), low), 2 * low - high)
    outside = np.asarray(value if image.data.dtype.kind == "f" else np.ceil(value)).astype(image.data.dtype)
    extracted, examined = examine(replace(image, data=np.where(brain, image.data, outside)))
    if extent.known is not None:
        known = extent.known | ~brain
        examined = replace(examined, known=known if examined.known is None else examined.known & known)
    return extracted, examined


def _within_brain(mask: Volume, brain: Mask) -> Volume | None:
    """Return a mask that excludes only voxels of the brain; None if it excludes none of them."""
    counts = (mask.data != 0) | ~brain
    return None if counts.all() else replace(mask, data=counts)
