"""Records of benchmarks and their files."""
