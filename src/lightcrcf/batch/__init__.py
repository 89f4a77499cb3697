"""Many pairs: one after another, on all cores, or on a cluster."""
