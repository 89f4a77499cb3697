"""Measurement of a registered pair for quality control: images at half the working resolution, the field at its own."""

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
from lightcrcf.quality.metrics import QualityMetrics
from lightcrcf.quality.similarity import correlation, local_correlation, local_explained_variance, quantile_distance
from lightcrcf.quality.transform_metrics import affine_metrics, field_metrics
from lightcrcf.refinement.images import Images
from lightcrcf.refinement.refine import refine_together
from lightcrcf.refinement.schedule import Level
from lightcrcf.refinement.working_pair import WorkingPair
from lightcrcf.transforms.affine import Affine

__all__ = ["MeasuredPair", "measure"]

Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]
Overlap = Callable[[Mask, Mask], float]

_FOREGROUND = 0.05
_NEARLY_ALL = 0.9995  # of the foreground: masks and images may round differently at an edge within a voxel
# The reverse registration runs at a quarter of the resolution, from halves: enough to find a meaningful field again.
_REVERSE = (
    Level(4, 30, force_sigma=1.732, field_sigma=0.7, radius=2),
    Level(2, 12, force_sigma=1.732, field_sigma=0.7, radius=2),
)


@dataclass(frozen=True, eq=False)
class MeasuredPair:
    """A pair of images and how it is compared.

    Args:
        pair: both images on the working grid.
        overlap: of two foregrounds.
        across: whether the images are of two contrasts: then explained variance takes the place of squared local
            correlation, and intensities are compared after mapping those of the moving image.
    """

    pair: WorkingPair
    overlap: Overlap
    across: bool = False


def measure(
    pairs: Sequence[MeasuredPair],
    displacement: Float32 | None,
    affine: Affine,
    *,
    folding_percent: float | None = None,
) -> tuple[QualityMetrics, ...]:
    """Measure what a verdict needs.

    Args:
        pairs: all pairs that one transform aligns.
        displacement: (3, d, h, w) on the working grid or its half, in its voxels; None without a deformation.
        affine: fixed to moving points.
        folding_percent: of the written field, where it was made diffeomorphic after `displacement`.

    Returns:
        metrics of each pair: everything for the first one, similarity and coverage alone for the others, since the
        transform is the same for all.
    """
    halves, pair = [_HalfResolution(each) for each in pairs], pairs[0].pair
    full = None if displacement is None else _at_full_resolution(pair, displacement)
    first, *others = [_similarity(each, full) for each in halves]
    if displacement is not None and full is not None:
        lattice = pair.lattice(displacement)
        whole = lattice is pair.grid
        mask, pool = (pair.fixed > _FOREGROUND, (1, 1, 1)) if whole else (halves[0].foreground, pair.pool)
        first |= field_metrics(displacement, mask, lattice.spacing_mm, pool)
        first |= QualityMetrics(there_and_back_mm=_forward_backward_mm(halves, full))
    first |= affine_metrics(affine) | QualityMetrics(folding_percent=folding_percent, extent_mm=halves[0].extent_mm)
    return (first, *others)


def _at_full_resolution(pair: WorkingPair, displacement: Float32) -> Float32:
    whole = pair.lattice(displacement) is pair.grid
    return displacement if whole else upsample(displacement, pair.grid.shape, pair.pool)


def _similarity(halves: _HalfResolution, full: Float32 | None) -> QualityMetrics:
    """Return the similarity of a pair: under the headers' alignment, after the affine, and after the deformation."""
    pair, moving, moving_mask = halves.pair, halves.moving, halves.mask(halves.pair.moving_mask)
    by_header, _ = halves.local(halves.image(pair.moving_by_header), halves.mask(pair.mask_by_header))
    affine, overlap_affine = halves.local(moving, moving_mask)
    within_fixed = _within_mask(halves.foreground, halves.counted, halves.mask(pair.fixed_known))
    known = halves.mask(pair.moving_known)
    within_moving = _within_mask(moving > _FOREGROUND, moving_mask, known)
    moved, moved_mask, after = moving, moving_mask, QualityMetrics()
    if full is not None:
        moved = halves.image(warp(pair.moving[None], full)[0])
        moved_mask, known = (halves.mask(_warped(m, full)) for m in (pair.moving_mask, pair.moving_known))
        reached, overlap_after = halves.local(moved, moved_mask)
        after = QualityMetrics(correlation_after=reached, overlap_after=overlap_after)
    if within_fixed is not None or within_moving is not None:
        unmasked, overlap_unmasked = halves.local_unmasked(moved, known)
        after |= QualityMetrics(correlation_unmasked=unmasked, overlap_unmasked=overlap_unmasked)
    before = QualityMetrics(
        correlation_header=by_header,
        correlation_affine=affine,
        overlap_before=overlap_affine,
        counted_fixed=within_fixed,
        counted_moving=within_moving,
        covered=_covered(pair, full, halves.foreground)
        if pair.moving_known is None
        else _fraction(halves.foreground, known),
    )
    return before | after | halves.intensities(moved, moved_mask)


