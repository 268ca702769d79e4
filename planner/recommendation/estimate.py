"""One number from two witnesses: a law inside its range, and published practice outside it.

A law's variance of ln(value) is that of its coefficients plus the scatter of measured optima
about it. Outside the range it was measured in, a form term grows with the squared log distance
to the range in params, tokens and tokens per param:

    v_form = s^2 (d_N^2 + d_D^2 + d_{D/N}^2)

and practice, a fit over published recipes, is the second witness. In log the value is
(1 - w) law + w practice with w = v_form / (v_form + v_practice), so inside the range the law
stands unchanged. The variance is that of the mixture,

    (1 - w) v_law + w v_practice + w (1 - w) ln(law / practice)^2,

so that disagreement widens the interval.

That interval is for the setup that the law was measured in. A second one, `elsewhere`, adds the
spread between setups to the law's variance; practice has it in its scatter already.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fitting.errors import InputError
from fitting.intervals import ends_of
from fitting.laws.evaluate import distance_squared, evaluate_law, law_log_sd
from fitting.laws.law import Law, Quantity

if TYPE_CHECKING:
    from planner.recommendation.anchoring import Carried

SANE = {
    "lr": (1e-9, 10.0),
    "batch_tokens": (1.0, 1e12),
    "weight_decay": (0.0, 1e4),
    "loss": (1e-3, 100.0),
}
"""Bounds outside which a law's number is taken for broken, by quantity."""

FORM_LOG_SD = {"lr": 0.53, "batch_tokens": 0.14}
"""s: standard deviation of ln(value) from the form, per unit of log distance outside the range.

Of highest likelihood for Step Law over the published recipes outside its range, each lab weighing
1: `python -m tests.benchmarks.form_spread`. Assumed to hold for other published laws too.
"""

OWN_FORM_LOG_SD = {"lr": 0.3, "batch_tokens": 0.3}
"""The same for a law of the user's own that does not say how it extrapolates; assumed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """What one source says, with the parts of its variance of ln(value)."""

    name: str
    value: float
    """In the quantity's unit, > 0."""
    coefficient_variance: float | None
    """From the covariance of its coefficients; None where none is published."""
    scatter: float | None
    """Standard deviation of ln(measured / law); None where unknown."""
    form_spread: float = 0.0
    """Standard deviation of ln(value) per unit of log distance outside the range."""
    form_variance: float = 0.0
    """From the distance to the range it was measured in; 0 inside."""
    setup_variance: float | None = None
    """Between setups, beside `variance`; None where it is not known."""

    @property
    def variance(self) -> float | None:
        """Of ln(value); None where neither covariance nor scatter is known."""
        if self.coefficient_variance is None and self.scatter is None:
            return None
        return (self.coefficient_variance or 0.0) + (self.scatter or 0.0) ** 2 + self.form_variance


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A recommended number, how sure it is, and the witnesses it was made from."""

    value: float
    log_sd: float | None
    """Standard deviation of ln(value); None where it is not known."""
    law: Witness
    practice: Witness | None
    """None where practice was not asked: inside the range, or where nothing is published."""
    practice_weight: float
    """w, 0 inside the law's range."""
    elsewhere_log_sd: float | None = None
    """The same as `log_sd` in a setup that nobody measured; None where it is not known."""
    anchors: tuple[Carried, ...] = ()
    """Anchors that fix its level; empty where none does."""

    @property
    def name(self) -> str:
        """The law's name, both names where practice has a weight, `anchor` where one moved it."""
        names = [self.law.name]
        if self.practice is not None and self.practice_weight > 0:
            names.append(self.practice.name)
        return "+".join([*names, "anchor"] if self.anchors else names)

    @property
    def weights(self) -> dict[str, float] | None:
        """Weight of each witness in log; None where there is only one."""
        if self.practice is None or self.practice_weight == 0:
            return None
        w = self.practice_weight
        return {self.law.name: 1 - w, self.practice.name: w}

    def interval(self) -> tuple[float | None, float | None]:
        """Low and high end of the 80% interval; None where its width is not known."""
        return around(self.value, self.log_sd)

    def elsewhere(self) -> tuple[float | None, float | None]:
        """The same in a setup that nobody measured."""
        return around(self.value, self.elsewhere_log_sd)

    def times(self, factor: float, *, log_sd: float = 0.0) -> Estimate:
        """The estimate moved by a factor that is itself uncertain by `log_sd` in log."""
        sd, elsewhere = (
            None if known is None else math.hypot(known, log_sd)
            for known in (self.log_sd, self.elsewhere_log_sd)
        )
        return replace(self, value=self.value * factor, log_sd=sd, elsewhere_log_sd=elsewhere)


