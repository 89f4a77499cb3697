"""Inference engines: OpenVINO (CPU, the default) and PyTorch (CPU and CUDA, the reference)."""
