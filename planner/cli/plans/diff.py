"""`plan diff`: what changed between two plans and what it costs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """Examples:

plan diff before.json after.json

plan diff before.json after.json --json"""

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich", epilog=EXAMPLES
)


@app.command(epilog=EXAMPLES)
def diff(
    before: Annotated[Path, typer.Argument(metavar="A.json", help="From plan ... --json.")],
    after: Annotated[Path, typer.Argument(metavar="B.json", help="From plan ... --json.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what changed between two plans and what it costs.

    Prints each value that differs, before and after with the factor, and what the second plan's lr
    and batch cost over the first's by the measured surface.
    """
    from planner.plan.file import load_plan, to_plain
    from planner.plan.reuse import known_laws
    from planner.review.diff import compare_plans
    from planner.review.diff_text import difference_lines

    first = load_plan(before)
    found = compare_plans(first, load_plan(after), known_laws(first, before))
    if as_json:
        print(json.dumps(to_plain(found), indent=2, allow_nan=False))
        return
    print("\n".join(difference_lines(found)))
