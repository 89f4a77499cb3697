"""LightCRCF: deformable registration of 3-D medical volumes in seconds on a CPU."""
