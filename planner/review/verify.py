"""A plan held against short runs at the target itself: which to run, and what they say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fitting.errors import InputError
from fitting.units import format_count
from planner.facts.laws import DEFAULT_SURFACE, read_lawbook
from planner.plan.reuse import asked_of, surface_of
from planner.recommendation.place import PlacedSurface, place_surface
from planner.review.pilot_logs import read_logs
from planner.review.pilots import FRACTION, Pilots, design_pilots
from planner.review.short_runs import short_runs
from planner.review.verdict import Verdict, judge

if TYPE_CHECKING:
    from fitting.laws.law import Law
    from planner.plan.document import Plan

NOISE = 0.002
"""Standard deviation of ln(loss) from run to run: 0.2% on Step Law's runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """The surface that short runs of a plan are compared by."""

    placed: PlacedSurface
    law: Law
    own: bool
    """Whether it was fitted on runs of the plan's own setup."""


def plan_pilots(
    plan: Plan,
    *,
    fraction: float = FRACTION,
    law_files: Sequence[Path] = (),
    book: Mapping[str, Law] | None = None,
) -> Pilots:
    """The short runs that would show a plan's learning rate wrong.

    Args:
        plan: the plan.
        fraction: share of its tokens that each trains on, 0.001 to 0.5.
        law_files: law files of the user's own; the last with a surface is compared by, and its
            exponents are taken for those of the plan's setup. None for the plan's own surface.
        book: the law book that the plan was made by; None for the shipped one.

    Returns:
        Three pilots: lr halved, as planned, doubled; what they cost, and what they would show.

    Raises:
        InputError: a fraction out of bounds, pilots of less than two batches, a law file that
            cannot be used, a plan that does not say what was asked of it.
    """
    # Six digits, so that a command can say the same number.
    tokens = float(f"{fraction * plan.target.tokens:.6g}")
    laws = read_lawbook() if book is None else book
    measure = measure_of(plan, laws, law_files)
    runs = short_runs(plan, measure.placed, tokens=tokens, same_setup=measure.own)
    found = design_pilots(plan, runs, laws)
    return replace(found, cautions=(*found.cautions, *reach_cautions(plan, tokens, measure)))


def verify_plan(
    plan: Plan,
    logs: Sequence[Path],
    *,
    noise: float = NOISE,
    law_files: Sequence[Path] = (),
    book: Mapping[str, Law] | None = None,
) -> Verdict:
    """Whether a plan stands after its pilots, by how much its lr should move, how surely.

    Args:
        plan: the plan.
        logs: a curve of each pilot (columns step, lr, loss) or runs tables; see
            `planner.review.pilot_logs`.
        noise: standard deviation of ln(loss) from run to run, 1e-5 to 0.1.
        law_files: as in `plan_pilots`.
        book: as in `plan_pilots`.

    Returns:
        The verdict: `stands`, `confidence`, and `factor` for the lr with its 80% interval.

    Raises:
        InputError: logs that cannot be read or are not of this plan's pilots, a plan that does
            not say what was asked of it.
    """
    if not 1e-5 <= noise <= 0.1:
        raise InputError(f"--noise {noise:g}: must be 1e-05 to 0.1, a share of the loss")
    measure = measure_of(plan, read_lawbook() if book is None else book, law_files)
    found = read_logs(logs, plan, noise=noise)
    runs = short_runs(plan, measure.placed, tokens=found.tokens, same_setup=measure.own)
    verdict = judge(runs, found.outcomes)
    return replace(
        verdict, cautions=(*verdict.cautions, *reach_cautions(plan, found.tokens, measure))
    )


def measure_of(plan: Plan, book: Mapping[str, Law], law_files: Sequence[Path]) -> Measure:
    """The surface of the last law file that has one, else the plan's own, else the shipped one.

    Raises:
        InputError: law files without a surface, or a plan that does not say what was asked of it.
    """
    asked = asked_of(plan, "plan verify")
    target, kept = plan.target, plan.surface
    if law_files:
        given = read_lawbook(law_files)
        names = [path.stem for path in law_files if "surface" in given[path.stem].quantities]
        if not names:
            raise InputError(f"--laws {law_files[-1]}: has no [surface]; plan fit --out writes one")
        law = given[names[-1]]
        if kept is None or kept.sha256 != law.sha256:
            placed = place_surface(law, params=target.params, tokens=target.tokens)
            return Measure(placed=placed, law=law, own=True)
        book = given
    own = surface_of(plan, book)
    if own is None:
        law = book[DEFAULT_SURFACE]
        placed = place_surface(law, params=target.params, tokens=target.tokens)
        return Measure(placed=placed, law=law, own=False)
    return Measure(placed=own, law=book[own.law], own=bool(law_files) or own.law in asked.own_laws)


def reach_cautions(plan: Plan, tokens: float, measure: Measure) -> tuple[str, ...]:
    """Where the surface was not measured: another optimizer, another size, another setup."""
    law, found = measure.law, []
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
    if not measure.own:
        found.append(
            "how the best lr moves with the tokens at a fixed batch differs between setups: the "
            "interval allows for an exponent 0.1 off (one sd, assumed); longer pilots "
            "(--fraction) or a surface of your own runs (--laws) need less of it"
        )
    return tuple(found)
