"""Ways to run the network: OpenVINO (CPU, the default) and PyTorch (CPU and CUDA, the reference)."""
