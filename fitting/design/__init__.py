"""Which run to do next, for a target: small local designs, cheapest cells first.

Rooms: `space` (what may be run: candidates with costs, or ranges), `belief` (the surface by the
runs so far and a prior), `pattern` (a cell's centre and the points around it), `choosing` (which
cells, with what is left), `knowledge` (how well lr and batch are known at the target).

The law of a prior comes in as an argument; nothing here knows where laws are kept.

Source: chosen by replay on Step Law's runs (arXiv 2503.04715), `tests/benchmarks/design_replay.py`.
"""

from fitting.design.choose import next_runs
from fitting.design.knowledge import Knowledge, known_at
from fitting.design.proposal import Proposal
from fitting.design.space import RANGES, Candidates, Ranges, Space, target_space

__all__ = [
    "RANGES",
    "Candidates",
    "Knowledge",
    "Proposal",
    "Ranges",
    "Space",
    "known_at",
    "next_runs",
    "target_space",
]
