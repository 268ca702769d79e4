"""`plan batch`: what other batches cost in tokens, time and loss, and a batch that grows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fitting.units import format_count, format_small

if TYPE_CHECKING:
    from rich.table import Table

    from planner.review.batch_tradeoff import BatchRow, Tradeoff

EXAMPLES = """Examples:

plan batch plan.json

plan batch plan.json --noise runs.csv --plot batch.png"""

COLUMNS = (
    *("batch", "seqs", "steps", "tokens", "time", "cost"),
    *("loss", "lr moved", "lr", "beta2"),
)

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich", epilog=EXAMPLES
)


@app.command(epilog=EXAMPLES)
def batch(
    plan: Annotated[Path, typer.Argument(metavar="PLAN.json", help="From plan ... --json.")],
    noise: Annotated[
        Path | None,
        typer.Option("--noise", metavar="RUNS", help="Your runs with noise_scale_tokens."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw the curve: .png, .pdf, .svg")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what other batches cost in tokens for how much less time.

    Prints a row a batch: steps and tokens to the plan's loss, both over the plan's, and what the
    batch costs at the plan's tokens by the measured surface, with the lr held and moved.
    """
    from planner.plan.file import load_plan, to_plain
    from planner.plan.reuse import known_laws
    from planner.review.batch_tradeoff import trade_off

    measured = None
    if noise is not None:
        from fitting.probes.noise_scale import fit_noise

        measured = fit_noise(noise)
    read = load_plan(plan)
    found = trade_off(read, known_laws(read, plan), noise=measured)
    if plot is not None:
        from fitting.figures import save_figure
        from planner.review.batch_figure import batch_figure

        save_figure(batch_figure(found), plot)
    if as_json:
        print(json.dumps(to_plain(found), indent=2, allow_nan=False))
        return
    show(found)


def show(found: Tradeoff) -> None:
    """The head lines and the table."""
    from planner.cli.console import make_console

    console = make_console()
    for line in head_lines(found):
        console.print(line, highlight=False)
    console.print()
    console.print(rows_table(found))


def head_lines(found: Tradeoff) -> list[str]:
    """The critical batch with its source, the limits, and what is not known."""
    known = (
        "interval not known"
        if found.low is None or found.high is None
        else f"80% {format_count(found.low)} to {format_count(found.high)}"
    )
    others = ", ".join(
        f"{one.law} {format_count(one.batch_tokens)}"
        for one in found.opinions
        if one.law != found.source
    )
    lines = [
        f"critical batch {format_count(found.critical_batch_tokens)} tokens ({found.source}; "
        f"{known}); {others}",
        f"the plan's loss takes at least {format_count(found.fewest_tokens)} tokens and "
        f"{format_count(found.fewest_steps)} steps",
        f"beta2: half-life {format_count(found.beta2_half_life_tokens)} tokens, kept at every "
        "batch (small-batches; its best is about 10M)",
    ]
    return [*lines, f"loss costs: not known: {found.note}"] if found.note else lines


def rows_table(found: Tradeoff) -> Table:
    """A row a batch; the plan's is marked."""
    from planner.cli.console import plain_table

    columns = (
        "batch",
        "seqs",
        "steps",
        "tokens",
        "time",
        "cost",
        "loss",
        "lr moved",
        "lr",
        "beta2",
    )
    table = plain_table(*columns, right=tuple(range(len(columns))))
    for row in found.rows:
        mark = "bold" if row.batch_tokens == found.batch_tokens else ""
        table.add_row(*cells(row), style=mark)
    return table


def cells(row: BatchRow) -> list[str]:
    """One row as text: time and cost are over the plan's, losses are shares in percent."""
    return [
        format_count(row.batch_tokens),
        f"{row.batch_sequences:,}",
        f"{row.steps:,}",
        format_count(row.tokens),
        f"{row.relative_time:.2f}x",
        f"{row.relative_tokens:.2f}x",
        percent(row.loss_cost),
        percent(row.loss_cost_lr_moved),
        "-" if row.lr is None else format_small(row.lr),
        f"{row.beta2:.4g}",
    ]


def percent(share: float | None) -> str:
    """`+0.41%`, or a dash where it is not known."""
    return "-" if share is None else f"{100 * share:+.2f}%"
