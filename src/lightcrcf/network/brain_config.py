"""Configuration of the network for brain extraction; does not import PyTorch."""

from __future__ import annotations

__all__ = ["BLOCKS", "CONVOLUTIONS", "MULTIPLE", "SLOPE", "SPACING_MM"]

BLOCKS = 2
"""Block size of space-to-depth along each axis."""
SPACING_MM = 3.0
"""Voxel spacing of the input."""
MULTIPLE = 16
"""Divisor of the input sizes."""
SLOPE = 0.1
"""Negative slope of the leaky ReLU."""
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
"""Input channels, output channels and stride of each 3x3x3 convolution, in order of execution."""
