"""`plan report`: one HTML page of a plan, its laws and its runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fitting.files import check_output
from planner.cli.console import working

EXAMPLES = """Examples:

plan report plan.json -o report.html

plan report sweeps/small -o report.html --force"""

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich", epilog=EXAMPLES
)


@app.command(epilog=EXAMPLES)
def report(
    context: typer.Context,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="PLAN.json|LAWS.toml|DIR",
            help="From plan ... --json, plan fit --out, plan sweep or plan calibrate.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The page.")],
    force: Annotated[bool, typer.Option("--force", help="Replace the page if it exists.")] = False,
) -> None:
    """Write one HTML page of a plan, its laws and its runs.

    Prints the page's path and what it lacks. The page needs no network; whatever the plan's and
    the laws' own commands name is read too, where it is still as it was.
    """
    from fitting.files import replace_file
    from planner.report.evidence import gather
    from planner.report.make import whole_page
    from planner.report.page import check_extra

    check_extra()
    check_output(out, read=[], force=force)
    with working() as say:
        found = gather(source, progress=say)
        check_output(out, read=list(found.files.all()), force=True)
        say("drawing")
        page = whole_page(found, command=context.obj.text)
        replace_file(out, page.html.encode())
    print(f"written: {out} ({len(page.html.encode()) / 1e6:.1f} MB)")
    for line in page.absent:
        print(line)
