"""Cache for consecutive registrations."""
