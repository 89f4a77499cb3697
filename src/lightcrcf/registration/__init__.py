"""Registration from end to end."""
