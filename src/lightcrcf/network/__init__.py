"""The LightCRCF network: configuration, re-parameterised blocks and the coarse-to-fine composition."""
