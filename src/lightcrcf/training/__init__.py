"""Data, losses and the training loop."""
