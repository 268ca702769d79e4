"""A run's health: its log watched, its stability forecast."""
