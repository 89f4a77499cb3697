"""Damaged files, interruptions, scarce resources, odd orientations."""
