"""Ways to run the network: OpenVINO and PyTorch."""
