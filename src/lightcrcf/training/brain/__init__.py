"""Training of the network for brain extraction."""
