"""What the laws say of sparse models: which law, and a loss between two dense ones."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from fitting.laws.evaluate import evaluate_law
from planner.facts.laws import SPARSE_LAW

if TYPE_CHECKING:
    from planner.recommendation.numbers import Derivation
    from planner.recommendation.value import Value
    from planner.request.choices import Choices
    from proxies.run.experts import ExpertCounts

CHECKED_RATIO = (0.047, 0.109)
"""Active over all experts for which that law was checked (arXiv 2507.17702)."""


def sparse_choices(
    choices: Choices, point: dict[str, float], limits: list[float] | None, *, own: bool
) -> Choices:
    """The choices with the law of sparse models, where it holds and nothing else was asked for.

    Args:
        choices: of the plan.
        point: inputs of the laws at the target.
        limits: FLOPs that the law was measured at.
        own: whether the user gave laws of their own.
    """
    asked = choices.law is not None or own or choices.optimizer != "adamw"
    if choices.experts is None or asked or limits is None:
        return choices
    inside = limits[0] <= point["model_flops"] <= limits[1]
    return replace(choices, law=SPARSE_LAW) if inside else choices


def sparse_loss(value: Value, numbers: Derivation, part: ExpertCounts) -> Value:
    """A loss between that of dense models of all and of the active params; assumed.

    The value is their geometric mean; the interval goes from the lower end of the one to the upper
    end of the other.
    """
    law = numbers.laws["loss"].quantities["loss"]
    whole = evaluate_law(law, {**numbers.point, "params": float(part.params)})
    active = evaluate_law(law, numbers.point)
    if whole is None or active is None:
        return replace(value, low=None, high=None, elsewhere=None)
    ratio = whole / active
    low = None if value.low is None else value.low * ratio
    return replace(value, value=value.value * math.sqrt(ratio), low=low, elsewhere=None)
