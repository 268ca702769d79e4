"""A sweep: many small runs of one model family, from one file.

Rooms: `spec` (what SPEC.toml says), `spec_file` (how it is read), `cells` (what it expands to),
`axes` (the values a search may take), `runs` (one run), `starts` (where a cell's search begins),
`samplers` (which run comes next), `pruning` (which run stops early). Executing: `runner` (a sweep
from its file to its table), `session` (one sitting of it), `folder` and `extending` (its folder,
lock and changes), `studies` (one Optuna study a cell), `records` (results as they come), `trials`
(jobs and the desk), `executors`, `processes`, `training` (who makes a run), `choosing` (how, by
measurement), `progress` and `loggers` (who is told).
"""
