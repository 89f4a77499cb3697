"""Overlap of labels: ours and other tools."""
