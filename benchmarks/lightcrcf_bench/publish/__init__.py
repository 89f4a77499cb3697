"""Tables and figures rendered from records."""
