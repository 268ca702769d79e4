"""A law's number moved to the level of the user's own setup by anchors.

Each anchor is carried to the target along the law, ln value = ln anchor + ln law(target) -
ln law(anchor), and along practice likewise where the target lies outside the law's range, the two
mixed as in `planner.recommendation.estimate`. The variance of what is carried is

    own^2 + coefficients + scatter^2 (1 - exp(-d^2 / (2 s^2))) + form [+ slopes between setups]

with the anchor's own error, the law's covariance for the difference of the two points, d the log
distance between them in params and tokens, and the form's error for the difference of how far
they lie outside the range. The last term belongs to `elsewhere` alone. Several anchors count by
the inverse of that variance; their own errors are independent, the rest is shared in full.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

from fitting.laws.evaluate import distance_squared as outside
from fitting.laws.evaluate import evaluate_law, log_distances
from fitting.laws.law import Range
from planner.recommendation.elsewhere import move_variance, setup_variance
from planner.recommendation.estimate import FORM_LOG_SD, OWN_FORM_LOG_SD, Estimate

if TYPE_CHECKING:
    from planner.facts.anchor import Anchor
    from planner.recommendation.sources import Sources

FAR = 100.0
"""Factor in params or tokens above which an anchor is far: wider than any published sweep of one
lab in data/optima.csv."""


SHARED = math.log(2) / 2
"""s: log distance in params and tokens over which best values deviate from a line alike. Cells of
Step Law's sweep a factor of two apart deviate as differently as distant ones
(`python -m tests.benchmarks.anchored_cells SHARED`)."""

NO_SLOPES = {"params": 0.0, "tokens": 0.0}
"""Gradient of a level that is the same at every size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """One end of a carry: the target, or an anchor."""

    at: Mapping[str, float]
    """Inputs of the law."""
    practice_at: Mapping[str, float]
    """Inputs of practice, the batch being the one that the lr is at."""
    said: float
    """What the law says, moved to that batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one anchor measured of one quantity."""

    anchor: Anchor
    used: float
    """Its value in the law's terms (optimizer, parametrization)."""
    log_sd: float
    """Its own error."""
    end: End

    @property
    def offset(self) -> float:
        """ln(anchor / law)."""
        return math.log(self.used / self.end.said)


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """An anchor's value at the target."""

    reading: Reading
    said: float
    """What the law says at the target."""
    law_value: float
    """Carried along the law."""
    practice_value: float | None
    """Carried along practice; None where it was not asked."""
    practice_weight: float
    coefficient_variance: float
    """Of the move, from the law's coefficients and scatter."""
    form_variance: float
    setup_variance: float
    """Of the move, from the slopes' spread between setups."""
    rest: float | None
    """Variance beside the anchor's own, in the law's setup; None where the law states none."""
    rest_elsewhere: float
    weight: float = 1.0
    """Share among the anchors."""

    @property
    def value(self) -> float:
        """Law and practice mixed in log."""
        if self.practice_value is None:
            return self.law_value
        w = self.practice_weight
        return self.law_value * math.exp(w * math.log(self.practice_value / self.law_value))


def anchor_estimate(
    quantity: str,
    sources: Sources,
    unanchored: Estimate,
    *,
    target: End,
    readings: Sequence[Reading],
) -> Estimate:
    """An estimate at the level of the anchors; unchanged without any.

    Args:
        quantity: lr, batch_tokens, weight_decay or loss.
        sources: the laws asked.
        unanchored: what they say at the target.
        target: the target's end, `said` being what the law says there.
        readings: what anchors measured of the quantity.
    """
    if not readings:
        return unanchored
    carried = [carry(quantity, sources, target=target, reading=reading) for reading in readings]
    # In one order whatever the user's, so that sums round alike.
    carried.sort(key=lambda c: (c.value, c.reading.log_sd, c.rest_elsewhere))
    total = sum(1 / variance_elsewhere(c) for c in carried)
    carried = [replace(c, weight=1 / variance_elsewhere(c) / total) for c in carried]
    own = sum((c.weight * c.reading.log_sd) ** 2 for c in carried)
    rest = None
    if all(c.rest is not None for c in carried):
        rest = sum(c.weight * math.sqrt(c.rest or 0.0) for c in carried) ** 2
    elsewhere = sum(c.weight * math.sqrt(c.rest_elsewhere) for c in carried) ** 2
    return replace(
        unanchored,
        value=log_mean([(c.value, c.weight) for c in carried]),
        log_sd=None if rest is None else math.sqrt(own + rest),
        elsewhere_log_sd=math.sqrt(own + elsewhere),
        law=replace(unanchored.law, value=log_mean([(c.law_value, c.weight) for c in carried])),
        practice_weight=sum(c.weight * c.practice_weight for c in carried),
        anchors=tuple(carried),
    )


