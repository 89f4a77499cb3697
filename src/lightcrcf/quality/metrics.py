"""What quality control sees of a registered pair: images at half the working resolution, the field at its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lightcrcf.geometry.alignment_kernels import block_mean
from lightcrcf.geometry.kernels import compose, upsample, warp
from lightcrcf.geometry.threads import use_threads
from lightcrcf.preprocessing.bias_field import smooth_gain
from lightcrcf.preprocessing.intensity_mapping import conditional_means, map_intensities
from lightcrcf.preprocessing.noise import Noise
from lightcrcf.quality import verdict as quality
from lightcrcf.quality.verdict import Evidence
from lightcrcf.refinement.images import Images
from lightcrcf.refinement.refine import refine_together
from lightcrcf.refinement.schedule import Level
from lightcrcf.refinement.working_pair import WorkingPair

__all__ = ["Seen", "inspect"]

Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]
Overlap = Callable[[Mask, Mask], float]

_FOREGROUND = 0.05
_ALL = 0.9995  # of the foreground: what is known ends within voxels, of which masks and images may keep other halves
_BORDER_PERCENTILE = 99.0
# The way back is registered at a quarter of the resolution, from halves: a field that means something is found again.
_BACK = (
    Level(4, 30, force_sigma=1.732, field_sigma=0.7, radius=2),
    Level(2, 12, force_sigma=1.732, field_sigma=0.7, radius=2),
)


@dataclass(frozen=True, eq=False)
class Seen:
    """A pair as quality control sees it.

    Args:
        pair: both images on the working grid.
        overlap: of two foregrounds.
        across: whether the images are of two contrasts: then what the fixed one explains of the moving one takes the
            place of the squared local correlation, and intensities are compared after recolouring.
    """

    pair: WorkingPair
    overlap: Overlap
    across: bool = False


def inspect(pairs: Sequence[Seen], displacement: Float32 | None, mismatch: tuple[str, ...]) -> list[Evidence]:
    """Measure what a verdict needs.

    Args:
        pairs: of the registration.
        displacement: (3, d, h, w) on the working grid or its half; None if there is none.
        mismatch: in what the first pair is unlike the training images, in words.

    Returns:
        of the first pair everything; of the further ones how alike they are, since the field is the same for all.
    """
    halves, found = [_Halves(seen) for seen in pairs], [Evidence(mismatch=list(mismatch))]
    found += [Evidence() for _ in pairs[1:]]
    pair, full = pairs[0].pair, None
    if displacement is not None:
        lattice = pair.lattice(displacement)
        full = displacement if lattice is pair.grid else upsample(displacement, pair.grid.shape, pair.pool)
    for evidence, each in zip(found, halves, strict=True):
        _compare(evidence, each, full)
    if displacement is not None and full is not None:
        inside = pair.fixed > _FOREGROUND if lattice is pair.grid else halves[0].tissue
        pool = (1, 1, 1) if lattice is pair.grid else pair.pool
        quality.deformation_evidence(found[0], displacement, inside, lattice.spacing_mm, pool)
        found[0].border_displacement_mm = _at_border(displacement, lattice.spacing_mm)
        found[0].there_and_back_mm = _there_and_back_mm(halves, full)
    voxel_mm3 = float(np.prod(pair.grid.spacing_mm * pair.pool))
    found[0].extent_mm = float(np.cbrt(np.count_nonzero(halves[0].tissue) * voxel_mm3))
    return found


def _compare(evidence: Evidence, halves: _Halves, full: Float32 | None) -> None:
    """Fill in how alike a pair is: as given, after the affine, and through the field at full resolution."""
    pair = halves.pair
    moving, moving_mask = halves.moving, halves.mask(pair.moving_mask)
    by_header = halves.image(pair.moving_by_header), halves.mask(pair.mask_by_header)
    evidence.correlation_header, _ = halves.local(*by_header)
    evidence.correlation_affine, evidence.overlap_before = halves.local(moving, moving_mask)
    evidence.counted_fixed = _counted(halves.tissue, halves.counted, halves.mask(pair.fixed_known))
    known = halves.mask(pair.moving_known)
    evidence.counted_moving = _counted(moving > _FOREGROUND, moving_mask, known)
    moved, moved_mask = moving, moving_mask
    if full is not None:
        moved = halves.image(warp(pair.moving[None], full)[0])
        moved_mask, known = (halves.mask(_warped(m, full)) for m in (pair.moving_mask, pair.moving_known))
        evidence.correlation_after, evidence.overlap_after = halves.local(moved, moved_mask)
    evidence.covered = (
        _covered(pair, full, halves.tissue) if pair.moving_known is None else _share(halves.tissue, known)
    )
    if evidence.counted_fixed is not None or evidence.counted_moving is not None:
        evidence.correlation_unmasked, evidence.overlap_unmasked = halves.local_unmasked(moved, known)
    halves.whole(evidence, moved, moved_mask)


class _Halves:
    """Both images at half resolution, and comparisons of others with the fixed one."""

    def __init__(self, seen: Seen) -> None:
        self.pair, self._overlap, self.across = seen.pair, seen.overlap, seen.across
        self.fixed, self.moving = self.image(self.pair.fixed), self.image(self.pair.moving)
        self.counted = self.mask(self.pair.fixed_mask)
        self.tissue = self.fixed > _FOREGROUND

    def image(self, image: Float32) -> Float32:
        return block_mean(image, self.pair.pool)

    def mask(self, mask: Float32 | None) -> Mask:
        return np.ones(self.fixed.shape, bool) if mask is None else self.image(mask) > 0.5

    def backward(self) -> Images:
        """Both images the other way round, to be refined."""
        masks = [None if m is None else self.image(m) for m in (self.pair.moving_mask, self.pair.fixed_mask)]
        noise = Noise.of(self.moving, self.fixed)
        share = self.pair.share
        return Images(self.moving, self.fixed, masks[0], masks[1], noise, across=self.across, share=share)

    def local(self, moved: Float32, mask: Mask) -> tuple[float, float]:
        """Squared local correlation in the fixed foreground, and overlap of the foregrounds."""
        return self._local(moved, mask & self.counted)

    def local_unmasked(self, moved: Float32, known: Mask) -> tuple[float, float]:
        """Compute `local` wherever both images have data, whatever the masks leave out."""
        return self._local(moved, known & self.mask(self.pair.fixed_known))

    def _local(self, moved: Float32, where: Mask) -> tuple[float, float]:
        if self.across:
            correlation = quality.local_explanation(self.fixed, moved, self.tissue & where)
        else:
            correlation = quality.local_correlation(self.fixed, moved, self.tissue & where)
        return correlation, self._overlap(self.tissue & where, (moved > _FOREGROUND) & where)

    def whole(self, evidence: Evidence, moved: Float32, mask: Mask) -> None:
        """Fill in what the intensities tell over all that is foreground in both images, a smooth factor aside."""
        if self.across:
            counts = (mask & self.counted).astype(np.float32)
            moved = np.where(
                moved > _FOREGROUND, map_intensities(moved, conditional_means(self.fixed, moved, counts)), moved
            )
        both = self.tissue & (moved > _FOREGROUND) & mask & self.counted
        fixed = self.fixed[both]
        gain = smooth_gain(fixed, moved[both], np.argwhere(both))
        even = moved[both] * gain
        evidence.correlation_global = quality.correlation(fixed, even)
        evidence.histogram_distance = quality.distance(fixed, even)
        low, high = np.percentile(gain, (5, 95)) if gain.size else (1.0, 1.0)
        evidence.gain_range = float(high / low)


def _warped(mask: Float32 | None, full: Float32) -> Float32 | None:
    return None if mask is None else warp(mask[None], full)[0]


def _counted(tissue: Mask, counted: Mask, known: Mask) -> float | None:
    """Return the share of the known tissue that the user's mask leaves; None if it leaves all but some at its edge."""
    share = _share(tissue & known, counted)
    return share if share < _ALL else None


