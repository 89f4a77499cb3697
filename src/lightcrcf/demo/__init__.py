"""The demo: a registration whose true transform is known."""