def carry(quantity: str, sources: Sources, *, target: End, reading: Reading) -> Carried:
    """One anchor carried to the target."""
    law, practice = sources.laws[quantity], sources.practice.get(quantity)
    part = law.quantities[quantity]
    end = reading.end
    apart = share_apart(target.at, end.at)
    scatter = scatter_within(quantity, sources)
    coefficients = move_variance(part, target.at, end.at) + scatter**2 * apart
    spread_squared = form_spread(quantity, sources) ** 2
    form = spread_squared * apart_outside(law.range, target.at, end.at)
    # Inside the range the law needs no second witness, however far outside the anchor lies.
    asked = min(form, spread_squared * outside(law.range, target.at))
    setups = setup_variance(sources.setups, quantity, target.at, anchored_at=end.at) or 0.0
    law_value = reading.used * (target.said / end.said)
    practice_value, w, spread = None, 0.0, 0.0
    if practice is not None and asked > 0:
        line = practice.quantities[quantity]
        there, here = (evaluate_law(line, point.practice_at) for point in (end, target))
        assert there is not None
        assert here is not None
        practice_value = reading.used * (here / there)
        spread = move_variance(line, target.practice_at, end.practice_at)
        spread += (line.scatter or 0.0) ** 2 * apart
        w = asked / (asked + spread)
    gap = 0.0 if practice_value is None else math.log(law_value / practice_value)
    mixed = w * spread + w * (1 - w) * gap * gap
    known = part.covariance is not None or part.scatter is not None
    return Carried(
        reading=reading,
        said=target.said,
        law_value=law_value,
        practice_value=practice_value,
        practice_weight=w,
        coefficient_variance=coefficients,
        form_variance=form,
        setup_variance=setups,
        rest=(1 - w) * (coefficients + form) + mixed if known else None,
        rest_elsewhere=(1 - w) * (coefficients + form + setups) + mixed,
    )


def scatter_within(quantity: str, sources: Sources) -> float:
    """Scatter of best values about a line within one setup.

    A law's own scatter may be one over many setups, as those of weight decay and loss are: one
    that is as large as the spread of levels between setups. Then the one estimated within setups
    holds.
    """
    stated = sources.laws[quantity].quantities[quantity].scatter
    setups = None if sources.setups is None else sources.setups.quantities.get(quantity)
    if setups is None or setups.covariance is None:
        return stated or 0.0
    level = math.sqrt(setups.covariance.log_variance({"log_scale": 1.0, **NO_SLOPES}))
    within = setups.scatter or 0.0
    return within if stated is None or stated >= level else stated


def variance_elsewhere(carried: Carried) -> float:
    """Variance of what an anchor says at the target; never 0, so that it can be a weight."""
    return max(carried.reading.log_sd**2 + carried.rest_elsewhere, 1e-12)


def log_mean(values: Sequence[tuple[float, float]]) -> float:
    """Weighted mean in log, exactly the value where all are the same."""
    first = values[0][0]
    return first * math.exp(sum(weight * math.log(value / first) for value, weight in values))


def share_apart(at: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Share of the scatter of best values that two sizes do not have in common, in [0, 1]."""
    return 1 - math.exp(-distance_squared(at, other) / (2 * SHARED**2))


def distance_squared(at: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Squared log distance in params and tokens."""
    return sum(math.log(at[name] / other[name]) ** 2 for name in ("params", "tokens"))


def form_spread(quantity: str, sources: Sources) -> float:
    """s of the form's error, as `planner.recommendation.estimate` takes it."""
    stated = sources.laws[quantity].quantities[quantity].form_log_sd
    if stated is not None:
        return stated
    shared = FORM_LOG_SD if sources.practice.get(quantity) is not None else OWN_FORM_LOG_SD
    return shared.get(quantity, 0.0)


def apart_outside(limits: Range, at: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Squared log distance between how far two points lie outside a law's range, with sign."""
    here, there = (signed_distances(limits, point) for point in (at, other))
    names = here.keys() | there.keys()
    return math.fsum((here.get(name, 0.0) - there.get(name, 0.0)) ** 2 for name in sorted(names))


def signed_distances(limits: Range, at: Mapping[str, float]) -> dict[str, float]:
    """Log distances outside a range, below 0 where the point lies below it."""
    point = {**at, "tokens_per_param": at["tokens"] / at["params"]}
    return {
        name: -distance if point[name] < getattr(limits, name)[0] else distance
        for name, distance in log_distances(limits, at).items()
    }


def contradiction(
    quantity: str, sources: Sources, carried: Sequence[Carried]
) -> tuple[Carried, Carried, float] | None:
    """The two anchors that differ most beyond what the law's slope and their errors allow.

    The limit is sqrt(4 + 2 ln pairs) standard deviations: two for one pair, and more where the
    worst of many is looked at.

    Returns:
        The one with the lower level, the one with the higher, and the standard deviations
        between them; None where no pair goes beyond.
    """
    pairs = list(combinations(carried, 2))
    if not pairs:
        return None
    part = sources.laws[quantity].quantities[quantity]
    scatter = scatter_within(quantity, sources)
    found = []
    for one, other in pairs:
        first, second = one.reading, other.reading
        variance = move_variance(part, first.end.at, second.end.at)
        variance += scatter**2 * share_apart(first.end.at, second.end.at)
        variance += first.log_sd**2 + second.log_sd**2
        low, high = sorted((one, other), key=lambda c: c.reading.offset)
        gap = high.reading.offset - low.reading.offset
        found.append((low, high, gap / math.sqrt(variance) if variance > 0 else 0.0))
    worst = max(found, key=lambda item: item[2])
    return worst if worst[2] > math.sqrt(4 + 2 * math.log(len(pairs))) else None


def far_factor(anchor: Anchor, target: Mapping[str, float]) -> tuple[str, float]:
    """Whether params or tokens lie farther from the target, and by which factor."""
    factors = {
        name: math.exp(abs(math.log(getattr(anchor, name) / target[name])))
        for name in ("params", "tokens")
    }
    name = max(factors, key=lambda key: factors[key])
    return name, factors[name]
