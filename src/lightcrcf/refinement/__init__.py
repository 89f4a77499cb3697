"""Deformable registration by optimisation on a working grid."""
