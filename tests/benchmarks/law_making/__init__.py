"""What makes the laws of practice and of setups from the facts in data/."""
