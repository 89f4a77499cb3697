"""Overlap against smoothness of fields."""
