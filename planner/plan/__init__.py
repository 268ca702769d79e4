"""The plan: made, kept, read again, shown."""
