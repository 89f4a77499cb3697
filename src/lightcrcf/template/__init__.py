"""Unbiased templates from many images."""
