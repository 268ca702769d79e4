"""How fast Step Law goes astray outside its range, and whether the plan's intervals hold there.

usage: python -m tests.benchmarks.form_spread

For published recipes outside the range: the spread s of
`planner.recommendation.estimate.FORM_LOG_SD`, by maximum likelihood of ln(used / law) ~ N(0,
scatter^2 + choice^2 + s^2 d^2), d the log distance to the range, choice the scatter of recipes
about practice (they are choices, not optima), each lab weighing 1. Then, with each lab held out of
practice, the share of used learning rates and batches that the 80% interval holds.
"""

from __future__ import annotations

from planner.facts.laws import read_lawbook
from planner.recommendation.estimate import FORM_LOG_SD
from tests.measured.form_spread import estimate_spread, foretell


def main() -> None:
    book = read_lawbook()
    law = book["step-law"]
    for quantity, used in FORM_LOG_SD.items():
        spread = estimate_spread(law, book["practice"], quantity)
        print(f"s of {quantity}: {spread:.2f} (in use: {used:g})")
    runs = foretell(law, book)
    labs = len({run.recipe.lab for run in runs})
    print(f"{len(runs)} published runs of {labs} labs outside the range, lab held out:")
    for quantity in FORM_LOG_SD:
        held = sum(run.covered(quantity) for run in runs)
        print(f"  80% interval of {quantity} holds {held} ({100 * held / len(runs):.0f}%)")


if __name__ == "__main__":
    main()
