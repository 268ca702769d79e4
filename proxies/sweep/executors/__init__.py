"""Who trains a sweep's runs: in this process, beside it, in stacks, or on a cluster.

Rooms: `desk` (what an executor is given and gives back), `registry` (the executors by name),
`processes`, `ensembles`, `cluster` and `remote` (its nodes), `train_job` (one run, with torch) and
`timing` (how fast each would be).
"""

from proxies.sweep.executors.desk import Desk, Ended, Execute, Job
from proxies.sweep.executors.registry import EXECUTORS, Executor
from proxies.sweep.executors.timing import CellEstimate, choose_executor, estimate_cells

__all__ = [
    "EXECUTORS",
    "CellEstimate",
    "Desk",
    "Ended",
    "Execute",
    "Executor",
    "Job",
    "choose_executor",
    "estimate_cells",
]
