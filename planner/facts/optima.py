"""Published tuned sweeps: what was best, not merely what was run.

One row an optimum: of a cell of a sweep, or of a law that summarises one, at a size it was fitted
on. `tuned` names the values that are optima; the others are what they were tuned at.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from fitting.errors import InputError
from fitting.laws.evaluate import evaluate_law
from fitting.laws.law import Law
from planner.facts.anchor import Anchor, make_anchor, own_errors
from planner.facts.recipes import number_or_none, whole_or_none

OPTIMA_FILE = "optima.csv"
"""In the data folder of the package."""

MUON_SCALE = 0.2
"""Of Moonshot's update, 0.2 sqrt(max(rows, columns)) of an orthogonal matrix (arXiv 2502.16982)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """One published optimum; None where its source does not say."""

    run: str
    lab: str
    """Who tuned it; labs are held out whole."""
    setup: str
    """One corpus, trainer and optimizer of a lab."""
    params: float
    tokens: float
    lr: float | None
    """Peak, in this planner's terms: Muon's with Moonshot's update, muP's at the base width."""
    batch_tokens: float | None
    weight_decay: float | None
    loss: float | None
    """Final, nats per token, in its own tokenizer and data."""
    tuned: frozenset[str]
    """Which of lr, batch_tokens and weight_decay are optima."""
    optimizer: str
    parametrization: str
    d_model: int | None
    base_d_model: int | None
    law: str
    """The law whose point it is, where a law summarises a sweep; else empty."""
    evidence: str
    source: str

    def as_anchor(self) -> Anchor:
        """The optimum as an anchor, with the error of a grid of factors of two.

        Raises:
            InputError: it has no lr.
        """
        if self.lr is None:
            raise InputError(f"{self.run}: has no lr, which an anchor needs")
        errors = own_errors(
            2.0, batch_tokens=self.batch_tokens, weight_decay=self.weight_decay, loss=None
        )
        return make_anchor(
            self.run,
            params=self.params,
            tokens=self.tokens,
            lr=self.lr,
            batch_tokens=self.batch_tokens,
            weight_decay=self.weight_decay,
            optimizer=self.optimizer,
            parametrization=self.parametrization,
            d_model=self.d_model,
            base_d_model=self.base_d_model,
            log_sd={name: errors[name] for name in sorted(self.tuned)},
        )


def read_tuned(book: Mapping[str, Law]) -> list[Tuned]:
    """All published optima, in the file's order.

    Args:
        book: the law book, for rows that are points of a law.

    Raises:
        InputError: a row of the file does not hold an optimum.
    """
    # By name, since mypy does not know the mapped package; as in `planner.facts.recipes`.
    path = Path(import_module("planner.data").__path__[0]) / OPTIMA_FILE
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        return [parse_row(row, book, where=f"{OPTIMA_FILE} line {rows.line_num}") for row in rows]


def parse_row(row: dict[str, str], book: Mapping[str, Law], *, where: str) -> Tuned:
    """A row of the file as an optimum.

    Raises:
        InputError: a column is missing or is not a number where it must be.
    """
    try:
        params, tokens = float(row["params"]), float(row["tokens"])
        lr, batch = number_or_none(row["lr"]), number_or_none(row["batch_tokens"])
        d_model = whole_or_none(row["d_model"])
        if row["law"]:
            lr, batch = law_point(book[row["law"]], params, tokens, row["tuned"].split())
        if row["update"] == "original" and lr is not None and d_model is not None:
            lr /= MUON_SCALE * math.sqrt(d_model)
        decay = number_or_none(row["weight_decay"])
        return Tuned(
            params=params,
            tokens=tokens,
            lr=lr,
            batch_tokens=batch,
            weight_decay=moved_decay(decay, row["update"], d_model),
            loss=number_or_none(row["loss"]),
            tuned=frozenset(row["tuned"].split()),
            d_model=d_model,
            base_d_model=whole_or_none(row["base_d_model"]),
            **{name: row[name] for name in TEXT_COLUMNS},
        )
    except KeyError as error:
        raise InputError(f"{where}: has no column or law {error.args[0]}") from error
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error


TEXT_COLUMNS = ("run", "lab", "setup", "law", "optimizer", "parametrization", "evidence", "source")
"""Columns that hold words."""


def moved_decay(decay: float | None, update: str, d_model: int | None) -> float | None:
    """A weight decay whose product with the lr is kept; 0 has no logarithm and counts as none."""
    if not decay:
        return None
    if update == "original" and d_model is not None:
        return decay * MUON_SCALE * math.sqrt(d_model)
    return decay


def law_point(
    law: Law, params: float, tokens: float, names: list[str]
) -> tuple[float | None, float | None]:
    """A law's lr and batch at one size, those of `names`; C is 6 N D."""
    flops = 6 * params * tokens
    at = {"params": params, "tokens": tokens, "model_flops": flops, "model_flops_causal": flops}
    lr, batch = (
        evaluate_law(law.quantities[name], at) if name in names else None
        for name in ("lr", "batch_tokens")
    )
    return lr, batch
