"""Inference engines: native kernels (CPU, the default) and PyTorch (CPU and CUDA, the reference)."""
