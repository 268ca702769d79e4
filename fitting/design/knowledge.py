"""How well lr and batch are known at the target: the intervals by which a search may stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fitting.design.belief import weight_prior
from fitting.errors import FitError
from fitting.laws.surface import best_point, surface_of
from fitting.surface.fit import Effort, fit_surface, to_covariance
from fitting.surface.interval import surface_log_sd
from fitting.surface.solver import basis

if TYPE_CHECKING:
    from fitting.laws.surface import Surface
    from fitting.runs.tuned import TunedRuns
    from fitting.surface.line import OptimumLine

BOOTSTRAPS = 60
"""Refits behind the intervals: enough for a tenth of their width, fewer for a thousand runs."""


@dataclass(frozen=True, slots=True)
class Knowledge:
    """The best lr and batch at the target by the runs so far."""

    lr: float
    batch_tokens: float
    lr_log_sd: float
    """sd of ln lr: how well the average cell's optimum is known there."""
    batch_log_sd: float
    """The same for the batch."""
    runs: int
    """Finished runs that it rests on; 0 is the prior alone."""


def known_at(
    done: TunedRuns, *, target: tuple[float, float], prior: OptimumLine | None = None, seed: int = 0
) -> Knowledge:
    """The optimum at the target with its intervals, by the fit that `plan fit --target` makes.

    A search may stop when `lr_log_sd` and `batch_log_sd` are small; fewer runs than a fit needs
    leave the prior alone.

    Args:
        done: runs made so far; may be empty.
        target: params and tokens, > 0.
        prior: where the optimum lies by a law; None for published theory's signs alone.
        seed: of the refits.

    Raises:
        FitError: the prior has no optimum.
    """
    runs = done.finished()
    try:
        fit = fit_surface(
            runs,
            line_prior=prior,
            target=target,
            effort=Effort(
                bootstraps=max(20, min(BOOTSTRAPS, 60_000 // max(len(runs.loss), 1))), seed=seed
            ),
        )
    except FitError:
        alone = weight_prior(prior)
        surface = surface_of(
            (basis() @ alone.mean).tolist(), covariance=to_covariance(alone.covariance)
        )
        return knowledge(surface, target, runs=0)
    return knowledge(fit.surface, target, runs=fit.n)


def knowledge(surface: Surface, target: tuple[float, float], *, runs: int) -> Knowledge:
    """What a surface with its covariance says of the target."""
    known = surface_log_sd(surface, *target)
    assert known is not None
    lr, batch_tokens = best_point(surface, *target)
    return Knowledge(lr, batch_tokens, *known, runs)
