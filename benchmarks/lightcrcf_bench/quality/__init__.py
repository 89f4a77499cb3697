"""Calibration and tests of quality control."""
