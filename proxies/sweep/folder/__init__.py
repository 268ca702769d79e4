"""What a sweep keeps on disk, and how far it is by that; without torch, Optuna and pandas.

Rooms: `about` (what the sweep is, what may change, the lock), `records` (results as they come),
`progress` (how far it is) and `trackers` (other tools that are told).
"""

from proxies.sweep.folder.about import About, is_locked, read_about
from proxies.sweep.folder.progress import CellProgress, Progress, measure_progress
from proxies.sweep.folder.records import TABLE, Record, read_records
from proxies.sweep.folder.trackers import open_loggers

__all__ = [
    "TABLE",
    "About",
    "CellProgress",
    "Progress",
    "Record",
    "is_locked",
    "measure_progress",
    "open_loggers",
    "read_about",
    "read_records",
]
