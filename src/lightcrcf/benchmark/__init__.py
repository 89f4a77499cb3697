"""Measurements that become committed records."""
