"""A sweep: many small runs of one model family, from one file.

Rooms, each above the ones before it: `spec` (what SPEC.toml says), `axes` (the values a search may
take), `cells` (what a spec expands to, and one run of it), `spec_file` (how a spec is read and
checked), `folder` (what is kept on disk, and how far it is), `search` (which run comes next, with
Optuna), `executors` (who makes a run, with torch), `session` (one sitting) and `run_sweep` (a sweep
from its spec to its table). Doors: `spec.SweepSpec`, `spec_file.read_spec`, `cells.expand_cells`,
`run_sweep.run_sweep`, `run_sweep.estimate_sweep`; this face loads none of them, for a spec is read
without torch and Optuna.
"""
