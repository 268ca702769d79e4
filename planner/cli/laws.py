"""`plan laws`: the law book."""

from __future__ import annotations

import typer

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.callback()
def laws() -> None:
    """List, show and compare the laws of the law book."""
