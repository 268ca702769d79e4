"""Runs of one batch and length that differ in lr, beside a plan on its surface.

The surface's lr axis is shifted so that the plan's lr is the best one of the full run at the
planned batch. Short runs have another best lr: the surface's own exponents say which, and how sure
that is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fitting.errors import FitError, InputError
from fitting.intervals import Z80
from fitting.laws.surface import (
    COEFFICIENTS,
    Surface,
    SurfacePoint,
    best_lr,
    log_terms,
    surface_of,
    terms_of,
    weights,
)
from fitting.surface.prior import TRANSFER
from planner.recommendation.value import Value

if TYPE_CHECKING:
    from fitting.arrays import Floats
    from planner.plan.document import Plan
    from planner.recommendation.place import PlacedSurface

TRANSFER_EXPONENT = TRANSFER.exponent
"""sd of the exponent of tokens in the best lr at a fixed batch from setup to setup. Published ones
run from D^-0.3 to D^+0.2, by how far the batch is from its best (data/laws/horizon-by-batch.toml);
the surface follows that in part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortRuns:
    """The plan on its surface, and the length of short runs on it."""

    plan: Plan
    placed: PlacedSurface
    """Shifted so that the plan's lr is the best of the full run at its batch."""
    tokens: float
    """Length of a short run, in tokens."""
    log_length_factor: float
    """ln of the best lr of the full run over that of a short one, at the planned batch."""
    length_log_sd: float
    """Standard deviation of that: of the surface's weights, and from setup to setup."""

    def penalties(self, log_factors: Floats, tokens: float) -> Floats:
        """ln(1 + q) at factors on the best lr of the full run, after so many tokens.

        Args:
            log_factors: ln of the factors, any shape.
            tokens: length of the run, > 0.
        """
        placed = self.placed
        at = SurfacePoint(
            params=placed.params,
            tokens=tokens,
            lr=self.plan.lr.value * placed.lr_shift,
            batch_tokens=self.plan.batch_tokens.value * placed.batch_shift,
        )
        logs = log_terms(placed.surface, at)
        pairs = zip(logs, terms_of(placed.surface), strict=True)
        q = [np.exp(log + term.lr * log_factors) for log, term in pairs]
        found: Floats = np.log1p(np.sum(q, axis=0))
        return found

    def costs(self, shifts: Floats) -> Floats:
        """Share of the loss that the planned lr costs at the full run, were each shift the truth.

        Args:
            shifts: ln(best lr / planned lr), shape (n,).
        """
        tokens = self.plan.target.tokens
        least = self.penalties(np.zeros(1), tokens)
        found: Floats = np.expm1(self.penalties(-shifts, tokens) - least)
        return found

    def length_factor(self) -> Value:
        """Best lr of the full run over that of a short one, with its 80% interval."""
        value, half = math.exp(self.log_length_factor), math.exp(Z80 * self.length_log_sd)
        return Value(value=value, low=value / half, high=value * half, law=self.placed.law)


def short_runs(plan: Plan, placed: PlacedSurface, *, tokens: float, same_setup: bool) -> ShortRuns:
    """Short runs of a plan on a surface.

    Args:
        plan: the plan, whose lr is taken for the best until runs say otherwise.
        placed: the surface at the plan.
        tokens: length of the short runs, > 0.
        same_setup: whether the surface was fitted on runs of the plan's own setup; its exponents
            then hold as they are.

    Raises:
        InputError: a surface without a best lr at the planned batch.
    """
    whole = plan.target.tokens
    batch_tokens = plan.batch_tokens.value * placed.batch_shift

    def best_at(surface: Surface, length: float) -> float:
        return best_lr(surface, plan.target.params, length, batch_tokens)

    def log_ratio(surface: Surface) -> float:
        return math.log(best_at(surface, whole) / best_at(surface, tokens))

    try:
        best, log_length_factor = best_at(placed.surface, whole), log_ratio(placed.surface)
        own = log_sd_of(placed.surface, log_ratio)
    except FitError as error:
        raise InputError(f"law {placed.law} [surface]: {error}") from error
    transfer = 0.0 if same_setup else TRANSFER_EXPONENT * abs(math.log(whole / tokens))
    return ShortRuns(
        plan=plan,
        placed=replace(placed, lr_shift=best / plan.lr.value),
        tokens=tokens,
        log_length_factor=log_length_factor,
        length_log_sd=math.hypot(own, transfer),
    )


def log_sd_of(surface: Surface, log_quantity: Callable[[Surface], float]) -> float:
    """Standard deviation of the log of what a surface says, from the covariance of its weights.

    The gradient is taken by steps of 1e-4 in each weight; 0 where the covariance is not known.
    """
    if surface.covariance is None:
        return 0.0
    here, gradient, step = log_quantity(surface), {}, 1e-4
    for place, name in enumerate(COEFFICIENTS):
        values = list(weights(surface))
        values[place] += step
        moved = surface_of(values, reference=surface.reference)
        gradient[name] = (log_quantity(moved) - here) / step
    return math.sqrt(max(surface.covariance.log_variance(gradient), 0.0))
