"""From runs to laws: the runs table, laws, surfaces, loss laws, fits and their audit.

Rooms: `errors`, `units`; `laws`, `forms`, `tables` (law files); `runs`, `columns`, `outcomes`,
`cautions`, `groups`, `table_files`, `readers` (runs tables); `cells`, `cell_fit` (optima of one
cell); `surface` and `surface_*` (loss over lr and batch); `loss` and `loss_*` (loss over params
and tokens); `practice` (published recipes); `tuned`, `levels`, `timescale`, `audit`, `bend`,
`doubts`, `fitted`, `fitted_report`, `fitted_text` (all laws of a table); `trend` (metrics other
than loss); `schemas`, `importing`, `prediction`, `plot_data`, `plots`; `design` (which run to do
next); `run_log`, `log_noise`, `log_faults` (a run's log while it trains); `probe_law`,
`sensitivity` (stability).

Public names load on use, so that a plan does not wait for arrays. Nothing here imports `proxies`
or `planner`, and nothing here needs torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fitting.curves.fit import fit_curves
    from fitting.design import next_runs
    from fitting.fit.laws import fit_laws
    from fitting.fit.predict import predict_runs
    from fitting.laws.file import read_law
    from fitting.logs.series import read_curve
    from fitting.runs.table import Runs, read_runs, write_runs

__all__ = [
    "Runs",
    "fit_curves",
    "fit_laws",
    "next_runs",
    "predict_runs",
    "read_curve",
    "read_law",
    "read_runs",
    "write_runs",
]

_ROOMS = {
    "Runs": "runs.table",
    "fit_curves": "curves.fit",
    "fit_laws": "fit.laws",
    "next_runs": "design",
    "predict_runs": "fit.predict",
    "read_curve": "logs.series",
    "read_law": "laws.file",
    "read_runs": "runs.table",
    "write_runs": "runs.table",
}


def __getattr__(name: str) -> Any:
    """A public name, imported from its room on first use."""
    if name not in _ROOMS:
        raise AttributeError(f"module 'fitting' has no attribute '{name}'")
    return getattr(import_module(f"fitting.{_ROOMS[name]}"), name)
