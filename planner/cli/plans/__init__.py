"""Commands that read a plan."""
