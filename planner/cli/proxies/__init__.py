"""`plan proxy`: one small run, and the check that a small run says something of a large one."""

from __future__ import annotations

import typer

from planner.cli.proxies import coord_check as proxy_check
from planner.cli.proxies import train as proxy_train

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Train one small model, or check its parametrization.",
    no_args_is_help=True,
)
app.command("train", epilog=proxy_train.EXAMPLES)(proxy_train.train)
app.command("coord-check", epilog=proxy_check.EXAMPLES)(proxy_check.coord_check)
