"""The best values of one cell of runs: one params, one tokens."""
