"""Short pilots at the target itself that would show a plan wrong before the money is spent.

Each is a whole run of a small share of the tokens: the plan's model, batch, weight decay, kind of
schedule and trainer, its lr halved, as planned or doubled. The schedule is shrunk, not cut off,
since the surface that they are compared by was measured on runs that decayed. What they can show
is how the best lr of so short a run differs from the one expected of it; the best lr of the full
run follows by the surface's own exponents (`planner.review.short_runs`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fitting.errors import InputError
from planner.plan.make import make_plan
from planner.plan.reuse import ask_again
from planner.request.choices import Pins
from planner.request.options import arguments_of
from proxies.run.defaults import SCHEDULE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fitting.laws.law import Law
    from planner.plan.document import Plan
    from planner.recommendation.value import Value
    from planner.review.short_runs import ShortRuns

FACTORS = {"half": 0.5, "planned": 1.0, "double": 2.0}
"""Pilots by name: their lr over the plan's."""

FRACTION = 0.015
"""Share of the plan's tokens that a pilot trains on."""

FRACTIONS = (0.001, 0.5)
"""Shares that can be asked for."""

FEWEST_STEPS = 200
"""Steps below which a run is mostly warmup and first steps. *Assumed*."""

WRONG = 3.0
"""The slip whose mark on the pilots is shown: an lr so many times too high or too low."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pilot:
    """One pilot, and what it would show."""

    name: str
    lr: float
    options: tuple[str, ...]
    """What to add to `plan --from PLAN.json` for the pilot's own plan."""
    expected: dict[str, float]
    """ln(loss) over the planned pilot's by the surface, were the plan's lr `right`, `too high` or
    `too low` by `WRONG`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pilots:
    """Pilots of one plan."""

    pilots: tuple[Pilot, ...]
    fraction: float
    """Share of the plan's tokens that each trains on."""
    tokens: float
    """Of each."""
    steps: int
    warmup_steps: int
    batch_tokens: float
    """The plan's."""
    flops: float
    """6 N D of all together."""
    hours: float | None
    """Of all together on the plan's accelerators; None where it has none, or their speed is not
    known."""
    length_factor: Value
    """Best lr of the full run over that of a pilot, by the surface at the planned batch."""
    surface: str
    cautions: tuple[str, ...]


def design_pilots(plan: Plan, runs: ShortRuns, book: Mapping[str, Law]) -> Pilots:
    """Three pilots of a plan: lr halved, as planned and doubled.

    Args:
        plan: the plan.
        runs: the pilots' length, on the plan's surface.
        book: the law book that the plan was made by.

    Raises:
        InputError: a plan whose parts contradict each other, or too short for pilots.
    """
    fraction = runs.tokens / plan.target.tokens
    if not FRACTIONS[0] <= fraction <= FRACTIONS[1]:
        low, high = FRACTIONS
        raise InputError(f"--fraction {fraction:g}: must be from {low:g} to {high:g}")
    planned = pilot_plan(plan, book, lr=plan.lr.value, tokens=runs.tokens)
    hours = None if planned.compute is None else planned.compute.hours
    return Pilots(
        pilots=tuple(
            Pilot(
                name=name,
                lr=plan.lr.value * factor,
                options=pilot_options(planned, plan.lr.value * factor),
                expected=expected_gaps(runs, factor),
            )
            for name, factor in FACTORS.items()
        ),
        fraction=fraction,
        tokens=runs.tokens,
        steps=planned.steps,
        warmup_steps=planned.warmup_steps,
        batch_tokens=plan.batch_tokens.value,
        flops=len(FACTORS) * planned.target.flops,
        hours=None if hours is None else len(FACTORS) * hours,
        length_factor=runs.length_factor(),
        surface=runs.placed.law,
        cautions=pilot_cautions(plan, planned),
    )


def pilot_plan(plan: Plan, book: Mapping[str, Law], *, lr: float, tokens: float) -> Plan:
    """The plan of one pilot: the plan's model, batch, weight decay and kind of schedule.

    Args:
        plan: the plan.
        book: the law book that it was made by.
        lr: peak lr of the pilot, > 0.
        tokens: tokens that it trains on.

    Raises:
        InputError: fewer tokens than two batches, or a plan that does not say what was asked.
    """
    batch = plan.batch_tokens.value
    if tokens < 2 * batch:
        raise InputError(
            f"pilots: {tokens:.6g} tokens are less than two batches of {batch:.6g}; raise "
            "--fraction"
        )
    pins = Pins(lr=lr, batch_tokens=batch, weight_decay=plan.weight_decay.value)
    request = ask_again(plan, pins=pins, tokens=tokens, schedule=pilot_schedule(plan))
    return make_plan(request, book)


def pilot_schedule(plan: Plan) -> str:
    """Kind of the pilots' schedule: the plan's, WSD where that has several budgets."""
    return SCHEDULE if plan.schedule.kind == "wsd-s" else plan.schedule.kind


def pilot_options(planned: Plan, lr: float) -> tuple[str, ...]:
    """Options that make a pilot's plan from the whole run's, its own warmup and schedule too."""
    return tuple(
        arguments_of(
            {
                "tokens": planned.target.tokens,
                "lr": float(f"{lr:.6g}"),
                "batch": planned.batch_tokens.value,
                "weight_decay": float(f"{planned.weight_decay.value:.6g}"),
                "warmup": planned.warmup_steps,
                "schedule": planned.schedule.kind,
            }
        )
    )


def expected_gaps(runs: ShortRuns, factor: float) -> dict[str, float]:
    """What a pilot's ln(loss) is over the planned pilot's, were the plan right or wrong."""
    wrong = {"right": 1.0, "too high": WRONG, "too low": 1 / WRONG}
    found = {}
    for name, slip in wrong.items():
        here, planned = runs.penalties(np.log([factor * slip, slip]), runs.tokens)
        found[name] = float(here - planned)
    return found


def pilot_cautions(plan: Plan, planned: Plan) -> tuple[str, ...]:
    """What makes these pilots say less than they seem to."""
    found = []
    if planned.steps < FEWEST_STEPS:
        found.append(
            f"a pilot has {planned.steps} steps, mostly the start of training: --fraction "
            f"{min(FEWEST_STEPS / plan.steps, FRACTIONS[1]):.2g} gives it {FEWEST_STEPS}"
        )
    if planned.warmup_steps < plan.warmup_steps:
        found.append(
            f"a pilot warms up over {planned.warmup_steps:,} steps, the plan over "
            f"{plan.warmup_steps:,}: one that diverges may only have warmed up too fast"
        )
    if math.isclose(plan.schedule.final_lr_fraction, 1.0):
        found.append("the schedule does not decay; the surface was measured on runs that did")
    return tuple(found)
