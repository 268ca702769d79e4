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
from fitting.intervals import ends_of
from fitting.laws.evaluate import distance_squared, evaluate_law, law_log_sd
from fitting.laws.forms import FORMS
from fitting.laws.law import Law
from fitting.laws.surface import best_point, log_penalty, surface_from

if TYPE_CHECKING:
    from pathlib import Path

    from fitting.laws.law import Quantity

BOUNDS = {"params": (1e3, 1e15), "tokens": (1e3, 1e18), "lr": (1e-12, 10.0)}
"""What a run can be; beyond it numbers overflow."""

HIGHEST_PENALTY = 50.0
"""ln penalty above which a surface says nothing but that the run diverges."""

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
    from fitting.files import read_table
    from fitting.runs.table import convert_number, join_problems

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
    if not len(table):
        raise InputError(f"{path}: has no rows; give one a run")
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
        check_row(row, where=f"{path} row {number}")
        rows.append(row)
    return rows


def check_row(row: Mapping[str, float], *, where: str) -> None:
    """Refuse a row that no run can be.

    Raises:
        InputError: the row, the column and its bounds.
    """
    for name, (low, high) in BOUNDS.items():
        if name in row and not low <= row[name] <= high:
            raise InputError(f"{where}, column {name}: {row[name]:g} is not {low:g} to {high:g}")
    if row.get("batch_tokens", 0.0) > row["tokens"]:
        raise InputError(
            f"{where}, column batch_tokens: {row['batch_tokens']:g} is more than the "
            f"{row['tokens']:g} tokens of the run"
        )


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


def cautions_of(law: Law, rows: Sequence[Mapping[str, float]]) -> list[str]:
    """What a reader of the predictions must know of these rows."""
    said = []
    outside = sum(distance_squared(law.range, row) > 0 for row in rows)
    if outside:
        said.append(
            f"{outside} of {len(rows)} rows lie outside the range of {law.name}; their intervals "
            "are wider, and the farther the less they can be trusted"
        )
    if "surface" not in law.quantities and any("lr" in row for row in rows):
        said.append(f"{law.name} has no surface: every row is predicted at its best lr and batch")
    loss = law.quantities["loss"]
    knows_repeats = loss.form == "data-constrained" or any(
        name.startswith("u") for name in loss.coefficients
    )
    repeated = sum(row.get("unique_tokens", row["tokens"]) < row["tokens"] for row in rows)
    if repeated and not knows_repeats:
        said.append(
            f"{repeated} rows repeat data, which {law.name} knows nothing of: they are predicted "
            "as if all tokens were distinct"
        )
    return said


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
    if not math.isfinite(level) or log_paid > HIGHEST_PENALTY:
        raise InputError(
            f"{law.name}: foretells no finite loss at {params:.3g} params, {tokens:.3g} tokens; "
            "that is too far from its runs"
        )
    value = level * math.exp(log_paid)
    if variance is None:
        return Prediction(value, None, None)
    return Prediction(value, *ends_of(value, math.sqrt(variance)))


def level_variance(loss: Quantity, law: Law, point: Mapping[str, float]) -> float | None:
    """Variance of ln loss at the best lr and batch; None where the law does not say."""
    known = law_log_sd(loss, point)
    if known is None and loss.scatter is None:
        return None
    form = (loss.form_log_sd or 0.0) ** 2 * distance_squared(law.range, point)
    return (known or 0.0) ** 2 + (loss.scatter or 0.0) ** 2 + form
