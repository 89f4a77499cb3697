"""Voxel grids, and compiled kernels on them."""
