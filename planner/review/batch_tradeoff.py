"""What a larger batch costs in tokens for how much less time, at the plan's own loss.

A loss that takes at least E_min tokens and at least S_min steps takes, at a batch of B tokens,

    E = E_min (1 + B / B_crit),  S = S_min (1 + B_crit / B),  (S/S_min - 1)(E/E_min - 1) = 1

with B_crit = E_min / S_min. The critical batch is a law's or that of measured noise, at E_min.

Beside it stands what a batch costs at the plan's tokens, by the surface: lr held, as in the plan's
`error_cost`, and lr moved along with the batch. A surface knows its own optimum, below which a
batch costs loss too; the trade-off knows no such thing.

Sources: McCandlish et al. 2018 (arXiv 1812.06162), eq. 2.11; Bergsma et al. 2025 (arXiv
2505.13738), E_min as the argument of B_crit; Marek et al. 2025 (arXiv 2507.07101), beta2's
half-life in tokens, beta2' = beta2^(B'/B).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fitting.laws.evaluate import evaluate_law
from planner.facts.laws import CRITICAL_LAW
from planner.plan.reuse import is_priced, surface_of, tuning_of, why_unpriced
from planner.recommendation.place import PlacedSurface, Tuning

if TYPE_CHECKING:
    from fitting.laws.law import Law
    from fitting.probes.noise_scale import NoiseFit
    from planner.plan.document import Plan

DEFINITIONS = {"power-lines": 1.0, "zhang-2024": 5.0, "kaplan": 1.0}
"""Factor from what a law calls critical to B_crit above. zhang-2024 allows 20% more steps than in
proportion: (1 + B_crit/B) B/B_crit = 1 + B/B_crit = 1.2, a fifth of B_crit (derived here)."""

SMALLEST, BEYOND = 1 / 8, 4.0
"""Batches of the table: from an eighth of the plan's to this multiple of the critical one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What one law says of the critical batch."""

    law: str
    batch_tokens: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRow:
    """One batch that reaches the plan's loss."""

    batch_tokens: float
    batch_sequences: int
    steps: int
    tokens: float
    """Tokens to the plan's loss."""
    relative_time: float
    """Steps over the plan's: time where devices grow with the batch."""
    relative_tokens: float
    """Tokens over the plan's: cost, and time on the same devices."""
    loss_cost: float | None
    """Share of the loss over the plan's at the plan's tokens, lr held; None out of reach."""
    loss_cost_lr_moved: float | None
    """The same with the lr that the surface wants at this batch."""
    lr: float | None
    """That lr; None out of reach."""
    beta2: float
    """Of the same half-life in tokens as the plan's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tradeoff:
    """The plan's batch against others."""

    batch_tokens: float
    """The plan's."""
    critical_batch_tokens: float
    """At the fewest tokens that reach the plan's loss."""
    low: float | None
    """Lower end of its 80% interval; None where none is known."""
    high: float | None
    source: str
    """A law's name, or the runs whose noise was measured."""
    opinions: tuple[Opinion, ...]
    """Every law's critical batch at the same tokens, in the terms of this table."""
    fewest_tokens: float
    fewest_steps: float
    beta2_half_life_tokens: float
    surface: str | None
    """Law of the loss costs; None where no surface reaches."""
    note: str
    """Why loss costs are missing; empty where they are not."""
    rows: tuple[BatchRow, ...]


def trade_off(plan: Plan, book: Mapping[str, Law], *, noise: NoiseFit | None = None) -> Tradeoff:
    """Batch, steps, tokens, time and loss of batches about the plan's.

    Args:
        plan: with its batch and tokens.
        book: the law book.
        noise: the noise scale of one's own runs; None for the law `power-lines`.
    """
    batch, tokens = plan.batch_tokens.value, plan.target.tokens

    def critical(count: float) -> float:
        if noise is not None:
            return noise.at(count)
        return opinion(book[CRITICAL_LAW], count, loss=plan.loss.value) or math.nan

    fewest = fewest_tokens(critical, tokens=tokens, batch_tokens=batch)
    limit = critical(fewest)
    low, high = (None, None) if noise is None else noise.interval(fewest)
    placed = surface_of(plan, book)
    multiples = math.ceil(math.log2(max(BEYOND * limit / batch, 2.0)))
    factors = [SMALLEST * 2.0**power for power in range(multiples + 4)]
    sizes = sorted({max(1, round(plan.batch_sequences * factor)) for factor in factors})
    said = {name: opinion(book[name], fewest, loss=plan.loss.value) for name in DEFINITIONS}
    return Tradeoff(
        batch_tokens=batch,
        critical_batch_tokens=limit,
        low=low,
        high=high,
        source=CRITICAL_LAW if noise is None else noise.source,
        opinions=tuple(
            Opinion(law=name, batch_tokens=value) for name, value in said.items() if value
        ),
        fewest_tokens=fewest,
        fewest_steps=fewest / limit,
        beta2_half_life_tokens=half_life(plan.optimizer.beta2, batch),
        surface=None if placed is None else placed.law,
        note=why_unpriced(plan, book) if placed is None else "",
        rows=tuple(
            row_of(plan, sequences, fewest=fewest, critical=limit, placed=placed)
            for sequences in sizes
            if sequences * plan.target.seq_len < tokens
        ),
    )


