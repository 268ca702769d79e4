"""One run that a design asks for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A run to make, in the runs table's names."""

    params: float
    """N, non-embedding, > 0."""
    tokens: float
    """D, > 0."""
    lr: float
    """Peak learning rate, > 0."""
    batch_tokens: float
    """Tokens a batch, > 0."""
    flops: float
    """What the run costs, > 0."""
    reason: str
    """One sentence: why this run, and why now."""
    row: int | None
    """Row of the candidate, from 0; None where the space is continuous."""
