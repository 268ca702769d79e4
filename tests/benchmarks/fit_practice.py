"""Fit practice to the published recipes and write it as a law file.

usage: python -m tests.benchmarks.fit_practice [LAW.toml]

Prints the two lines and how well each lab's runs are foretold by the others; with LAW.toml,
writes the law there.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from fitting.laws.law import Quantity
from planner.facts.recipes import Recipe
from tests.measured.fit_practice import HeldOut, fit_all, hold_out, law_text


def coverage(runs: Iterable[HeldOut], quantity: str) -> float:
    """Share of the runs whose 80% interval held the value used."""
    held = [run.covered(quantity) for run in runs]
    return sum(held) / len(held)


def rms_error(runs: Iterable[HeldOut], quantity: str) -> float:
    """Root mean square of ln(used / foretold)."""
    errors = [run.log_error[quantity] for run in runs]
    return math.sqrt(sum(error * error for error in errors) / len(errors))


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
