"""Which setting of a sweep is tried next."""
