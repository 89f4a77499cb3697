"""Grids, and the kernels that sample on them."""