class _HalfResolution:
    """Both images of a pair at half resolution, compared with one another.

    Args:
        measured: the pair and how it is compared.
    """

    def __init__(self, measured: MeasuredPair) -> None:
        self.pair, self._overlap, self.across = measured.pair, measured.overlap, measured.across
        self.fixed, self.moving = self.image(self.pair.fixed), self.image(self.pair.moving)
        self.counted = self.mask(self.pair.fixed_mask)
        self.foreground = self.fixed > _FOREGROUND

    def image(self, image: Float32) -> Float32:
        return block_mean(image, self.pair.pool)

    def mask(self, mask: Float32 | None) -> Mask:
        return np.ones(self.fixed.shape, bool) if mask is None else self.image(mask) > 0.5

    @property
    def extent_mm(self) -> float:
        """Cube root of the volume of the fixed foreground."""
        voxel_mm3 = float(np.prod(self.pair.grid.spacing_mm * self.pair.pool))
        return float(np.cbrt(np.count_nonzero(self.foreground) * voxel_mm3))

    def reversed(self) -> Images:
        """Return the pair with fixed and moving exchanged, to be refined."""
        masks = [None if m is None else self.image(m) for m in (self.pair.moving_mask, self.pair.fixed_mask)]
        noise = Noise.of(self.moving, self.fixed)
        return Images(self.moving, self.fixed, masks[0], masks[1], noise, across=self.across, share=self.pair.share)

    def local(self, moved: Float32, mask: Mask) -> tuple[float, float]:
        """Return the local correlation in the fixed foreground, and the overlap of the foregrounds."""
        return self._local(moved, mask & self.counted)

    def local_unmasked(self, moved: Float32, known: Mask) -> tuple[float, float]:
        """Return the same wherever both images have data, inside and outside of the masks."""
        return self._local(moved, known & self.mask(self.pair.fixed_known))

    def _local(self, moved: Float32, where: Mask) -> tuple[float, float]:
        similarity = local_explained_variance if self.across else local_correlation
        value = similarity(self.fixed, moved, self.foreground & where)
        return value, self._overlap(self.foreground & where, (moved > _FOREGROUND) & where)

    def intensities(self, moved: Float32, mask: Mask) -> QualityMetrics:
        """Return how the intensities agree over the common foreground, a smooth gain between them removed."""
        if self.across:
            counts = (mask & self.counted).astype(np.float32)
            mapped = map_intensities(moved, conditional_means(self.fixed, moved, counts))
            moved = np.where(moved > _FOREGROUND, mapped, moved)
        both = self.foreground & (moved > _FOREGROUND) & mask & self.counted
        fixed = self.fixed[both]
        gain = smooth_gain(fixed, moved[both], np.argwhere(both))
        even = moved[both] * gain
        low, high = np.percentile(gain, (5, 95)) if gain.size else (1.0, 1.0)
        return QualityMetrics(
            correlation_global=correlation(fixed, even),
            histogram_distance=quantile_distance(fixed, even),
            gain_range=float(high / low),
        )


def _warped(mask: Float32 | None, full: Float32) -> Float32 | None:
    return None if mask is None else warp(mask[None], full)[0]


def _within_mask(foreground: Mask, counted: Mask, known: Mask) -> float | None:
    """Return the fraction of the known foreground in the user's mask; None if nothing is known, or all but an edge."""
    seen = foreground & known
    fraction = _fraction(seen, counted)
    return fraction if fraction < _NEARLY_ALL and seen.any() else None


def _fraction(of: Mask, within: Mask) -> float:
    total = int(np.count_nonzero(of))
    return int(np.count_nonzero(of & within)) / total if total else 0.0


def _covered(pair: WorkingPair, full: Float32 | None, foreground: Mask) -> float:
    """Return the fraction of the fixed foreground that field and affine map into the moving image."""
    places = np.argwhere(foreground)[::5] * np.array(pair.pool)
    if not len(places):
        return 0.0
    places = np.minimum(places, np.array(pair.grid.shape) - 1)
    at = places.astype(np.float64)
    if full is not None:
        at += full[:, places[:, 0], places[:, 1], places[:, 2]].T
    moving = pair.images[1].grid
    voxels = moving.voxels(pair.affine.points(pair.grid.world(at)))
    return float(np.mean(np.all((voxels > -0.5) & (voxels < np.array(moving.shape) - 0.5), axis=1)))


def _forward_backward_mm(halves: Sequence[_HalfResolution], full: Float32) -> float | None:
    """Return the mean forward-backward error over the fixed foreground.

    The backward field comes from a coarse registration of all pairs in the other direction.
    """
    first = halves[0]
    pair, pool = first.pair, first.pair.pool
    schedule = tuple(replace(level, metric="explained") for level in _REVERSE) if first.across else _REVERSE
    with use_threads(1):  # so little work that threads would wait for one another most of the time
        back = refine_together([each.reversed() for each in halves], None, schedule=schedule, pool=pool).displacement
    factors = np.array([4 if p == 2 else 1 for p in pool])
    inside = block_mean(first.fixed, pool) > _FOREGROUND
    if not inside.any():
        return None
    voxel_mm = (pair.grid.spacing_mm * factors).astype(np.float32).reshape(3, 1, 1, 1)
    error = compose(back, _at_quarter_resolution(full, pool)) * voxel_mm
    return float(np.sqrt(np.square(error).sum(axis=0))[inside].mean(dtype=np.float64))


def _at_quarter_resolution(full: Float32, pool: tuple[int, int, int]) -> Float32:
    """Return a (3, D, H, W) field at a quarter of the resolution, in its voxels: means of two voxels at each centre."""
    near, far = (tuple(slice(start, None, 4) if p == 2 else slice(None) for p in pool) for start in (1, 2))
    scale = np.array([0.125 if p == 2 else 0.5 for p in pool], np.float32).reshape(3, 1, 1, 1)
    return np.ascontiguousarray(scale * (full[(slice(None), *near)] + full[(slice(None), *far)]))
