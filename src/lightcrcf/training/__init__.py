"""Training of networks: data, losses and the training loop."""
