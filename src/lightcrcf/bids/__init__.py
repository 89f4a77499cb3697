"""BIDS data sets onto a template."""
