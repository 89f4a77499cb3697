"""Subcommands for many images."""
