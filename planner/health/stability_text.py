"""A stability report as plain text and as JSON."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fitting.units import format_count, format_small
from planner.health.mitigations import between

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fitting.probes.law import ProbeLaw
    from fitting.probes.lr_sensitivity import Sensitivity
    from planner.health.mitigations import Target
    from planner.health.stability import Crossing, SetupStability


BEYOND = 10.0
"""Times the highest lr of the runs from which an lr is not worth its digits."""


def report_lines(
    found: Sequence[SetupStability], *, threshold: float, target: Target | None
) -> list[str]:
    """The report of every setup."""
    lines = []
    for setup in found:
        lines += [f"{setup.setup}: {setup.runs} runs", *law_lines(setup)]
        if setup.crossings:
            lines += [
                "",
                f"lr at which the largest attention logit passes {format_small(threshold)} (80%)",
            ]
            lines += [crossing_line(crossing) for crossing in setup.crossings]
        if setup.sensitivities:
            lines += ["", *sensitivity_lines(setup.sensitivities)]
        if target is not None:
            lines += ["", f"at {format_count(target.params)} params, lr {format_small(target.lr)}"]
            lines += [f"  {name:<20}{between(each)}" for name, each in setup.forecasts.items()]
            lines += [
                f"  {each.name:<14}{each.verdict}: {each.reason}" for each in setup.mitigations
            ]
        lines.append("")
    return lines[:-1]


def law_lines(setup: SetupStability) -> list[str]:
    """How each probe moves with lr and params, or why that is not known."""
    lines = [law_line(law) for law in setup.laws.values()]
    return lines + [f"  {name:<20}not known: {why}" for name, why in setup.unknown.items()]


def law_line(law: ProbeLaw) -> str:
    """How a probe moves with lr and params."""
    if law.form == "linear":
        moves = f"{law.lr_slope:+.2f} ln lr {law.params_slope:+.2f} ln params"
        return f"  {law.column:<20}{moves}; runs ± {law.scatter:.2g}"
    floor = " above a floor" if law.form == "rising" else ""
    moves = f"lr^{law.lr_slope:.2f} params^{law.params_slope:.2f}{floor}"
    return f"  {law.column:<20}{moves}; runs within x {math.exp(law.scatter):.2f}"


def crossing_line(crossing: Crossing) -> str:
    """Where one size passes the threshold."""
    where = "" if crossing.measured else "  foretold"
    if crossing.lr is not None and crossing.lr.value > BEYOND * crossing.highest_lr:
        lr = f"far above {format_small(crossing.highest_lr)}, the highest of the runs"
    elif crossing.lr is None:
        lr = "not known: the logit does not rise with lr in these runs"
    else:
        lr = between(crossing.lr) if crossing.lr.value > 0 else "at every lr"
    return f"  {format_count(crossing.params):>6}  {lr}{where}"


def sensitivity_lines(rows: Sequence[Sensitivity]) -> list[str]:
    """The lr sensitivity of each model."""
    lines = [
        "lr sensitivity: mean over ln lr of min(loss, loss at init) less the lowest, nats",
        "  params  tokens   batch  lrs  range              best lr  best loss  sensitivity",
    ]
    for row in rows:
        batch = "" if row.batch_tokens is None else format_count(row.batch_tokens)
        value = "not known: no loss_at_init" if row.value is None else f"{row.value:.3f}"
        span = f"{format_small(row.low)} to {format_small(row.high)}"
        lines.append(
            f"  {format_count(row.params):>6}  {format_count(row.tokens):>6}  {batch:>6}"
            f"  {row.lrs:>3}  {span:<17}  {format_small(row.best_lr):>7}"
            f"  {row.best_loss:>9.3f}  {value:>11}"
        )
    return lines


def report_dict(
    found: Sequence[SetupStability], *, threshold: float, target: Target | None
) -> dict[str, Any]:
    """The report for `--json`."""
    return {
        "threshold": threshold,
        "target": None if target is None else asdict(target),
        "setups": [setup_dict(setup) for setup in found],
    }


def setup_dict(setup: SetupStability) -> dict[str, Any]:
    """One setup for `--json`."""
    return {
        "setup": setup.setup,
        "runs": setup.runs,
        "laws": {
            name: {
                "form": law.form,
                "lr_slope": law.lr_slope,
                "params_slope": law.params_slope,
                "scatter": law.scatter,
                "lrs": list(law.lrs),
                "params": list(law.params),
            }
            for name, law in setup.laws.items()
        },
        "unknown": dict(setup.unknown),
        "crossings": [asdict(each) for each in setup.crossings],
        "sensitivities": [asdict(each) for each in setup.sensitivities],
        "forecasts": {name: asdict(each) for name, each in setup.forecasts.items()},
        "mitigations": [asdict(each) for each in setup.mitigations],
        "cautions": list(setup.cautions),
    }
