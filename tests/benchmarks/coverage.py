"""Whether the plan's 80% intervals hold the measured optima, and what following the plan costs.

usage: python -m tests.benchmarks.coverage SHARED

On the 15 dense cells of Step Law's sweep. The widths were set on cells of up to 268M, so the
seven above are shown apart; an optimum on the edge of its grid is a bound and is not counted.
"""

from __future__ import annotations

import sys
from pathlib import Path

from planner.plan.document import Plan
from planner.plan.make import recommend
from planner.request.target import Target
from tests.measured.optimum_scatter import FITTED_BELOW, measured_optima
from tests.measured.regret_tool import load_regret

DENSE = "steplaw_dense_to_537M.csv"


def plan_of(params: float, tokens: float) -> Plan:
    """The default plan of a cell."""
    return recommend(Target(params=params, tokens=tokens, seq_len=2048, vocab_size=32_000))


def held(plan: Plan, name: str, measured: float) -> bool:
    """Whether the plan's interval holds a measured optimum."""
    value = getattr(plan, name)
    return bool(value.low <= measured <= value.high)


def main(shared: Path) -> None:
    optima = [cell for cell in measured_optima(shared, DENSE) if not cell["edge"]]
    for title, cells in (
        ("up to 268M", [cell for cell in optima if cell["params"] < FITTED_BELOW]),
        ("above 268M", [cell for cell in optima if cell["params"] >= FITTED_BELOW]),
    ):
        counts = {
            name: sum(held(plan_of(c["params"], c["tokens"]), name, c[name]) for c in cells)
            for name in ("lr", "batch_tokens")
        }
        print(
            f"{title}: intervals hold {counts['lr']} of {len(cells)} measured lrs and "
            f"{counts['batch_tokens']} of {len(cells)} batches"
        )
    tool = load_regret(shared)
    regrets = []
    for (params, tokens), cell in tool.cells(shared / "data" / DENSE).items():
        plan = plan_of(params, tokens)
        regrets.append(tool.regret(cell, plan.lr.value, plan.batch_tokens.value))
    mean = sum(regrets) / len(regrets)
    print(f"regret of the plan's lr and batch: mean {mean:.4f}%, worst {max(regrets):.4f}%")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
