"""`plan import`: other tools' runs to a runs table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fitting.files import check_output
from planner.cli.console import make_console
from planner.cli.options import OUTPUT, REPLACE, argument, make_app, option

if TYPE_CHECKING:
    from fitting.runs.importing import Import

NAMED = 3
"""Rejected rows and columns left out that are spelt out; the rest are counted."""

EXAMPLES = """Examples:

plan import sweep.csv --map lr=learning_rate,batch_tokens=bs --seq-len 2048 -o runs.csv

plan import mlruns --map loss=eval/loss -o runs.parquet"""

app = make_app()

_READ = "Reading"
SOURCE = argument("FILE", "file, folder or database URL of the runs")
OUT = option(OUTPUT, "--out", "RUNS", "runs table, .csv or .parquet", short="-o", default=...)
COLUMNS = option(
    _READ,
    "--map",
    "NAME=SOURCE,...",
    "columns of the runs table and what gives them: a column, or a number for every run; "
    "steps=SOURCE gives tokens as steps x batch",
    default="",
)


@app.command(epilog=EXAMPLES)
def import_runs(
    source: str = SOURCE,
    out: Path = OUT,
    columns: str = COLUMNS,
    seq_len: float | None = option(
        _READ, "--seq-len", "TOKENS", "the batch counts sequences of this length; default: tokens"
    ),
    kind: str | None = option(
        _READ, "--from", "TOOL", "csv, wandb, tensorboard, optuna, mlflow; default: by the content"
    ),
    force: bool = REPLACE,
) -> None:
    """Import runs from a CSV, W&B, TensorBoard, Optuna or MLflow.

    Writes RUNS and prints what was read, mapped, left out and rejected.
    """
    from fitting.runs.importing import import_table, parse_mapping
    from fitting.runs.readers import read_source
    from fitting.runs.table import write_runs

    mapping = parse_mapping(columns)
    check_output(out, read=[], force=force)
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
    from rich.progress import track

    console = make_console(stderr=True)
    return track(
        files, description=doing, console=console, transient=True, disable=not console.is_terminal
    )
