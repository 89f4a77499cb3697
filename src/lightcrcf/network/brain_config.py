"""Sizes of the network that finds the brain, without PyTorch."""

from __future__ import annotations

__all__ = ["BLOCKS", "CONVOLUTIONS", "MULTIPLE", "SLOPE", "SPACING_MM"]

BLOCKS = 2
"""Voxels of the input in one voxel of the finest features, along each axis."""
SPACING_MM = 3.0
"""Of the input."""
MULTIPLE = 16
"""The sizes of the input are multiples of this."""
SLOPE = 0.1
"""Of the leaky ReLU."""
CONVOLUTIONS: dict[str, tuple[int, int, int]] = {
    "down0": (16, 12, 1),
    "down1": (12, 16, 2),
    "same1": (16, 16, 1),
    "down2": (16, 24, 2),
    "same2": (24, 24, 1),
    "down3": (24, 24, 2),
    "same3": (24, 24, 1),
    "up2": (48, 24, 1),
    "up1": (40, 16, 1),
    "up0": (28, 12, 1),
    "last": (12, 12, 1),
    "head": (12, 8, 1),
}
"""Channels in, channels out and stride of each 3x3x3 convolution, in the order in which they run."""
