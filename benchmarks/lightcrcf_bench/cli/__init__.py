"""`lightcrcf-bench`."""
