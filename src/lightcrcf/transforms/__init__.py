"""Affine, displacement field, their chain, and the ITK adapter."""
