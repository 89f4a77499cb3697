"""From two volumes to a registration."""
