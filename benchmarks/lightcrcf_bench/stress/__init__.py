"""Stress tests: damaged files, interruptions, resource exhaustion, orientations."""
