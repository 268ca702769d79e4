"""What is asked of a plan, in numbers."""
