"""Benchmarks of LightCRCF: measurements that become committed records."""
