"""Subcommands for one pair of images."""
