"""What a law is: its forms, range and numbers, read, checked, written and evaluated."""
