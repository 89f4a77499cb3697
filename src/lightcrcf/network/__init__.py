"""The LightCRCF network, its re-parameterised blocks, and their configuration."""
