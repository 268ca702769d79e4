"""The best values of one cell of runs: one params, one tokens.

Doors: `optimum.find_optima` (lr, batch and weight decay of each cell, by a robust polynomial),
`spline.measured_optima` (lr and batch without a form), `measured.measure_cell` (whichever of the
two the runs suffice for), `few_runs.fit_cell` (the three-term surface of a few runs) and
`search.propose_run`, `search.find_local_optimum` on it.
"""
