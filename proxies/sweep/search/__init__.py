"""Which run comes next in a sweep, by Optuna's samplers and our own.

Rooms: `starts` (where a cell's search begins), `samplers` (which run comes next in a cell),
`target` (and of which cell), `pruning` (which run stops early) and `studies` (one Optuna study a
cell, kept on disk). Doors: `starts.predict_start`, `samplers.SAMPLERS`, `pruning.PRUNERS`,
`studies.open_study`; this face loads none of them, for a start is predicted without Optuna.
"""