def around(value: float, log_sd: float | None) -> tuple[float | None, float | None]:
    """Ends of the 80% interval of a value; None where its width is not known."""
    return (None, None) if log_sd is None else ends_of(value, log_sd)


def estimate_from(
    quantity: str,
    law: Law,
    practice: Law | None,
    *,
    at: Mapping[str, float],
    practice_at: Mapping[str, float] | None = None,
    setup_variance: float | None = None,
) -> Estimate | None:
    """One quantity from a law and, outside its range, from practice.

    Args:
        quantity: `lr` or `batch_tokens`.
        law: a law with that quantity.
        practice: the fit over published recipes, or None where it does not apply (another
            optimizer or parametrization).
        at: inputs of the law by name; params and tokens at least.
        practice_at: inputs of practice where they differ (its lr is one at a given batch).
        setup_variance: variance of ln(best value / law) between setups; None where not known.

    Returns:
        The estimate, or None where the law is silent at this point.
    """
    part = law.quantities[quantity]
    value = evaluate_law(part, at)
    if value is None:
        return None
    check_value(law.name, quantity, value)
    spread = part.form_log_sd
    if spread is None:
        spread = (FORM_LOG_SD if practice is not None else OWN_FORM_LOG_SD).get(quantity, 0.0)
    form_variance = spread**2 * distance_squared(law.range, at)
    witness = replace(
        make_witness(law.name, part, value, at),
        form_spread=spread,
        form_variance=form_variance,
        setup_variance=setup_variance,
    )
    other = None
    if practice is not None and form_variance > 0:
        point = practice_at or at
        said = evaluate_law(practice.quantities[quantity], point)
        if said is not None:
            other = make_witness(practice.name, practice.quantities[quantity], said, point)
    return mix(witness, other)


def check_value(name: str, quantity: str, value: float) -> None:
    """Refuse what cannot be the quantity, whatever law says it.

    Raises:
        InputError: naming the law and the value.
    """
    low, high = SANE[quantity]
    if not low <= value <= high:
        raise InputError(
            f"law {name}: gives a {quantity.replace('_', ' ')} of {value:.3g} at this target, not "
            f"one from {low:g} to {high:g}; take another --law or mend the file"
        )


def make_witness(name: str, part: Quantity, value: float, at: Mapping[str, float]) -> Witness:
    """What a law's quantity says at a point, inside its range."""
    sd = law_log_sd(part, at)
    return Witness(
        name=name,
        value=value,
        coefficient_variance=None if sd is None else sd * sd,
        scatter=part.scatter,
    )


def mix(law: Witness, practice: Witness | None) -> Estimate:
    """The two witnesses as one; see the module's equation."""
    v_law, w, gap, v_practice = law.variance, 0.0, 0.0, 0.0
    value = law.value
    if practice is not None and practice.variance is not None:
        v_practice = practice.variance
        w = law.form_variance / (law.form_variance + v_practice)
        gap = math.log(law.value / practice.value)
        value = math.exp((1 - w) * math.log(law.value) + w * math.log(practice.value))
    sd = elsewhere = None
    if v_law is not None:
        rest = w * v_practice + w * (1 - w) * gap * gap
        sd = math.sqrt((1 - w) * v_law + rest)
        if law.setup_variance is not None:
            elsewhere = math.sqrt((1 - w) * (v_law + law.setup_variance) + rest)
    return Estimate(
        value=value,
        log_sd=sd,
        elsewhere_log_sd=elsewhere,
        law=law,
        practice=practice,
        practice_weight=w,
    )
