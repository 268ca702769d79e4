"""The spread between setups from published tuned sweeps, written as a law file.

usage: python -m tests.benchmarks.fit_setups [LAW.toml]

Compares every optimum of data/optima.csv with the default laws, lr at its own batch, weight decay
at its own lr and batch, and estimates how levels and slopes differ from setup to setup
(`tests.measured.setups`). Prints the spread, and whether the wider interval of a plan,
`elsewhere`, holds the optima of each lab when the spread is estimated without that lab; with
LAW.toml, writes it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import tomli_w

from fitting.laws.file import part_to_dict
from fitting.laws.law import Law
from planner.facts.laws import read_lawbook
from planner.review.practice import published
from tests.measured.fit_setups import (
    JUDGED,
    QUANTITIES,
    SOURCE,
    Compared,
    compare,
    compare_all,
    fit_all,
    held_out,
    is_held,
    setups_law,
    share,
)

LAW_LAB = "StepFun"


def recipes_compared(book: Mapping[str, Law]) -> list[Compared]:
    """Every recipe beside the plan, as if its values were optima."""
    return [
        found
        for recipe in published(book)
        if not recipe.tuned
        for found in compare(book, replace(recipe, tuned=frozenset(JUDGED)))
    ]


def print_coverage(found: Sequence[Compared]) -> None:
    """A line a lab, and all of them pooled."""
    labs = list(dict.fromkeys(one.tuned.lab for one in found))
    print(f"{'lab held out':14} {'lr':>8} {'median':>7} {'batch':>8} {'median':>7}")
    for lab in [*labs, "pooled"]:
        cells = []
        for name in JUDGED:
            part = [x for x in found if x.quantity == name and lab in (x.tuned.lab, "pooled")]
            held = sum(is_held(one) for one in part)
            middle = f"x{median(one.factor() for one in part):.2f}" if part else "-"
            cells.append(f"{f'{held} of {len(part)}':>8} {middle:>7}")
        print(f"{lab:14} {' '.join(cells)}")
    both = [one for one in found if one.quantity in JUDGED]
    by_lab = [share([one for one in both if one.tuned.lab == lab]) for lab in labs]
    print(
        f"elsewhere holds {100 * share(both):.0f}% of {len(both)} tuned learning rates and "
        f"batches, {100 * sum(by_lab) / len(by_lab):.0f}% with each lab counting as one"
    )
    others = [one for one in both if one.tuned.lab != LAW_LAB]
    print(f"without {LAW_LAB}, whose runs the law was fitted on: {100 * share(others):.0f}%")
    narrow = [one for one in both if inside(one.said.interval(), one.used)]
    print(f"the interval for the law's own setup holds {100 * len(narrow) / len(both):.0f}%")


def inside(interval: tuple[float | None, float | None], value: float) -> bool:
    """Whether an interval holds a value."""
    low, high = interval
    return low is not None and high is not None and low <= value <= high


def main() -> None:
    book = read_lawbook()
    spreads = fit_all(compare_all(book), names=QUANTITIES)
    for name, spread in spreads.items():
        print(
            f"{name}: level {spread.level:.3f}, size {spread.size:.3f}, horizon "
            f"{spread.horizon:.3f}, scatter {spread.scatter:.3f}; {spread.setups} setups, "
            f"{spread.n} values"
        )
    print()
    print_coverage(held_out(book))
    recipes = recipes_compared({**book, "setups": setups_law(spreads)})
    print(f"\ncounted apart, since they are choices: {len(recipes) // 2} recipes")
    for name, spread in fit_all(recipes, names=JUDGED).items():
        held = [is_held(found) for found in recipes if found.quantity == name]
        print(
            f"{name}: level {spread.level:.3f}, size {spread.size:.3f}, horizon "
            f"{spread.horizon:.3f}, scatter {spread.scatter:.3f} about the law; elsewhere holds "
            f"{100 * sum(held) / len(held):.0f}%"
        )
    if len(sys.argv) > 1:
        text = tomli_w.dumps(
            {"source": {"url": ""} | part_to_dict(SOURCE)}
            | {name: part_to_dict(part) for name, part in setups_law(spreads).quantities.items()}
        )
        Path(sys.argv[1]).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
