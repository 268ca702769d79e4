"""What others say of a plan's target: every other law, and the nearest published runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fitting.laws.evaluate import evaluate_law, speaks_of
from fitting.laws.law import Law
from planner.facts.recipes import nearest_recipes

if TYPE_CHECKING:
    from planner.recommendation.numbers import Derivation
    from planner.request.choices import Choices
    from planner.request.target import Target

COMPARED = ("loss", "batch_tokens", "lr", "weight_decay")
"""Quantities of which other laws are asked, in the order in which one needs the other."""

NEAREST = 3
"""Published runs shown beside a plan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """What another law says of the same target; None where it is silent."""

    law: str
    lr: float | None
    batch_tokens: float | None
    weight_decay: float | None
    loss: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearby:
    """A published run near the target."""

    run: str
    params: float
    tokens: float
    lr: float
    batch_tokens: float | None
    """None where its source does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Witnesses:
    """Those beside a plan."""

    alternatives: tuple[Alternative, ...]
    """In the order of the law book."""
    nearest: tuple[Nearby, ...]
    """The nearest first."""


def find_witnesses(
    book: Mapping[str, Law], derivation: Derivation, choices: Choices, target: Target
) -> Witnesses:
    """Every other law of the same optimizer and parametrization, and the nearest runs."""
    recipes = nearest_recipes(target.params, target.tokens, count=NEAREST)
    return Witnesses(
        alternatives=other_laws(book, derivation, choices, target),
        nearest=tuple(
            Nearby(
                run=recipe.run,
                params=recipe.params,
                tokens=recipe.tokens,
                lr=recipe.lr,
                batch_tokens=recipe.batch_tokens,
            )
            for recipe in recipes
        ),
    )


def other_laws(
    book: Mapping[str, Law], derivation: Derivation, choices: Choices, target: Target
) -> tuple[Alternative, ...]:
    """What every other law of the same optimizer and parametrization says of this target.

    A law is asked for its lr at its own batch, and where it has none at the planned one.
    """
    batch = float(derivation.batch_sequences * target.seq_len)
    in_use = {law.name for law in derivation.laws.values()}
    in_use |= set(derivation.law_lr.weights or {})
    found = []
    for law in book.values():
        if law.name in in_use or not _comparable(law, choices):
            continue
        said: dict[str, float | None] = dict.fromkeys(COMPARED)
        point = dict(derivation.point)
        for name in COMPARED:
            if speaks_of(law, name):
                said[name] = evaluate_law(law.quantities[name], point)
            fallback = {"batch_tokens": batch, "lr": derivation.lr.value}.get(name)
            point[name] = said[name] or fallback or point.get(name, math.nan)
        if any(value is not None for value in said.values()):
            found.append(Alternative(law=law.name, **said))
    return tuple(found)


def _comparable(law: Law, choices: Choices) -> bool:
    """Whether a law was measured with the planned optimizer and parametrization, or with any."""
    optimizer, parametrization = law.range.optimizer, law.range.parametrization
    return (optimizer or "adamw", parametrization or "sp") == (
        choices.optimizer,
        choices.parametrization,
    )
