"""Shipped models, and reading and writing of weights."""
