"""Fit practice to the published recipes and write it as a law file.

usage: python -m tests.benchmarks.fit_practice [LAW.toml]

Prints the two lines and how well each lab's runs are foretold by the others; with LAW.toml,
writes the law there.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import tomli_w

from fitting.laws.evaluate import evaluate_law, law_log_sd
from fitting.laws.file import part_to_dict
from fitting.laws.law import Covariance, Quantity, Range, Source
from planner.facts.recipes import Recipe, read_recipes
from tests.benchmarks.law_making.practice import Choice, Practice, fit_practice

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


def coverage(runs: Iterable[HeldOut], quantity: str) -> float:
    """Share of the runs whose 80% interval held the value used."""
    held = [run.covered(quantity) for run in runs]
    return sum(held) / len(held)


def rms_error(runs: Iterable[HeldOut], quantity: str) -> float:
    """Root mean square of ln(used / foretold)."""
    errors = [run.log_error[quantity] for run in runs]
    return math.sqrt(sum(error * error for error in errors) / len(errors))


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
            # `given` leaves out what is empty, and a source must have a url.
            "source": {"url": SOURCE.url} | part_to_dict(SOURCE),
            "range": part_to_dict(measured),
            "lr": part_to_dict(rounded(practice.lr)),
            "batch_tokens": part_to_dict(rounded(practice.batch_tokens)),
        }
    )


def limits(values: list[float]) -> list[float]:
    """Lowest and highest."""
    return [float(min(values)), float(max(values))]


def print_line(name: str, line: Quantity) -> None:
    """The coefficients of a line with their standard errors, and its scatter."""
    assert line.covariance is not None
    errors = {
        key: math.sqrt(line.covariance.matrix[i][i]) for i, key in enumerate(line.covariance.names)
    }
    parts = [f"scale {line.coefficients['scale']:.4g} (ln ± {errors['log_scale']:.3f})"]
    parts += [f"{key} {line.coefficients[key]:+.3f} ± {errors[key]:.3f}" for key in line.reference]
    print(f"{name}: {', '.join(parts)}; scatter {line.scatter:.3f}, {line.n} runs")


def print_groups(runs: list[HeldOut], group: Callable[[Recipe], str], title: str) -> None:
    """One line a held-out group: runs, rms of ln error and coverage of 80% intervals."""
    names = list(dict.fromkeys(group(run.recipe) for run in runs))
    print(f"{title:14} runs  lr rms  cover  batch rms  cover")
    for name in [*names, "all"]:
        part = [run for run in runs if name in {group(run.recipe), "all"}]
        print(
            f"{name:14} {len(part):4d} {rms_error(part, 'lr'):7.3f} {coverage(part, 'lr'):6.2f}"
            f" {rms_error(part, 'batch_tokens'):10.3f} {coverage(part, 'batch_tokens'):6.2f}"
        )


def main() -> None:
    practice = fit_all()
    print_line("lr", practice.lr)
    print_line("batch_tokens", practice.batch_tokens)
    for title, group in (("lab", lambda r: r.lab), ("family", lambda r: r.family)):
        print()
        print_groups(hold_out(group), group, f"{title} held out")
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(law_text(practice), encoding="utf-8")


if __name__ == "__main__":
    main()
