"""The spread between functional forms outside the law's range, by labs left out."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from scipy.optimize import minimize_scalar

from fitting.laws.evaluate import distance_squared, evaluate_law
from fitting.laws.file import make_law
from fitting.laws.law import Law
from planner.facts.recipes import Recipe
from planner.recommendation.estimate import Estimate, estimate_from
from tests.measured.fit_practice import fit_all, usable_recipes


@dataclass(frozen=True, slots=True, kw_only=True)
class Foretold:
    """One published run and what the plan says without its lab."""

    recipe: Recipe
    lr: Estimate
    batch_tokens: Estimate

    def covered(self, quantity: str) -> bool:
        """Whether the 80% interval held the value used."""
        low, high = getattr(self, quantity).interval()
        return bool(low <= getattr(self.recipe, quantity) <= high)


def at(recipe: Recipe) -> dict[str, float]:
    """Inputs of the laws at a recipe."""
    return {"params": float(recipe.params), "tokens": float(recipe.tokens)}


def outside(law: Law) -> list[Recipe]:
    """Comparable recipes that lie outside the law's range."""
    return [r for r in usable_recipes() if distance_squared(law.range, at(r)) > 0]


def foretell(law: Law, book: dict[str, Law]) -> list[Foretold]:
    """Every recipe outside the range, its lab held out of practice."""
    found = []
    recipes = outside(law)
    for lab in dict.fromkeys(recipe.lab for recipe in recipes):
        held_out = fit_all(exclude_lab=lab)
        practice = make_law(
            "practice",
            source=book["practice"].source,
            limits=book["practice"].range,
            quantities={"lr": held_out.lr, "batch_tokens": held_out.batch_tokens},
        )
        for recipe in recipes:
            if recipe.lab != lab:
                continue
            point = at(recipe)
            batch = estimate_from("batch_tokens", law, practice, at=point)
            assert batch is not None
            lr = estimate_from(
                "lr",
                law,
                practice,
                at=point,
                practice_at=point | {"batch_tokens": batch.value},
            )
            assert lr is not None
            found.append(Foretold(recipe=recipe, lr=lr, batch_tokens=batch))
    return found


def estimate_spread(law: Law, practice: Law, quantity: str) -> float:
    """The s of highest likelihood, each lab weighing 1."""
    recipes = outside(law)
    runs = Counter(recipe.lab for recipe in recipes)
    scatter, choice = (source.quantities[quantity].scatter for source in (law, practice))
    assert scatter is not None
    assert choice is not None

    def cost(s: float) -> float:
        total = 0.0
        for recipe in recipes:
            said = evaluate_law(law.quantities[quantity], at(recipe))
            assert said is not None
            variance = scatter**2 + choice**2 + s * s * distance_squared(law.range, at(recipe))
            error = math.log(getattr(recipe, quantity) / said)
            total += (error * error / variance + math.log(variance)) / runs[recipe.lab]
        return total

    return float(minimize_scalar(cost, bounds=(0.01, 5.0), method="bounded").x)
