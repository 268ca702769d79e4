"""Which run to do next, for a target: small local designs, cheapest cells first.

Rooms: `space` (what may be run: candidates with costs, or ranges), `belief` (the surface by the
runs so far and a prior, and how well lr and batch are known), `cells` (what is left to run of
each), `choose` (which cells, and the points of each design), `files` (candidates in, proposals
out).

The law of a prior comes in as an argument; nothing here knows where laws are kept.

Source: chosen by replay on Step Law's runs (arXiv 2503.04715), `tests/benchmarks/design_replay.py`.
"""

from fitting.design.belief import Knowledge, known_at
from fitting.design.choose import Proposal, next_runs
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
