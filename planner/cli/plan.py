"""`plan` itself: the plan for a target."""

from __future__ import annotations

import typer

from planner.cli import LazyGroup

app = typer.Typer(
    cls=LazyGroup,
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def plan(context: typer.Context) -> None:
    """Plan a pretraining run: peak learning rate, batch, weight decay, schedule, shape, loss."""
