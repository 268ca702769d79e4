"""A check as people read it, and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fitting.units import format_count, format_small
from planner.plan.file import to_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from planner.review.check import Check, Checked
    from proxies.run.parametrization import Optimizer
    from proxies.run.schedule import Schedule

NAMES: dict[str, tuple[str, Callable[[float], str]]] = {
    "batch_tokens": ("batch, tokens", format_count),
    "lr": ("peak lr", format_small),
    "weight_decay": ("weight decay", format_small),
}
"""How a number is called and printed."""

COLUMNS = ("", "yours", "ours", "factor", "elsewhere", "verdict", "loss")

LEGEND = "(elsewhere: where the best value lies in 80% of setups that nobody measured)"


def check_lines(check: Check) -> list[str]:
    """The report: the run, its numbers beside ours, its other choices, warnings, the verdict."""
    config, run = check.config, check.config.run
    steps = run.schedule.steps
    lines = [
        f"{format_count(run.active.params)} params on {format_count(run.total_tokens)} tokens in "
        f"{steps:,} steps ({config.trainer})",
        "",
        *columns([COLUMNS, *(number_row(number) for number in check.numbers)]),
        LEGEND,
        "",
        *columns([("", "yours", "ours"), *choice_rows(check)]),
        "",
    ]
    lines += [f"warning: {risk}" for risk in check.risks]
    lines += [f"note: {note}" for note in config.notes]
    return [*lines, f"verdict: {check.verdict}"]


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows with every column as wide as its widest cell."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def number_row(number: Checked) -> tuple[str, ...]:
    """One number: yours, ours, the factor between, where others may lie, verdict and price."""
    name, show = NAMES[number.name]
    around, factor = number.recommended.elsewhere, number.factor
    return (
        name,
        show(number.value),
        show(number.recommended.value),
        "" if factor is None else f"{factor:.2g}",
        "not known"
        if around is None
        else f"{rough(show, around.low)} to {rough(show, around.high)}",
        number.verdict,
        "not known" if number.cost is None else f"+{100 * number.cost:.2f}%",
    )


def rough(show: Callable[[float], str], value: float) -> str:
    """Two digits, which is what a wide interval earns."""
    return show(float(f"{value:.1e}"))


def choice_rows(check: Check) -> list[tuple[str, str, str]]:
    """Schedule and optimizer: what is not measured against an interval."""
    own, ours = check.config.run, check.ours.run
    return [
        ("schedule", describe(own.schedule), describe(ours.schedule)),
        ("warmup", f"{own.schedule.warmup_steps:,} steps", f"{ours.schedule.warmup_steps:,} steps"),
        ("optimizer", constants(own.optimizer), constants(ours.optimizer)),
    ]


def describe(schedule: Schedule) -> str:
    """Kind, the decay's share of the run and where it ends."""
    if schedule.decay_shape is None:
        return schedule.kind
    steps = schedule.warmup_steps + schedule.stable_steps + schedule.decay_steps
    part = f", last {100 * schedule.decay_steps / steps:.2g}%" if schedule.stable_steps else ""
    shape = f" {schedule.decay_shape}" if schedule.decay_shape != schedule.kind else ""
    return f"{schedule.kind}{part}{shape} to {100 * schedule.final_lr_fraction:.2g}%"


def constants(part: Optimizer) -> str:
    """Name, betas, eps and clip."""
    eps = "" if part.eps is None else f", eps {part.eps:g}"
    return f"{part.name} {part.beta1:g} {part.beta2:g}{eps}, clip {part.grad_clip:g}"


def check_to_dict(check: Check) -> dict[str, Any]:
    """The check as JSON; a cost of null is not known."""
    config = check.config
    return {
        "trainer": config.trainer,
        "file": str(config.path),
        "verdict": check.verdict,
        "cost": check.cost,
        "numbers": {
            number.name: {
                "value": number.value,
                "recommended": to_plain(number.recommended),
                "factor": number.factor,
                "verdict": number.verdict,
                "cost": number.cost,
            }
            for number in check.numbers
        },
        "warnings": list(check.risks),
        "notes": list(config.notes),
        "plan_warnings": list(check.cautions),
    }
