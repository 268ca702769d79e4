"""The law of published recipes, fitted, and judged by labs left out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import tomli_w

from fitting.laws.evaluate import evaluate_law, law_log_sd
from fitting.laws.file import part_to_dict
from fitting.laws.law import Covariance, Quantity, Range, Source
from planner.facts.recipes import Recipe, read_recipes
from tests.measured.practice import Choice, Practice, fit_practice

Z80 = 1.2815515655446004
"""Half-width of a central 80% interval of a normal distribution, in standard deviations."""

SOURCE = Source(
    key="windtunnel2026practice",
    title="Peak learning rate and batch of published training runs",
    url="",
    evidence="fitted",
    note=(
        "Choices, not optima: what labs used, mostly without a published sweep, and partly copied"
        " from each other (GPT-3's table of lr most of all). Fitted here to the dense AdamW runs"
        " of data/recipes.csv in standard parametrization, each lab weighing 1; the covariance"
        " allows any correlation within a lab."
    ),
    command="python -m tests.benchmarks.fit_practice data/laws/practice.toml",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """One run that the fit did not see."""

    recipe: Recipe
    log_error: dict[str, float]
    """ln(used / foretold), by quantity."""
    log_sd: dict[str, float]
    """Standard deviation that was foretold, from coefficients and scatter."""

    def covered(self, quantity: str) -> bool:
        """Whether the 80% interval held the value used."""
        return abs(self.log_error[quantity]) <= Z80 * self.log_sd[quantity]


def usable_recipes() -> list[Recipe]:
    """Recipes the law is fitted to: AdamW, standard parametrization, batch known."""
    return [r for r in read_recipes() if r.is_comparable and r.batch_tokens is not None]


def choice_of(recipe: Recipe) -> Choice:
    """What the fit needs of a recipe."""
    assert recipe.batch_tokens is not None
    return Choice(
        lab=recipe.lab,
        params=recipe.params,
        tokens=recipe.tokens,
        lr=recipe.lr,
        batch_tokens=recipe.batch_tokens,
    )


def fit_all(*, exclude_lab: str | None = None) -> Practice:
    """The fit that the law file holds, or the same without one lab."""
    return fit_practice([choice_of(r) for r in usable_recipes()], exclude_lab=exclude_lab)


def hold_out(group: Callable[[Recipe], str]) -> list[HeldOut]:
    """Every usable recipe, foretold by the recipes of all other groups."""
    recipes = usable_recipes()
    found: list[HeldOut] = []
    for name in dict.fromkeys(group(recipe) for recipe in recipes):
        practice = fit_practice([choice_of(r) for r in recipes if group(r) != name])
        found += [foretell(practice, recipe) for recipe in recipes if group(recipe) == name]
    return found


def foretell(practice: Practice, recipe: Recipe) -> HeldOut:
    """What a fit says of a run: lr at the run's own batch, and batch."""
    choice = choice_of(recipe)
    used = {"lr": choice.lr, "batch_tokens": choice.batch_tokens}
    point = {
        "params": choice.params,
        "tokens": choice.tokens,
        "batch_tokens": choice.batch_tokens,
    }
    log_error, log_sd = {}, {}
    for name, line in (("lr", practice.lr), ("batch_tokens", practice.batch_tokens)):
        value, sd = evaluate_law(line, point), law_log_sd(line, point)
        assert value is not None
        assert sd is not None
        log_error[name] = math.log(used[name] / value)
        log_sd[name] = math.hypot(sd, line.scatter or 0.0)
    return HeldOut(recipe=recipe, log_error=log_error, log_sd=log_sd)


def rounded(line: Quantity) -> Quantity:
    """A line with the digits its file holds: nine."""
    covariance = line.covariance
    assert covariance is not None
    assert line.scatter is not None
    return replace(
        line,
        coefficients={name: nine_digits(value) for name, value in line.coefficients.items()},
        covariance=Covariance(
            names=covariance.names,
            matrix=[[nine_digits(value) for value in row] for row in covariance.matrix],
        ),
        scatter=nine_digits(line.scatter),
    )


def nine_digits(value: float) -> float:
    """`value` rounded to nine significant digits."""
    return float(f"{value:.9g}")


def law_text(practice: Practice) -> str:
    """The law file's content."""
    choices = [choice_of(recipe) for recipe in usable_recipes()]
    measured = Range(
        params=limits([choice.params for choice in choices]),
        tokens=limits([choice.tokens for choice in choices]),
        batch_tokens=limits([choice.batch_tokens for choice in choices]),
        optimizer="adamw",
        parametrization="sp",
        schedule="as each run: cosine, linear, wsd, wsd-s or multi-step",
        params_meaning="non-embedding",
    )
    return tomli_w.dumps(
        {
            # `part_to_dict` leaves out what is empty, and a source must have a url.
            "source": {"url": SOURCE.url} | part_to_dict(SOURCE),
            "range": part_to_dict(measured),
            "lr": part_to_dict(rounded(practice.lr)),
            "batch_tokens": part_to_dict(rounded(practice.batch_tokens)),
        }
    )


def limits(values: list[float]) -> list[float]:
    """Lowest and highest."""
    return [float(min(values)), float(max(values))]
