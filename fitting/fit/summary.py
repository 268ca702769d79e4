"""Fitted laws in words: lines of plain text with the digits that their errors earn."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING

from fitting.intervals import Z80, ends_of
from fitting.laws.forms import FORMS
from fitting.laws.law import distance_squared, evaluate_law, law_log_sd
from fitting.units import format_count, format_error, format_small

if TYPE_CHECKING:
    from collections.abc import Callable

    from fitting.laws.law import Quantity, Range
    from fitting.loss.result import LossFit

WIDTH = 80
"""Columns of a summary."""


def log_sd_at(
    quantity: Quantity, limits: Range, at: dict[str, float], *, scatter: bool = True
) -> float | None:
    """Standard deviation of ln(value) at a size: coefficients, form and the scatter of cells."""
    known = law_log_sd(quantity, at)
    if known is None:
        return None
    form = (quantity.form_log_sd or 0.0) * math.sqrt(distance_squared(limits, at))
    return math.hypot(known, form, (quantity.scatter or 0.0) if scatter else 0.0)


def law_lines(
    name: str, quantity: Quantity, *, limits: Range, at: tuple[float, float], assumed: bool
) -> list[str]:
    """A law's equation, exponents, and value at a size; `assumed`: so is the scatter of cells."""
    point = {"params": at[0], "tokens": at[1]}
    if name == "weight_decay":
        return timescale_lines(quantity)
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
        lines.append(f"  level ± {say_percent(error['log_scale'])}; exponent of {earned}")
    value = evaluate_law(quantity, point)
    assert value is not None
    said = f"  at {say_size(*at)}: {show(value)}"
    law_only = log_sd_at(quantity, limits, point, scatter=False)
    one = log_sd_at(quantity, limits, point)
    if law_only is not None and one is not None:
        said += f" ({interval(value, one, show)})"
        said += f"; the average over such sizes is known to {say_percent(Z80 * law_only)}"
    lines.append(said)
    if quantity.scatter is not None and quantity.form_log_sd is not None:
        lines.append(
            f"  cells {'are assumed to scatter' if assumed else 'scatter'} by "
            f"{say_percent(quantity.scatter)} about it; outside the runs it "
            f"errs by {say_percent(quantity.form_log_sd)} more for each factor of e"
        )
    if quantity.cliff is not None:
        lines.append(f"  runs diverged from {quantity.cliff:.2g} times this lr on")
    return lines


def timescale_lines(quantity: Quantity) -> list[str]:
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
            f"{say_percent(quantity.scatter)} about it"
        )
    return lines


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


def loss_lines(fit: LossFit, *, of_cells: bool) -> list[str]:
    """The loss law: family, coefficients, held-out errors, warnings."""
    what = f"the best loss of {fit.n} cells" if of_cells else f"{fit.n} runs"
    lines = [f"loss: {fit.family}, fitted to {what}; {fit.status.value}"]
    lines += [f"  loss = {FORMS[fit.form].formula}", *fit.coefficient_lines()]
    if fit.error is not None:
        lines.append(
            f"  scatter {fit.scatter:.2%}; error at the largest runs, held out, {fit.error:.2%}"
        )
    return lines + [f"  warning: {said}" for said in fit.warnings]


def say_size(params: float, tokens: float) -> str:
    """A size in words: 537M params, 100B tokens."""
    return f"{format_count(params)} params, {format_count(tokens)} tokens"


def say_percent(log_sd: float) -> str:
    """A standard deviation of ln(value) as a percentage, or as a factor from 100% on."""
    if log_sd >= math.log(2):
        return f"a factor of {math.exp(log_sd):.2g}"
    return f"{format_small(100 * math.expm1(log_sd), 2)}%"


def interval(value: float, log_sd: float, show: Callable[[float], str]) -> str:
    """The 80% interval of a value in words."""
    low, high = ends_of(value, log_sd)
    return f"{show(low)} to {show(high)}"


def wrap(line: str) -> str:
    """A line within `WIDTH` columns, its indent kept."""
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.fill(
        line.strip(),
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
