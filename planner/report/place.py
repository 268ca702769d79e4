"""Where a plan lies on the surface that priced it, read off the plan's own plateau.

A plan's JSON says which law files it came from and where its plateau ends, not where the surface
was shifted to: by anchors, another law, another parametrization. The four ends of the plateau are
points that cost 0.1% over the best on their axis; the two shifts in ln lr and ln batch that put
them there are found, and a surface that no shift fits is not the plan's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fitting.errors import FitError
from fitting.laws.plateau import plateau
from fitting.laws.surface import (
    Setting,
    best_point,
    log_penalty,
    log_terms,
    surface_from,
    terms_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fitting.arrays import Floats
    from fitting.laws.law import Law
    from fitting.laws.surface import Surface
    from planner.plan.document import Plan

CLOSE = 1e-6
"""Error in ln of the plateau's ends up to which a surface is the plan's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A surface at one size, in the plan's own terms of lr and batch."""

    law: str
    surface: Surface
    params: float
    tokens: float
    lr_shift: float = 1.0
    """Surface's lr over the plan's."""
    batch_shift: float = 1.0

    def penalty(self, lr: float, batch_tokens: float) -> float:
        """ln(1 + q) at a point."""
        return log_penalty(
            self.surface,
            params=self.params,
            tokens=self.tokens,
            lr=lr * self.lr_shift,
            batch_tokens=batch_tokens * self.batch_shift,
        )

    def best(self) -> tuple[float, float]:
        """lr and batch of lowest loss."""
        lr, batch_tokens = best_point(self.surface, self.params, self.tokens)
        return lr / self.lr_shift, batch_tokens / self.batch_shift

    def terms(self, lr: float, batch_tokens: float) -> list[list[float]]:
        """Log of each term at a point, with its exponents of lr and batch: all a page needs.

        Returns:
            Three rows [a, g, h] so that q = sum exp(a + g ln(lr'/lr) + h ln(B'/B)).
        """
        at = Setting(
            params=self.params,
            tokens=self.tokens,
            lr=lr * self.lr_shift,
            batch_tokens=batch_tokens * self.batch_shift,
        )
        logs = log_terms(self.surface, at)
        return [
            [log, term.lr, term.batch_tokens]
            for log, term in zip(logs, terms_of(self.surface), strict=True)
        ]


def place_of(plan: Plan, laws: Iterable[Law]) -> Place | None:
    """The surface about a plan; None where the plan has no plateau or no surface fits it.

    Args:
        plan: the plan.
        laws: those whose files the plan came from.
    """
    if plan.plateau is None:
        return None
    for law in laws:
        if "surface" in law.quantities:
            found = fitted_place(plan, law)
            if found is not None:
                return found
    return None


def fitted_place(plan: Plan, law: Law) -> Place | None:
    """One law's surface shifted onto the plan's plateau; None where no shift fits."""
    from scipy.optimize import least_squares

    assert plan.plateau is not None
    surface = surface_from(law.quantities["surface"])
    params, tokens = plan.target.params, plan.target.tokens
    lr, batch_tokens = plan.lr.value, plan.batch_tokens.value
    ends = plan.plateau.lr, plan.plateau.batch_tokens
    wanted = [math.log(end) for span in ends for end in (span.low, span.high)]

    def misses(shifts: Floats) -> list[float]:
        u, v = (math.exp(shift) for shift in shifts.tolist())
        found = plateau(surface, params, tokens, lr=lr * u, batch_tokens=batch_tokens * v)
        reached = [
            math.log(end / shift)
            for span, shift in ((found.lr, u), (found.batch_tokens, v))
            for end in (span.low, span.high)
        ]
        return [a - b for a, b in zip(reached, wanted, strict=True)]

    try:
        best = best_point(surface, params, tokens)
        starts = ([0.0, 0.0], [math.log(best[0] / lr), math.log(best[1] / batch_tokens)])
        for start in starts:
            solved = least_squares(misses, start, xtol=1e-14, ftol=1e-14, gtol=1e-14)
            if max(abs(miss) for miss in solved.fun) < CLOSE:
                u, v = (math.exp(shift) for shift in solved.x)
                return Place(
                    law=law.name,
                    surface=surface,
                    params=params,
                    tokens=tokens,
                    lr_shift=u,
                    batch_shift=v,
                )
    except (FitError, OverflowError):
        return None
    return None
