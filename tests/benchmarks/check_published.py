"""Published configs through `plan check`: `python -m tests.benchmarks.check_published`.

Prints one row a config: the factor of its batch and lr on ours, the verdicts, what lr and batch
are predicted to cost and the verdict's warnings. The configs are typed from their sources, which
stand at the head of each file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.review.check import check_run
from planner.trainers.import_config import import_config

if TYPE_CHECKING:
    from planner.review.check import Check
from tests.measured.check_published import published_configs

HEADER = ("config", "trainer", "batch", "lr", "weight decay", "lr + batch cost", "warnings")


def row_of(name: str, check: Check) -> tuple[str, ...]:
    """One config's row."""
    words = {number.name: f"{number.factor:.2g}x {number.verdict}" for number in check.numbers}
    return (
        name,
        check.config.trainer,
        words["batch_tokens"],
        words["lr"],
        words["weight_decay"],
        "not known" if check.cost is None else f"{100 * check.cost:.2f}%",
        str(len(check.risks)),
    )


def main() -> None:
    """Print the table in Markdown."""
    print("| " + " | ".join(HEADER) + " |")
    print("|" + "---|" * len(HEADER))
    for name, (trainer, path) in published_configs().items():
        check = check_run(import_config(trainer, path))
        print("| " + " | ".join(row_of(name, check)) + " |")
        for risk in check.risks:
            print(f"<!-- {name}: {risk} -->")


if __name__ == "__main__":
    main()
