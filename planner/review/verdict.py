"""Whether short pilots at the target itself leave a plan's learning rate standing.

The surface says how loss depends on lr at the pilots' length; its place on the lr axis is unknown
by u, ln(best lr / planned lr) as the pilots imply it, its depth by a factor k. With free level,

    ln loss_i = level + k ln(1 + q(lr_i exp(-u))) + noise_i + form_i,

summed over k and the level. The pilots' best lr becomes the full run's by the
surface's own exponents at the planned batch: s = u + e, where e has the spread of that step. A
wide prior on s, the plan's own interval, keeps pilots that say nothing from saying "wrong". The
plan is wrong where its lr more likely than not costs more than `MATERIAL` of the loss.

Source: this project; `tests/benchmarks/verify_pilots.py` prints how often it is right, on other
surfaces too and on Step Law's runs. Of the step in length the exponents published at a fixed batch
run from D^-0.3 to D^+0.2 (data/laws/horizon-by-batch.toml), hence `TRANSFER.exponent`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fitting.errors import InputError
from fitting.intervals import Z80
from planner.recommendation.value import Value

if TYPE_CHECKING:
    from fitting.arrays import Floats
    from planner.plan.document import Plan
    from planner.review.short_runs import ShortRuns

MATERIAL = 0.002
"""Share of the loss above which an lr is wrong: what one run differs from the next (0.2% on Step
Law's runs), so that less could not be seen in the full run either."""

PRIOR_LOG_SD = math.log(2)
"""Least sd of ln(best lr / planned lr) before any pilot. *Assumed*, as
`fitting.surface.prior.TRANSFER`: tuned lrs of different setups lie within a factor of two."""

DEPTH_LOG_SD = 0.33
"""sd of ln of the factor k on the surface's depth in another setup. *Assumed*; pilots of one's
own at more lrs would test it."""

DEPTHS = np.linspace(-2.5, 2.5, 21)
"""Values of ln k that are summed over, in standard deviations."""

FORM_SHARE = 0.1
"""sd of what the surface's form leaves unsaid, as a share of what a pilot's lr costs over the best
of its length: far from the optimum a term more or less matters. *Assumed*."""

GRID = np.linspace(-math.log(30), math.log(30), 241)
"""Values of ln(best lr / planned lr) that are summed over: a factor of 30 either way."""

MISFIT = 3.0
"""Standard deviations from the nearest curve of the surface above which a pilot is odd."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One pilot that was run."""

    name: str
    """Its log, or its row of the runs table."""
    lr: float
    """Peak, in the plan's own terms (the base lr under muP), > 0."""
    loss: float | None
    """Final, nats per token, > 0; None where it diverged."""
    log_sd: float
    """Standard deviation of ln(loss), > 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A pilot beside what the surface makes of it."""

    name: str
    lr: float
    factor: float
    """Its lr over the plan's."""
    loss: float | None
    gap: float | None
    """ln(loss) over that of the pilot whose lr is nearest to the plan's."""
    expected: float | None
    """The same by the surface, were the plan's lr right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the pilots say of a plan's lr."""

    stands: bool
    confidence: float
    """Probability that `stands` is right, from 0.5 to 1; 1 where the planned lr diverged."""
    reason: str
    factor: Value | None
    """By how much the lr should move, with its 80% interval; None where too few pilots ended."""
    lr: Value | None
    """The planned lr times that factor."""
    cost: float | None
    """Share of the loss that the planned lr is expected to cost at the full run."""
    pilot_factor: Value | None
    """Best lr of a run as short as the pilots over the planned lr, as measured."""
    length_factor: Value
    """Best lr of the full run over that of a pilot, by the surface at the planned batch."""
    surface: str
    """The law that the surface is from."""
    pilots: tuple[Compared, ...]
    cautions: tuple[str, ...]


def judge(runs: ShortRuns, outcomes: Sequence[Outcome]) -> Verdict:
    """Whether the plan stands, by how much its lr should move, and with what confidence.

    Args:
        runs: the plan on its surface, and the length of the pilots.
        outcomes: pilots of one length, batch and schedule that differ in lr alone.

    Raises:
        InputError: fewer than two losses at different lrs, and none that diverged says enough.
    """
    planned = runs.plan.lr.value
    ended = [one for one in outcomes if one.loss is not None]
    burst = [one for one in outcomes if one.loss is None and one.lr <= planned * 1.01]
    pilots = compared(runs, outcomes)
    if len({round(math.log(one.lr), 2) for one in ended}) < 2:
        if not burst:
            raise InputError(
                f"pilots: {len(ended)} with a loss, at different lrs 2 are needed; run those that "
                "plan verify prints"
            )
        return diverged_verdict(runs, pilots, burst, None)
    logs, residuals = fits(runs, ended)
    pilot, shift = posteriors(runs, logs)
    costs = runs.costs(GRID)
    chance = float(shift @ (costs > MATERIAL))
    factor = quantiles(shift, runs.placed.law)
    found = Verdict(
        stands=chance <= 0.5,
        confidence=max(chance, 1 - chance),
        reason=f"its lr costs more than {100 * MATERIAL:g}% of the loss with a probability of "
        f"{chance:.2f}",
        factor=factor,
        lr=times(factor, planned),
        cost=float(shift @ costs),
        pilot_factor=times(quantiles(pilot, runs.placed.law), math.exp(-runs.log_length_factor)),
        length_factor=runs.length_factor(),
        surface=runs.placed.law,
        pilots=pilots,
        cautions=misfits(runs, ended, residuals, pilot),
    )
    return diverged_verdict(runs, pilots, burst, found) if burst else found


def diverged_verdict(
    runs: ShortRuns,
    pilots: tuple[Compared, ...],
    burst: Sequence[Outcome],
    found: Verdict | None,
) -> Verdict:
    """A pilot at or below the planned lr diverged: the plan is wrong, whatever the others say."""
    worst = min(burst, key=lambda one: one.lr)
    reason = f"{worst.name} diverged at {worst.lr / runs.plan.lr.value:.3g} times the planned lr"
    if found is not None:
        return replace(found, stands=False, confidence=1.0, reason=reason)
    return Verdict(
        stands=False,
        confidence=1.0,
        reason=reason,
        factor=None,
        lr=None,
        cost=None,
        pilot_factor=None,
        length_factor=runs.length_factor(),
        surface=runs.placed.law,
        pilots=pilots,
        cautions=(),
    )


def posteriors(runs: ShortRuns, logs: Floats) -> tuple[Floats, Floats]:
    """Probabilities over `GRID` of ln(best / planned lr): by the pilots alone, and of the run.

    Args:
        runs: the plan on its surface.
        logs: ln of the pilots' likelihood, by depth and place on `GRID`, shape (21, 241).
    """
    pilot = normalized(np.exp(-(DEPTHS**2) / 2) @ np.exp(logs - logs.max()))
    # A step of the grid is the least that it can tell.
    spread = max(runs.length_log_sd, float(GRID[1] - GRID[0]))
    kernel = np.exp(-(((GRID[:, None] - GRID) / spread) ** 2) / 2)
    prior = np.exp(-((GRID / prior_log_sd(runs.plan)) ** 2) / 2)
    return pilot, normalized(prior * (kernel @ pilot))


def fits(runs: ShortRuns, ended: Sequence[Outcome]) -> tuple[Floats, Floats]:
    """ln of the pilots' likelihood, the level integrated out, and their residuals over their sds.

    Returns:
        By depth and place on `GRID`, shape (21, 241); and by pilot too, shape (21, 241, n).
    """
    x = np.log([one.lr / runs.plan.lr.value for one in ended])
    depth = np.exp(DEPTH_LOG_SD * DEPTHS)[:, None, None]
    shape = depth * runs.penalties(x - GRID[:, None], runs.tokens)
    # The best lr of the pilots' length lies at the same place on the surface for every u.
    least = runs.penalties(np.array(-runs.log_length_factor), runs.tokens)
    form = FORM_SHARE * (shape - depth * least)
    variance = np.array([one.log_sd for one in ended]) ** 2 + form**2
    gaps = np.log([one.loss for one in ended if one.loss is not None]) - shape
    level = (gaps / variance).sum(-1) / (1 / variance).sum(-1)
    residuals: Floats = (gaps - level[..., None]) / np.sqrt(variance)
    logs = -(residuals**2 + np.log(variance)).sum(-1) / 2 - np.log((1 / variance).sum(-1)) / 2
    return logs, residuals


def prior_log_sd(plan: Plan) -> float:
    """sd of ln(best / planned lr) before any pilot: the plan's interval in a new setup, or more."""
    around = plan.lr.elsewhere
    low, high = (plan.lr.low, plan.lr.high) if around is None else (around.low, around.high)
    if low is None or high is None or not low < high:
        return PRIOR_LOG_SD
    return max(math.log(high / low) / (2 * Z80), PRIOR_LOG_SD)


def normalized(weight: Floats) -> Floats:
    """Weights as probabilities."""
    found: Floats = weight / weight.sum()
    return found


def quantiles(probability: Floats, law: str) -> Value:
    """exp of the median and of the central 80% of a distribution over `GRID`."""
    # A grid point's share lies half before and half behind it.
    total = np.cumsum(probability) - probability / 2
    low, value, high = (float(np.exp(np.interp(p, total, GRID))) for p in (0.1, 0.5, 0.9))
    return Value(value=value, low=low, high=high, law=law)


def times(factor: Value, by: float) -> Value:
    """A value and its interval times a number."""
    low, high = (None if end is None else end * by for end in (factor.low, factor.high))
    return replace(factor, value=factor.value * by, low=low, high=high)


def compared(runs: ShortRuns, outcomes: Sequence[Outcome]) -> tuple[Compared, ...]:
    """Each pilot's loss and the surface's, over those of the one nearest to the planned lr."""
    factors = np.array([one.lr / runs.plan.lr.value for one in outcomes])
    expected = runs.penalties(np.log(factors), runs.tokens)
    ended = [i for i, one in enumerate(outcomes) if one.loss is not None]
    base = min(ended, key=lambda i: abs(math.log(factors[i])), default=None)
    level = None if base is None else outcomes[base].loss
    return tuple(
        Compared(
            name=one.name,
            lr=one.lr,
            factor=float(factors[i]),
            loss=one.loss,
            gap=math.log(one.loss / level) if one.loss and level else None,
            expected=None if base is None else float(expected[i] - expected[base]),
        )
        for i, one in enumerate(outcomes)
    )


def misfits(
    runs: ShortRuns, ended: Sequence[Outcome], residuals: Floats, pilot: Floats
) -> tuple[str, ...]:
    """Pilots that no place and depth of the surface explains, and an answer at the grid's end."""
    squares = (residuals**2).sum(-1)
    best = residuals[np.unravel_index(np.argmin(squares), squares.shape)]
    place = int(np.argmax(np.abs(best)))
    found = []
    if abs(best[place]) > MISFIT:
        found.append(
            f"{ended[place].name} lies {abs(best[place]):.1f} standard deviations from the surface "
            f"of {runs.placed.law}: look at its log, or say the noise of your runs with --noise"
        )
    if np.argmax(pilot) in {0, len(GRID) - 1}:
        found.append("the best lr of the pilots is out of sight: run more, further that way")
    return tuple(found)
