"""A plan held against short runs at the target itself: which to run, and what they say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fitting.errors import InputError
from fitting.units import format_count
from planner.facts.laws import read_lawbook
from planner.recommendation.numbers import DEFAULT_SURFACE
from planner.recommendation.yardstick import make_yardstick
from planner.review.pilot_logs import read_logs
from planner.review.pilots import FRACTION, Pilots, design_pilots
from planner.review.verdict import Verdict, judge

if TYPE_CHECKING:
    from fitting.laws.law import Law
    from planner.plan.document import Plan

NOISE = 0.002
"""Standard deviation of ln(loss) from run to run: 0.2% on Step Law's runs."""


def plan_pilots(
    plan: Plan, *, fraction: float = FRACTION, law_files: Sequence[Path] = ()
) -> Pilots:
    """The short runs that would show a plan's learning rate wrong.

    Args:
        plan: the plan.
        fraction: share of its tokens that each trains on, 0.001 to 0.5.
        law_files: law files of the user's own; the last with a surface is compared by, and its
            exponents are taken for those of the plan's setup.

    Returns:
        Three pilots: lr halved, as planned, doubled; what they cost, and what they would show.

    Raises:
        InputError: a fraction out of bounds, pilots of less than two batches, a law file that
            cannot be used.
    """
    # Six digits, so that a command can say the same number.
    tokens = float(f"{fraction * plan.target.tokens:.6g}")
    law, own = surface_law(law_files)
    found = design_pilots(plan, make_yardstick(plan, law, tokens=tokens, same_setup=own))
    return replace(found, cautions=(*found.cautions, *reach_cautions(plan, tokens, law, own=own)))


def verify_plan(
    plan: Plan, logs: Sequence[Path], *, noise: float = NOISE, law_files: Sequence[Path] = ()
) -> Verdict:
    """Whether a plan stands after its pilots, by how much its lr should move, how surely.

    Args:
        plan: the plan.
        logs: a curve of each pilot (columns step, lr, loss) or runs tables; see
            `planner.review.pilot_logs`.
        noise: standard deviation of ln(loss) from run to run, 1e-5 to 0.1.
        law_files: as in `plan_pilots`.

    Returns:
        The verdict: `stands`, `confidence`, and `factor` for the lr with its 80% interval.

    Raises:
        InputError: logs that cannot be read or are not of this plan's pilots.
    """
    if not 1e-5 <= noise <= 0.1:
        raise InputError(f"--noise {noise:g}: must be 1e-05 to 0.1, a share of the loss")
    found = read_logs(logs, plan, noise=noise)
    law, own = surface_law(law_files)
    yardstick = make_yardstick(plan, law, tokens=found.tokens, same_setup=own)
    verdict = judge(yardstick, found.outcomes)
    return replace(
        verdict, cautions=(*verdict.cautions, *reach_cautions(plan, found.tokens, law, own=own))
    )


def surface_law(law_files: Sequence[Path]) -> tuple[Law, bool]:
    """The law whose surface is used, and whether it is the user's own."""
    book = read_lawbook(tuple(law_files))
    for path in reversed(law_files):
        if "surface" in book[path.stem].quantities:
            return book[path.stem], True
    if law_files:
        raise InputError(f"--laws {law_files[-1]}: has no [surface]; plan fit --out writes one")
    return book[DEFAULT_SURFACE], False


def reach_cautions(plan: Plan, tokens: float, law: Law, *, own: bool) -> tuple[str, ...]:
    """Where the surface was not measured: another optimizer, another size, another setup."""
    found = []
    if law.range.optimizer not in {None, plan.optimizer.name}:
        found.append(f"{law.name} was measured with {law.range.optimizer}; only its shape is used")
    for name, value, bounds in (
        ("params", plan.target.params, law.range.params),
        ("tokens", tokens, law.range.tokens),
    ):
        low, high = bounds or (0.0, math.inf)
        if not low <= value <= high:
            found.append(
                f"{law.name} was measured at {format_count(low)} to {format_count(high)} {name}, "
                f"not {format_count(value)}: its shape is extrapolated"
            )
    if not own:
        found.append(
            "how the best lr moves with the tokens at a fixed batch differs between setups: the "
            "interval allows for an exponent 0.1 off (one sd, assumed); longer pilots "
            "(--fraction) or a surface of your own runs (--laws) need less of it"
        )
    return tuple(found)
