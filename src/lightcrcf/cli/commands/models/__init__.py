"""Subcommands for models and training."""
