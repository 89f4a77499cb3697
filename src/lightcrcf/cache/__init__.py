"""What consecutive registrations share."""
