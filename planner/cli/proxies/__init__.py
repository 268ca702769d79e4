"""`plan proxy`: one small run, and the check that a small run says something of a large one."""

from __future__ import annotations

from planner.cli.options import make_app
from planner.cli.proxies import coord_check, train

app = make_app(help="Train one small model, or check its parametrization.", no_args_is_help=True)
app.command("train", epilog=train.EXAMPLES)(train.train)
app.command("coord-check", epilog=coord_check.EXAMPLES)(coord_check.coord_check)
