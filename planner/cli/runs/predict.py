"""`plan predict`: the loss that a law file foretells for each row of a table."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fitting.units import format_count, format_small

if TYPE_CHECKING:
    from fitting.fit.predict import Prediction

EXAMPLES = """Examples:

plan predict mine.toml planned.csv

plan predict mine.toml runs.parquet --json"""

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich", epilog=EXAMPLES
)


@app.command(epilog=EXAMPLES)
def predict(
    laws: Annotated[Path, typer.Argument(metavar="LAWS.toml", help="From plan fit --out.")],
    runs: Annotated[Path, typer.Argument(metavar="RUNS", help="CSV or Parquet; no loss needed.")],
    as_json: Annotated[
        bool, typer.Option("--json", help='A line a row: {"loss", "low", "high"}.')
    ] = False,
) -> None:
    """Predict the loss of each run of a table from a law file.

    Rows with lr and batch_tokens are predicted there, others at their best.
    """
    from fitting.fit.predict import cautions_of, predict_runs, read_rows
    from fitting.laws.file import read_law

    law, rows = read_law(laws), read_rows(runs)
    found = predict_runs(law, rows)
    for caution in cautions_of(law, rows):
        print("warning:", caution, file=sys.stderr)
    if as_json:
        for prediction in found:
            print(json.dumps(asdict(prediction)))
    else:
        print_table(rows, found)


def print_table(rows: Sequence[Mapping[str, float]], found: Sequence[Prediction]) -> None:
    """The rows with their predictions."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    repeats = any("unique_tokens" in row for row in rows)
    unique = ("unique",) if repeats else ()
    for name in ("params", "tokens", *unique, "lr", "batch", "loss", "80% interval"):
        table.add_column(name, justify="right", no_wrap=True)
    for row, prediction in zip(rows, found, strict=True):
        tuned = "lr" in row
        ends = "unknown"
        if prediction.low is not None and prediction.high is not None:
            ends = f"{prediction.low:.3f} to {prediction.high:.3f}"
        table.add_row(
            format_count(row["params"]),
            format_count(row["tokens"]),
            *([format_count(row.get("unique_tokens", row["tokens"]))] if repeats else []),
            format_small(row["lr"]) if tuned else "best",
            format_count(row["batch_tokens"]) if tuned else "best",
            f"{prediction.loss:.3f}",
            ends,
        )
    Console(highlight=False, markup=False).print(table)
