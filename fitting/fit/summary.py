"""Fitted laws in words, with the digits that their errors earn."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fitting.intervals import Z80, ends_of
from fitting.laws.evaluate import evaluate_law, log_sd_at
from fitting.laws.forms import FORMS
from fitting.text import Group, Lines
from fitting.units import (
    format_count,
    format_error,
    format_interval,
    format_size,
    format_small,
    format_spread,
)

if TYPE_CHECKING:
    from fitting.laws.law import Quantity, Range
    from fitting.loss.result import LossFit


def law_block(
    name: str, quantity: Quantity, *, limits: Range, at: tuple[float, float], assumed: bool
) -> Lines:
    """A law's equation, exponents, and value at a size; `assumed`: so is the scatter of cells."""
    point = {"params": at[0], "tokens": at[1]}
    if name == "weight_decay":
        return timescale_block(quantity)
    word = name.replace("_", " ")
    show = format_count if name == "batch_tokens" else format_small
    error: dict[str, float] = {}
    if quantity.covariance is not None:
        error = dict(zip(quantity.covariance.names, standard_errors(quantity), strict=True))
    exponents = {
        key: say_exponent(value, error.get(key))
        for key, value in quantity.coefficients.items()
        if key != "scale"
    }
    factors = " ".join(
        f"({key} / {format_count(quantity.reference[key])})^{value}"
        for key, (value, _) in exponents.items()
    )
    lines = [f"{word} = {show(quantity.coefficients['scale'])} {factors}"]
    if error:
        earned = ", ".join(f"{key} ± {sd}" for key, (_, sd) in exponents.items())
        lines.append(f"  level ± {format_spread(error['log_scale'])}; exponent of {earned}")
    value = evaluate_law(quantity, point)
    assert value is not None
    said = f"  at {format_size(*at)}: {show(value)}"
    law_only = log_sd_at(quantity, limits, point, scatter=False)
    one = log_sd_at(quantity, limits, point)
    if law_only is not None and one is not None:
        said = f"  at {format_size(*at)}: {format_interval(value, *ends_of(value, one), show)}"
        said += f"; the average over such sizes is known to {format_spread(Z80 * law_only)}"
    lines.append(said)
    if quantity.scatter is not None and quantity.form_log_sd is not None:
        lines.append(
            f"  cells {'are assumed to scatter' if assumed else 'scatter'} by "
            f"{format_spread(quantity.scatter)} about it; outside the runs it "
            f"errs by {format_spread(quantity.form_log_sd)} more for each factor of e"
        )
    if quantity.cliff is not None:
        lines.append(f"  runs diverged from {quantity.cliff:.2g} times this lr on")
    return Lines(tuple(lines))


def timescale_block(quantity: Quantity) -> Lines:
    """The weight decay by its EMA timescale."""
    slope = quantity.coefficients["tokens_per_param"]
    lines = [
        f"weight decay = batch / (lr tokens tau), tau = "
        f"{format_small(quantity.coefficients['scale'])} (tokens / params)^{slope:.3f}"
    ]
    if quantity.covariance is not None and quantity.scatter is not None:
        error = standard_errors(quantity)[1]
        lines.append(
            f"  exponent {format_error(slope, error)}; {quantity.n} cells scatter by "
            f"{format_spread(quantity.scatter)} about it"
        )
    return Lines(tuple(lines))


def say_exponent(value: float, error: float | None) -> tuple[str, str]:
    """An exponent and its standard error with the digits that the error earns."""
    if error is None:
        return f"{value:.3f}", "unknown"
    said, _, sd = format_error(value, error).partition(" ± ")
    return said, sd


def standard_errors(quantity: Quantity) -> list[float]:
    """Square roots of the covariance's diagonal."""
    assert quantity.covariance is not None
    matrix = quantity.covariance.matrix
    return [math.sqrt(max(row[i], 0.0)) for i, row in enumerate(matrix)]


def loss_block(fit: LossFit, *, of_cells: bool) -> Group:
    """The loss law: family, coefficients, held-out errors, warnings."""
    what = f"the best loss of {fit.n} cells" if of_cells else f"{fit.n} runs"
    head = [f"loss: {fit.family}, fitted to {what}; {fit.status.value}"]
    head.append(f"  loss = {FORMS[fit.form].formula}")
    tail = [f"  warning: {said}" for said in fit.warnings]
    if fit.error is not None:
        error = f"  scatter {fit.scatter:.2%}; error at the largest runs, held out, {fit.error:.2%}"
        tail.insert(0, error)
    return Group((Lines(tuple(head)), fit.coefficient_table(), Lines(tuple(tail))))
