"""The loss that a law file foretells for any run, also off its best lr and batch.

    loss = L(N, D, U) (1 + q(N, D, lr, B)) / (1 + q*(N, D))

L is the law's loss at the best lr and batch, q its surface and q* the least of q. The variance of
ln loss is that of L (coefficients, scatter, and form times distance to the law's range), plus the
surface's own scatter, plus (share of the penalty paid)^2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fitting.errors import InputError
from fitting.forms import FORMS
from fitting.laws import Law, distance_squared, evaluate_law, law_log_sd
from fitting.surface import best_point, log_penalty, surface_from
from fitting.surface_interval import Z80

if TYPE_CHECKING:
    from pathlib import Path

    from fitting.laws import Quantity

REQUIRED = ("params", "tokens")
"""What every row must say."""

OPTIONAL = ("unique_tokens", "lr", "batch_tokens")
"""What a row may say; lr and batch together or not at all."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The foretold loss of one run."""

    loss: float
    """Nats per token."""
    low: float | None
    """Lower end of the 80% interval; None where the law does not say how well it is known."""
    high: float | None


def read_rows(path: Path) -> list[dict[str, float]]:
    """What each row of a CSV or Parquet file says of a run, in order; no loss is needed.

    Raises:
        InputError: the file cannot be read, or a row lacks params or tokens, or a value is bad.
    """
    from fitting.runs import convert_number, join_problems
    from fitting.table_files import read_table

    table = read_table(path)
    missing = [name for name in REQUIRED if name not in table]
    if missing:
        there = ", ".join(map(str, table.columns))
        raise InputError(f"{path}: column {', '.join(missing)} missing, it has {there}")
    names = [name for name in (*REQUIRED, *OPTIONAL) if name in table]
    problems: list[str] = []
    columns = {}
    for name in names:
        columns[name], found = convert_number(table[name], name)
        problems += [f"{path} row {row}, column {name}: {what}" for row, what in found]
    if problems:
        raise InputError(join_problems(problems))
    rows = []
    for place, number in enumerate(table.index):
        given = {name: float(columns[name].iloc[place]) for name in names}
        row = {name: value for name, value in given.items() if not math.isnan(value)}
        if ("lr" in row) != ("batch_tokens" in row):
            has, lacks = ("lr", "batch_tokens") if "lr" in row else ("batch_tokens", "lr")
            raise InputError(
                f"{path} row {number}: has {has} and no {lacks}; give both, or neither for the "
                "best of them"
            )
        rows.append(row)
    return rows


def predict_runs(law: Law, rows: Sequence[Mapping[str, float]]) -> list[Prediction]:
    """The foretold loss of each row, in order.

    Args:
        law: a law file with `[loss]`, and `[surface]` for rows with lr and batch.
        rows: params and tokens, > 0; optionally unique_tokens, and lr with batch_tokens.

    Raises:
        InputError: the law gives no loss, or needs what the rows lack.
        FitError: its surface has no optimum.
    """
    loss = law.quantities.get("loss")
    if loss is None:
        raise InputError(f"{law.name}: gives no loss; use a law file with [loss] from plan fit")
    return [predict_run(law, loss, row) for row in rows]


def predict_run(law: Law, loss: Quantity, row: Mapping[str, float]) -> Prediction:
    """The foretold loss of one run."""
    params, tokens = row["params"], row["tokens"]
    point = {**row, "unique_tokens": min(row.get("unique_tokens", tokens), tokens)}
    level = evaluate_law(loss, point)
    if level is None:
        needs = ", ".join(sorted(FORMS[loss.form].needs(loss.coefficients) - point.keys()))
        raise InputError(f"{law.name}: its loss needs {needs or 'a form that gives values'}")
    variance = level_variance(loss, law, point)
    log_paid = 0.0
    surface = law.quantities.get("surface")
    if surface is not None and "lr" in row:
        shape = surface_from(surface)
        lr, batch_tokens = best_point(shape, params, tokens)
        size = {"params": params, "tokens": tokens}
        least = log_penalty(shape, **size, lr=lr, batch_tokens=batch_tokens)
        here = log_penalty(shape, **size, lr=row["lr"], batch_tokens=row["batch_tokens"])
        log_paid = here - least
        if variance is not None:
            variance += (surface.scatter or 0.0) ** 2
            variance += ((surface.penalty_scatter or 0.0) * log_paid) ** 2
    value = level * math.exp(log_paid)
    if variance is None:
        return Prediction(value, None, None)
    half = math.exp(Z80 * math.sqrt(variance))
    return Prediction(value, value / half, value * half)


def level_variance(loss: Quantity, law: Law, point: Mapping[str, float]) -> float | None:
    """Variance of ln loss at the best lr and batch; None where the law does not say."""
    known = law_log_sd(loss, point)
    if known is None and loss.scatter is None:
        return None
    form = (loss.form_log_sd or 0.0) ** 2 * distance_squared(law.range, point)
    return (known or 0.0) ** 2 + (loss.scatter or 0.0) ** 2 + form
