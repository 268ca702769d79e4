"""One run's log: a table of steps, its noise, its faults and its final loss."""
