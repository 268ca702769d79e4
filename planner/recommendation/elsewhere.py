"""The spread between setups: how far a best value lies from the law in a setup nobody measured.

    ln(best / law) = level + slope_N ln(N / N0) + slope_D ln(D / D0)

Level and slopes differ from lab to lab; their covariance over labs was estimated from published
tuned sweeps (`data/laws/setups.toml` says how). An anchor in the user's own setup takes the level
away, and of the slopes leaves what the distance to it lets them do.
"""

from __future__ import annotations

from collections.abc import Mapping

from fitting.laws.forms import FORMS
from fitting.laws.law import Law, Quantity


def setup_variance(
    setups: Law | None,
    quantity: str,
    at: Mapping[str, float],
    *,
    anchored_at: Mapping[str, float] | None = None,
) -> float | None:
    """Variance of ln(best / law) between setups, or what an anchor leaves of it.

    Args:
        setups: the law file with the spread, or None.
        quantity: lr, batch_tokens, weight_decay or loss.
        at: params and tokens of the target.
        anchored_at: params and tokens where the level is known; None where it is nowhere.

    Returns:
        None where no spread is known for the quantity.
    """
    part = None if setups is None else setups.quantities.get(quantity)
    if part is None or part.covariance is None:
        return None
    gradient = log_gradient(part, at)
    assert gradient is not None
    if anchored_at is not None:
        there = log_gradient(part, anchored_at)
        assert there is not None
        gradient = {name: gradient[name] - there[name] for name in gradient}
    return max(part.covariance.log_variance(gradient), 0.0)


def extra_variance(
    setups: Law | None, quantity: str, at: Mapping[str, float], *, scatter: float
) -> float | None:
    """What `elsewhere` adds to a law's variance of ln(value): level, slopes, scatter of setups.

    The scatter that the law states goes into it, since for some laws (weight decay) that is one
    over many setups already; never below 0, so that `elsewhere` holds the law's own interval.

    Args:
        setups: the law file with the spread, or None.
        quantity: lr, batch_tokens, weight_decay or loss.
        at: params and tokens of the target.
        scatter: standard deviation of ln(measured / law) that the law states; 0 for none.

    Returns:
        None where no spread is known for the quantity.
    """
    between = setup_variance(setups, quantity, at)
    if setups is None or between is None:
        return None
    within = setups.quantities[quantity].scatter or 0.0
    return max(between + within**2 - scatter**2, 0.0)


def move_variance(part: Quantity, at: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Variance of ln(value here / value there) from a law's coefficients; 0 where not known."""
    here, there = log_gradient(part, at), log_gradient(part, other)
    if part.covariance is None or here is None or there is None:
        return 0.0
    difference = {name: here[name] - there[name] for name in here}
    # Rounding to the printed digits can leave a variance a hair below 0.
    return max(part.covariance.log_variance(difference), 0.0)


def log_gradient(part: Quantity, at: Mapping[str, float]) -> dict[str, float] | None:
    """Gradient of ln(value) by coefficient; None where the form has none."""
    form = FORMS[part.form]
    return None if form.log_gradient is None else form.log_gradient(part, at)
