"""Score every law that gives an absolute lr and batch on the 15 dense cells of Step Law's runs.

usage: python -m tests.benchmarks.score_laws SHARED

SHARED is the folder of real measurements (data/, tools/regret.py). A law that gives only one of
lr and batch is scored with Step Law's other half, as "NAME lr" or "NAME batch". Laws in M D get
C = 6 N D. Prints law, mean and worst regret in percent of the best loss, best mean first.
"""

from __future__ import annotations

import sys
from pathlib import Path

from fitting.laws.evaluate import evaluate_law
from fitting.laws.law import Law
from planner.facts.laws import read_lawbook
from tests.measured.regret_tool import load_regret
from tests.measured.score_laws import cell_inputs


def settings(law: Law, other: Law, point: dict[str, float]) -> tuple[str, float, float] | None:
    """Label, lr and batch of `law` at a cell, its silent half from `other`."""
    batch_form = law.quantities.get("batch_tokens")
    own_batch = evaluate_law(batch_form, point) if batch_form else None
    batch = own_batch or evaluate_law(other.quantities["batch_tokens"], point)
    assert batch is not None
    lr_form = law.quantities.get("lr")
    own_lr = evaluate_law(lr_form, point | {"batch_tokens": batch}) if lr_form else None
    lr = own_lr or evaluate_law(other.quantities["lr"], point)
    assert lr is not None
    if own_lr and own_batch:
        return law.name, lr, batch
    if own_lr or own_batch:
        return f"{law.name} {'lr' if own_lr else 'batch'}", lr, batch
    return None


def score_laws(shared: Path) -> list[tuple[str, float, float, int]]:
    """Rows (label, mean regret, worst regret, cells), best mean first."""
    regret = load_regret(shared)
    cells = regret.cells()
    book = read_lawbook()
    scores: dict[str, list[float]] = {}
    for law in book.values():
        for (params, tokens), cell in cells.items():
            found = settings(law, book["step-law"], cell_inputs(params, tokens))
            if found is not None:
                label, lr, batch = found
                scores.setdefault(label, []).append(regret.regret(cell, lr, batch))
    rows = [(label, sum(s) / len(s), max(s), len(s)) for label, s in scores.items()]
    return sorted(rows, key=lambda row: row[1])


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    print(f"{'law':<26} | {'mean':>8} | {'worst':>8} | cells")
    for label, mean, worst, count in score_laws(Path(arguments[0])):
        print(f"{label:<26} | {mean:7.4f}% | {worst:7.4f}% | {count}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
