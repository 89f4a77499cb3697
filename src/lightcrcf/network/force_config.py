"""The force of the local correlation that a network sees: window and unit; does not import PyTorch."""

from __future__ import annotations

__all__ = ["FLOOR", "FOREGROUND", "GAIN", "MIN_WEIGHTS", "NOISE", "RADIUS"]

RADIUS = 2
"""Of the window, in voxels to each side."""
FLOOR = 1e-6
"""Added to the product of variances, so that flat windows are uncorrelated."""
NOISE = 1e-4
"""Variance of noise: windows that are as alike as images that differ by it exert no force."""
FOREGROUND = 0.05
"""Intensities above it are foreground."""
MIN_WEIGHTS = 1e-3
"""Least sum of the weights of all windows, of an image that shows nothing."""
GAIN = 1.0
"""Length of a force of one unit, the mean weight of a window of the foreground."""
