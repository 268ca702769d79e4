"""What a training run is, and running small ones.

Rooms (torch-free): `shape` (counts and FLOPs), `sizing` (a shape for a size), `parametrization`
(rules of width and depth), `groups` (parameters that share settings), `schedule`, `last_iterate`
(what convex theory says of a schedule), `batching` and `noise` (the batch against tokens and
gradient noise), `run` (a run's spec, result and row), `table` (its runs table), `corpus`, `sweep`.
With torch: `model`, `optimizers`, `gradients`, `state` (one update), `train`, `branches` (WSD
budgets from one stable run), `checkpoint`, `evaluation`; `ensemble`, `stack`, `stacked_model`,
`ensemble_timing` (runs of one shape as one model); `activations`, `probes`, and `coordinates`,
`coordinate_check`, `coordinate_plot`, `faults` (the coordinate check). A target is only the
largest member of its family, so what describes a proxy describes it too.

Public names load on use, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proxies.run.schedule import make_schedule
    from proxies.run.spec import RunSpec
    from proxies.sweep.run_sweep import run_sweep
    from proxies.sweep.spec import SweepSpec
    from proxies.sweep.spec_file import read_spec
    from proxies.train.loop import train_run

__all__ = ["RunSpec", "SweepSpec", "make_schedule", "read_spec", "run_sweep", "train_run"]

_ROOMS = {
    "RunSpec": "run.spec",
    "SweepSpec": "sweep.spec",
    "make_schedule": "run.schedule",
    "read_spec": "sweep.spec_file",
    "run_sweep": "sweep.run_sweep",
    "train_run": "train.loop",
}


def __getattr__(name: str) -> Any:
    """A public name, imported from its room on first use."""
    if name not in _ROOMS:
        raise AttributeError(f"module 'proxies' has no attribute '{name}'")
    return getattr(import_module(f"proxies.{_ROOMS[name]}"), name)
