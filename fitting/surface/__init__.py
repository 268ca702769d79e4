"""Loss over learning rate and batch, fitted over all cells at once."""
