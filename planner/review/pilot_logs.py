"""Logs of pilots, read: one loss curve a pilot, or a runs table with a row each.

A file with a column `step` is the curve of one pilot (`step, lr, loss`): its peak lr says which
pilot it is, its last step how long it was. Any other file is a runs table, one row a pilot. The
final loss of a curve is where a line through ln(loss) over its last tenth ends; the line's error
joins the noise from run to run, which one log cannot show.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fitting.errors import InputError
from fitting.logs.series import has_steps, read_steps
from fitting.runs.outcomes import RunOutcome as Ending
from fitting.runs.table import read_runs
from fitting.units import format_count, format_small
from planner.review.verdict import Outcome
from proxies.run.defaults import AGREEMENT

if TYPE_CHECKING:
    from fitting.runs.table import Runs
    from planner.plan.document import Plan

LAST = 0.1
"""Share of a curve's steps, at its end, that its final loss is taken from."""

FEWEST_ROWS = 8
"""Rows in that share below which the last row alone is taken."""

NEAR = 8.0
"""A pilot's lr is within this factor of the plan's; others are in other terms or of other runs."""


@dataclass(frozen=True, slots=True)
class Logs:
    """Pilots as their logs say them."""

    outcomes: tuple[Outcome, ...]
    tokens: float
    """Length of each."""


def read_logs(paths: Sequence[Path], plan: Plan, *, noise: float) -> Logs:
    """Every pilot of some logs.

    Args:
        paths: curves of one pilot each (columns step, lr, loss), or runs tables (params, tokens,
            lr, loss; batch_tokens, loss_se and status where they have them); CSV or Parquet.
        plan: the plan that they are pilots of.
        noise: standard deviation of ln(loss) from run to run, > 0; a table's loss_se stands in
            its place.

    Raises:
        InputError: a file cannot be read, a run of another model, batch, lr or length.
    """
    found: list[tuple[Outcome, float]] = []
    for path in paths:
        if has_steps(path):
            found.append(read_pilot(path, plan, noise=noise))
        else:
            found += rows_of(read_runs(path), path, plan, noise=noise)
    check_lrs([one for one, _ in found], plan)
    return Logs(tuple(one for one, _ in found), common_length(found, plan))


def read_pilot(path: Path, plan: Plan, *, noise: float) -> tuple[Outcome, float]:
    """One pilot from its curve, and its tokens; a last loss that is no number means divergence."""
    wanted = {name: (name,) for name in ("step", "lr", "loss")}
    found = read_steps(path, wanted, loose=("loss",)).columns
    step, lr, loss = found["step"], float(found["lr"].max()), found["loss"]
    tokens = float(step[-1]) * plan.batch_tokens.value
    if not math.isfinite(loss[-1]):
        return Outcome(name=path.name, lr=lr, loss=None, log_sd=noise), tokens
    late = step >= (1 - LAST) * step[-1]
    if not np.all(loss[late] > 0):
        raise InputError(f"{path}: column loss, last tenth: a value is not above 0")
    value, own = final_loss(step[late], loss[late])
    return Outcome(name=path.name, lr=lr, loss=value, log_sd=math.hypot(noise, own)), tokens


def final_loss(step: np.ndarray, loss: np.ndarray) -> tuple[float, float]:
    """Loss at the last step, and the standard error of its log.

    Args:
        step: the steps, rising, shape (n,).
        loss: nats per token, > 0, shape (n,).
    """
    if len(step) < FEWEST_ROWS:
        return float(loss[-1]), 0.0
    x, y = step - step[-1], np.log(loss)
    (_, level), covariance = np.polyfit(x, y, 1, cov=True)
    return math.exp(level), math.sqrt(max(float(covariance[1, 1]), 0.0))


def rows_of(runs: Runs, path: Path, plan: Plan, *, noise: float) -> list[tuple[Outcome, float]]:
    """Pilots from the rows of a runs table; those that failed or were pruned are left out."""
    table, target = runs.table, plan.target
    if "lr" not in table.columns or table["lr"].isna().any():
        raise InputError(f"{path}: a pilot without lr; give the column lr, the peak of each run")
    found = []
    for row, ending, origin in zip(
        table.to_dict("records"), runs.outcome, runs.origin, strict=True
    ):
        for name, own in (
            ("params", (target.params, float(plan.run.active.params))),
            ("batch_tokens", (plan.batch_tokens.value,)),
        ):
            value = row.get(name, math.nan)
            if all(abs(value / right - 1) > AGREEMENT for right in own):
                raise InputError(
                    f"{origin}: {name} {format_count(value)} is not the plan's "
                    f"{format_count(own[0])}; a pilot differs in lr alone"
                )
        if ending not in {Ending.FINISHED, Ending.DIVERGED}:
            continue
        se = row.get("loss_se", math.nan)
        known = ending == Ending.FINISHED
        outcome = Outcome(
            name=str(row["run_id"]) if isinstance(row.get("run_id"), str) else origin,
            lr=row["lr"],
            loss=row["loss"] if known else None,
            log_sd=se / row["loss"] if known and se > 0 else noise,
        )
        found.append((outcome, row["tokens"]))
    return found


def check_lrs(outcomes: Sequence[Outcome], plan: Plan) -> None:
    """Refuse a pilot whose lr is far from the plan's.

    Raises:
        InputError: naming the pilot and both.
    """
    for one in outcomes:
        if not 1 / NEAR <= one.lr / plan.lr.value <= NEAR:
            raise InputError(
                f"{one.name}: peak lr {format_small(one.lr)} is {one.lr / plan.lr.value:.3g} times "
                f"the plan's {format_small(plan.lr.value)}; a pilot is within a factor of "
                f"{NEAR:g}, in the plan's terms (the base lr under muP)"
            )


def common_length(found: Sequence[tuple[Outcome, float]], plan: Plan) -> float:
    """The pilots' tokens, which must agree; those that diverged count for nothing here.

    Raises:
        InputError: no pilot, two lengths, or one that is not short.
    """
    if not found:
        raise InputError("pilots: no run that ended; give the logs of those plan verify prints")
    lengths = [tokens for one, tokens in found if one.loss is not None]
    lengths = lengths or [tokens for _, tokens in found]
    if max(lengths) > (1 + AGREEMENT) * min(lengths):
        raise InputError(
            f"pilots: of {format_count(min(lengths))} to {format_count(max(lengths))} tokens; "
            "compare runs of one length"
        )
    tokens = max(lengths)
    if not 0 < tokens < plan.target.tokens:
        raise InputError(
            f"pilots: of {format_count(tokens)} tokens, the whole run has "
            f"{format_count(plan.target.tokens)}; a pilot is shorter"
        )
    return tokens
