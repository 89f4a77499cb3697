"""Augmentation of training pairs: geometry and intensities, and simulated scans of other contrasts."""
