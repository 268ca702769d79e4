"""`plan import`: other tools' runs to a runs table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fitting.runs.importing import Import

NAMED = 3
"""Rejected rows and columns left out that are spelt out; the rest are counted."""

EXAMPLES = """Examples:

plan import sweep.csv --map lr=learning_rate,batch_tokens=bs --seq-len 2048 -o runs.csv

plan import mlruns --map loss=eval/loss -o runs.parquet"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")


@app.command(epilog=EXAMPLES)
def import_runs(
    source: Annotated[
        str, typer.Argument(metavar="FILE", help="File, folder or database URL of the runs.")
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="RUNS", help="Runs table, .csv or .parquet.")
    ],
    columns: Annotated[
        str,
        typer.Option(
            "--map",
            metavar="NAME=SOURCE,...",
            help="Columns of the runs table and what gives them: a column, or a number for "
            "every run. steps=SOURCE gives tokens as steps x batch.",
        ),
    ] = "",
    seq_len: Annotated[
        float | None,
        typer.Option(
            metavar="TOKENS", help="The batch counts sequences of this length (default: tokens)."
        ),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="TOOL",
            help="csv, wandb, tensorboard, optuna or mlflow (default: told by the content).",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Import runs from a CSV, W&B, TensorBoard, Optuna or MLflow.

    Writes RUNS and prints what was read, mapped, left out and rejected.
    """
    from fitting.files import refuse_existing
    from fitting.runs.importing import import_table, parse_mapping
    from fitting.runs.readers import read_source
    from fitting.runs.table import write_runs

    mapping = parse_mapping(columns)
    refuse_existing(out, force=force)
    tool, table = read_source(source, kind, track=show_progress)
    found = import_table(table, where=source, mapping=mapping, seq_len=seq_len)
    write_runs(found.runs, out, overwrite=force)
    for line in describe_import(found, read=f"{len(table)} runs from {source} ({tool})"):
        print(line)
    print(f"wrote: {out}")


def describe_import(found: Import, *, read: str) -> list[str]:
    """What was read, mapped, left out, rejected and written, a line each."""
    mapped = ", ".join(
        name if name == source else f"{name} = {source}" for name, source in found.mapped.items()
    )
    lines = [f"read: {read}", f"mapped: {mapped}"]
    if found.left_out:
        lines.append(f"left out: {count_and_name(found.left_out, 'columns')}")
    if found.rejections:
        rows = [f"{rejection.origin}, {rejection.detail}" for rejection in found.rejections]
        lines.append(f"rejected: {count_and_name(rows, 'rows')}")
    lines.append(f"runs: {found.runs.report.summary()}")
    return lines + [f"caution: {caution}" for caution in found.runs.cautions]


def count_and_name(items: Sequence[str], what: str) -> str:
    """How many, and the first few."""
    more = ", ..." if len(items) > NAMED else ""
    return f"{len(items)} {what} ({'; '.join(items[:NAMED])}{more})"


def show_progress(files: Sequence[Path], doing: str) -> Iterable[Path]:
    """Pass files on, with a bar on stderr where that is a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(
        files, description=doing, console=console, transient=True, disable=not console.is_terminal
    )
