"""Training a proxy: the loop, its state, checkpoints, branches and ensembles."""
