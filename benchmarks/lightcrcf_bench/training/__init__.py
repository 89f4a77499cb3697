"""Ablations of the network and of the refinement."""
