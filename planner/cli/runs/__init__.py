"""Commands that read runs tables."""