def _share(of: Mask, within: Mask) -> float:
    total = int(np.count_nonzero(of))
    return int(np.count_nonzero(of & within)) / total if total else 0.0


def _at_border(displacement: Float32, spacing_mm: NDArray[np.float64]) -> float:
    """Length of the displacement on the faces of its grid, in mm, 99th percentile."""
    step = spacing_mm.astype(np.float32).reshape(3, 1, 1)
    faces = [np.take(displacement, end, axis=axis + 1) for axis in range(3) for end in (0, -1)]
    lengths = [np.sqrt(np.square(face * step).sum(axis=0)).ravel() for face in faces]
    return float(np.percentile(np.concatenate(lengths), _BORDER_PERCENTILE))


def _covered(pair: WorkingPair, full: Float32 | None, tissue: Mask) -> float:
    """Share of the fixed foreground that the field and the affine take to places inside of the moving image."""
    places = np.argwhere(tissue)[::5] * np.array(pair.pool)
    if not len(places):
        return 0.0
    places = np.minimum(places, np.array(pair.grid.shape) - 1)
    at = places.astype(np.float64)
    if full is not None:
        at += full[:, places[:, 0], places[:, 1], places[:, 2]].T
    moving = pair.images[1].grid
    voxels = moving.voxels(pair.affine.points(pair.grid.world(at)))
    return float(np.mean(np.all((voxels > -0.5) & (voxels < np.array(moving.shape) - 0.5), axis=1)))


def _there_and_back_mm(every: Sequence[_Halves], full: Float32) -> float | None:
    """Mean distance, over the fixed foreground, of where a point comes to through the field and then through the field
    that a coarse registration of all pairs the other way finds.
    """
    halves = every[0]
    pair, pool = halves.pair, halves.pair.pool
    schedule = tuple(replace(level, metric="explained") for level in _BACK) if halves.across else _BACK
    backward = [each.backward() for each in every]
    with use_threads(1):  # so little work that threads would wait for one another most of the time
        back = refine_together(backward, None, schedule=schedule, pool=pool).displacement
    factors = np.array([4 if p == 2 else 1 for p in pool])
    inside = block_mean(halves.fixed, pool) > _FOREGROUND
    if not inside.any():
        return None
    error = compose(back, _quarter(full, pool)) * (pair.grid.spacing_mm * factors).astype(np.float32).reshape(
        3, 1, 1, 1
    )
    return float(np.sqrt(np.square(error).sum(axis=0))[inside].mean(dtype=np.float64))


def _quarter(full: Float32, pool: tuple[int, int, int]) -> Float32:
    """(3, D, H, W) at a quarter of the resolution, in its voxels: means of two voxels around each centre."""
    near, far = (tuple(slice(start, None, 4) if p == 2 else slice(None) for p in pool) for start in (1, 2))
    scale = np.array([0.125 if p == 2 else 0.5 for p in pool], np.float32).reshape(3, 1, 1, 1)
    return np.ascontiguousarray(scale * (full[(slice(None), *near)] + full[(slice(None), *far)]))
