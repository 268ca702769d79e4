"""What a budget buys, as a table."""

from __future__ import annotations

from rich.table import Table

from fitting.units import format_count, format_small
from planner.cli.console import plain_table
from planner.request.budget import BudgetPart


def budget_table(part: BudgetPart) -> Table:
    """What the budget buys at the chosen size and beside it."""
    served = part.inference_tokens is not None
    timed = part.gpu_hours is not None
    priced = any(one.cost is not None for one in part.options)
    columns = ["what it buys", "params", "tokens", "a param", "loss"]
    columns += ["hours"] * timed + ["cost"] * priced + ["serving FLOPs"] * served
    table = plain_table(*columns, right=tuple(range(1, len(columns))))
    for one in part.options:
        cells = [
            "chosen" if one.chosen else "",
            format_count(one.params),
            format_count(one.tokens),
            format_small(one.tokens / one.params),
            f"{one.loss:.4g}",
        ]
        cells += [format_small(one.hours)] if one.hours is not None else []
        cells += [f"{one.cost:,.0f}"] if one.cost is not None else []
        cells += [format_small(one.serve_flops)] if served else []
        table.add_row(*cells)
    return table
