"""Affine alignment of any two volumes."""
