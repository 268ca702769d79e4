"""What a law says at a point: its value, how well it is known, and how far outside its range.

`math` alone, so that planning never waits for an array library.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fitting.laws.forms import FORMS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fitting.laws.forms import Point
    from fitting.laws.law import Law, Quantity, Range


def speaks_of(law: Law, quantity: str) -> bool:
    """Whether a law gives absolute numbers of a quantity."""
    part = law.quantities.get(quantity)
    return part is not None and part.form not in ("text", "exponents")


def evaluate_law(quantity: Quantity, point: Point) -> float | None:
    """The value of one quantity at `point`, or None where the law is silent.

    A law is silent when its form gives no absolute value (`text`, `exponents`), when it needs an
    input that `point` lacks, or outside the rows of a table.

    Args:
        quantity: a table of a law file.
        point: inputs by name, each above 0.

    Returns:
        Infinity where its numbers overflow, else the quantity in its own unit (lr and weight decay
        per step, batch in tokens, loss in nats
        per token).
    """
    form = FORMS[quantity.form]
    if not form.needs(quantity.coefficients) <= point.keys():
        return None
    try:
        value = form.evaluate(quantity, point)
    except (OverflowError, ZeroDivisionError):
        return math.inf
    if value is None or quantity.maximum is None:
        return value
    return min(value, quantity.maximum)


def law_log_sd(quantity: Quantity, point: Point) -> float | None:
    """Standard deviation of ln(value) from the coefficients' covariance; None where unknown."""
    form = FORMS[quantity.form]
    if quantity.covariance is None or form.log_gradient is None:
        return None
    # Rounding to the printed digits can leave a variance a hair below 0.
    variance = quantity.covariance.log_variance(form.log_gradient(quantity, point))
    return math.sqrt(max(variance, 0.0))


def distance_squared(limits: Range, at: Mapping[str, float]) -> float:
    """Squared log distance from a point to the range a law was measured in; 0 inside.

    The sum over params, tokens and tokens per param of the squared log of the factor by which
    the point lies outside; limits that the source does not state count as met.
    """
    return sum(distance * distance for distance in log_distances(limits, at).values())


def log_distances(limits: Range, at: Mapping[str, float]) -> dict[str, float]:
    """For each stated limit that the point breaks, the log of the factor by which it does."""
    point = {
        "params": at["params"],
        "tokens": at["tokens"],
        "tokens_per_param": at["tokens"] / at["params"],
    }
    found: dict[str, float] = {}
    for name, value in point.items():
        stated = getattr(limits, name)
        if stated is None:
            continue
        low, high = stated
        distance = max(math.log(low / value), math.log(value / high), 0.0)
        if distance > 0:
            found[name] = distance
    return found


def log_sd_at(
    quantity: Quantity, limits: Range, at: dict[str, float], *, scatter: bool = True
) -> float | None:
    """Standard deviation of ln(value) at a size: coefficients, form and the scatter of cells."""
    known = law_log_sd(quantity, at)
    if known is None:
        return None
    form = (quantity.form_log_sd or 0.0) * math.sqrt(distance_squared(limits, at))
    return math.hypot(known, form, (quantity.scatter or 0.0) if scatter else 0.0)
