"""`plan predict`: the loss that a law file foretells for each row of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from fitting.units import format_count, format_small
from planner.cli.console import make_console, to_json, warn
from planner.cli.options import OUTPUT, argument, make_app, option

if TYPE_CHECKING:
    from fitting.fit.predict import Prediction

EXAMPLES = """Examples:

plan predict mine.toml planned.csv

plan predict mine.toml runs.parquet --json"""

app = make_app()

LAWS = argument("LAWS.toml", "from plan fit --out")
RUNS = argument("RUNS", "CSV or Parquet; no loss needed")


@app.command(epilog=EXAMPLES)
def predict(
    laws: Path = LAWS,
    runs: Path = RUNS,
    as_json: bool = option(
        OUTPUT, "--json", None, 'a line a row: {"loss", "low", "high"}', default=False
    ),
) -> None:
    """Predict the loss of each run of a table from a law file.

    Rows with lr and batch_tokens are predicted there, others at their best.
    """
    from fitting.fit.predict import cautions_of, predict_runs, read_rows
    from fitting.laws.file import read_law

    law, rows = read_law(laws), read_rows(runs)
    found = predict_runs(law, rows)
    warn(cautions_of(law, rows))
    if as_json:
        for prediction in found:
            print(to_json(asdict(prediction), indent=None))
    else:
        _print_table(rows, found)


def _print_table(rows: Sequence[Mapping[str, float]], found: Sequence[Prediction]) -> None:
    """The rows with their predictions."""
    from rich.box import SIMPLE_HEAD
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
    make_console().print(table)
