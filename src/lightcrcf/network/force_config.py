"""The force of the local correlation that a network sees or climbs: window, unit and steps; does not import PyTorch."""

from __future__ import annotations

__all__ = [
    "FIELD_SIGMA", "FLOOR", "FORCE_SIGMA", "FOREGROUND", "GAIN", "LARGEST_VOLUME", "MIN_WEIGHTS", "MOMENTUM", "NOISE",
    "RADIUS",
    "STEP", "TRUNCATE", "VOLUME",
]  # fmt: skip

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
FORCE_SIGMA, FIELD_SIGMA = 0.8, 0.25
"""Of the Gaussians of forces and of the field in `network.ascent`, in voxels of the finest level."""
TRUNCATE = 2.6
"""Sigmas at which Gaussians are cut."""
STEP, MOMENTUM = 1.2, 0.6
"""Voxels of the finest level for a force of length 1, and the share of a step that the next one carries on."""
VOLUME = 0.2
"""How much of a change of volume each step evens out, squared voxels."""
LARGEST_VOLUME = 5.0
"""Volume ratios beyond it, and below one over it, are evened out no faster."""
