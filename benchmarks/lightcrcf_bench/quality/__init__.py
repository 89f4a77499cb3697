"""How well quality control tells good from bad."""
