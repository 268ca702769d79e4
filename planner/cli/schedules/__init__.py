"""Commands of schedules and loss curves."""
