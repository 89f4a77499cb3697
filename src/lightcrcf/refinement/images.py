"""Pairs of images that a refinement compares, and their block means at a level."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lightcrcf.geometry.alignment_kernels import block_mean
from lightcrcf.geometry.gradients import window_mean
from lightcrcf.preprocessing.noise import Noise

__all__ = ["Images"]

Float32 = NDArray[np.float32]
Shape = tuple[int, int, int]

_LEAST_WEIGHT = 1e-3  # of the voxels around one that count
_RIM_VOXELS = 3  # around what counts, extrapolated so that interpolation has something to read


@dataclass(frozen=True, eq=False)
class Images:
    """A pair of images on one grid, with what is known of them.

    Args:
        fixed, moving: (D, H, W) at full resolution, unit range.
        fixed_mask, moving_mask: of each, 0 where voxels do not count, or None.
        noise: of both images; None for none.
        masked: of each, whether everything outside its anatomy was set to one value, 0 here.
        across: whether they are of two contrasts; None for what the schedule says.
        share: weight of this pair among all; they sum to 1.
    """

    fixed: Float32
    moving: Float32
    fixed_mask: Float32 | None = None
    moving_mask: Float32 | None = None
    noise: Noise | None = None
    masked: tuple[bool, bool] = (False, False)
    across: bool | None = None
    share: float = 1.0

    def swapped(self) -> Images:
        """Return the pair with the moving image fixed."""
        noise = None if self.noise is None else self.noise.swapped()
        return replace(
            self, fixed=self.moving, moving=self.fixed, fixed_mask=self.moving_mask, moving_mask=self.fixed_mask,
            noise=noise, masked=self.masked[::-1],
        )  # fmt: skip

    def scaled(
        self, blocks: Shape, background: float
    ) -> tuple[tuple[Float32, Float32], tuple[Float32 | None, Float32 | None]]:
        """Return both images and the weights of their voxels as block means.

        Args:
            blocks: voxels of a block along each axis.
            background: weight of what a mask set to one value; see `Level.background`.
        """
        pairs = ((self.fixed, self.fixed_mask), (self.moving, self.moving_mask))
        scaled = [_scaled(image, mask, blocks) for image, mask in pairs]
        weights = [
            _with_background(image, weight, background) if masked else weight
            for (image, weight), masked in zip(scaled, self.masked, strict=True)
        ]
        return (scaled[0][0], scaled[1][0]), (weights[0], weights[1])


def _scaled(image: Float32, mask: Float32 | None, blocks: Shape) -> tuple[Float32, Float32 | None]:
    """An image and its mask as means of blocks of voxels; only voxels that count are in the image's.

    Around what counts the image goes on as the mean of what is near, so that nothing that does not count is blended in
    between voxels.
    """
    one = blocks == (1, 1, 1)
    if mask is None:
        return image if one else block_mean(image, blocks), None
    counts = mask if one else block_mean(mask, blocks)
    sums = image * mask if one else block_mean(image * mask, blocks)
    known = counts > _LEAST_WEIGHT
    scaled: Float32 = np.divide(sums, counts, out=np.zeros_like(sums), where=known)
    for _ in range(_RIM_VOXELS):
        near, share = window_mean(np.stack([scaled, known.astype(np.float32)]), 1)
        rim = ~known & (share > _LEAST_WEIGHT)
        scaled[rim] = near[rim] / share[rim]
        known |= rim
    return scaled, counts


def _with_background(image: Float32, weight: Float32 | None, background: float) -> Float32 | None:
    """`weight`, times `background` where a masked image was set to 0."""
    if background == 1:
        return weight
    inside = np.where(image > 0, np.float32(1), np.float32(background))
    return inside if weight is None else inside * weight