def row_of(
    plan: Plan, sequences: int, *, fewest: float, critical: float, placed: PlacedSurface | None
) -> BatchRow:
    """One batch: tokens and steps to the plan's loss, and the loss at the plan's tokens."""
    batch = float(sequences * plan.target.seq_len)
    ours = plan.batch_tokens.value
    tokens = fewest * (1 + batch / critical)
    costs = loss_costs(placed, plan, batch)
    return BatchRow(
        batch_tokens=batch,
        batch_sequences=sequences,
        steps=math.ceil(tokens / batch),
        tokens=tokens,
        relative_time=tokens / batch * ours / plan.target.tokens,
        relative_tokens=tokens / plan.target.tokens,
        loss_cost=costs.held,
        loss_cost_lr_moved=costs.moved,
        lr=costs.lr,
        beta2=same_half_life(plan.optimizer.beta2, batch / ours),
    )


def fewest_tokens(
    critical: Callable[[float], float], *, tokens: float, batch_tokens: float
) -> float:
    """E_min, the solution of E = E_min (1 + B / B_crit(E_min)), by bisection in the log.

    Args:
        critical: B_crit at a number of tokens, growing at most in proportion to them.
        tokens: E, tokens of the run, > 0.
        batch_tokens: B, > 0.
    """
    low, high = 1.0, tokens
    for _ in range(200):
        middle = math.sqrt(low * high)
        over = middle * (1 + batch_tokens / critical(middle)) > tokens
        low, high = (low, middle) if over else (middle, high)
    return high


def opinion(law: Law, tokens: float, *, loss: float) -> float | None:
    """B_crit by one law at a number of tokens; None where it is silent."""
    point = {"tokens": tokens, "loss": loss}
    value = evaluate_law(law.quantities["critical_batch_tokens"], point)
    return None if value is None else DEFINITIONS[law.name] * value


def half_life(beta2: float, batch_tokens: float) -> float:
    """Tokens after which a squared gradient counts half: B ln 2 / -ln beta2; 0 for beta2 = 0."""
    return batch_tokens * math.log(2) / -math.log(beta2) if beta2 > 0 else 0.0


def same_half_life(beta2: float, factor: float) -> float:
    """beta2 at `factor` times the batch: beta2^factor.

    Example:
        >>> same_half_life(0.9, 2.0)
        0.81
    """
    return round(float(beta2**factor), 12)


@dataclass(frozen=True, slots=True)
class LossCosts:
    """What one batch costs at the plan's tokens, by the surface."""

    held: float | None = None
    """Share of the loss with the plan's lr."""
    moved: float | None = None
    """The same with the lr of this batch."""
    lr: float | None = None


def loss_costs(placed: PlacedSurface | None, plan: Plan, batch_tokens: float) -> LossCosts:
    """What another batch costs with lr held and moved; nothing where the surface ends."""
    if placed is None or not is_priced(plan, placed, batch_tokens):
        return LossCosts()
    ours = tuning_of(plan)
    if batch_tokens == ours.batch_tokens:
        return LossCosts(0.0, 0.0, ours.lr)
    here, lr = placed.penalty(ours), ours.lr
    moved = lr * placed.move_lr(batch_tokens, start=ours).factor
    held, best = (
        math.expm1(placed.penalty(Tuning(each, batch_tokens)) - here) for each in (lr, moved)
    )
    return LossCosts(held, best, moved)
