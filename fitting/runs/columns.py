"""The columns of the runs table: what each means, its unit and the values it may hold.

One row is one training run. `fitting.runs.table` reads, checks and writes the table; a column that
is not listed here is carried along unchecked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

REQUIRED = ("params", "tokens", "loss")
"""Columns that every runs table has; enough for a loss law."""

TUNING = ("lr", "batch_tokens")
"""Columns that learning-rate and batch laws need besides."""

STATUSES = ("finished", "diverged", "failed", "pruned")
"""What a run's `status` may say; an empty one counts as finished."""

SMALLEST_COUNT = 1000.0
"""Params or tokens below this are counted in millions or billions, not singly. *Assumed.*"""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the runs table."""

    meaning: str
    """What it holds, with its unit."""
    text: bool = False
    """Text, not a number."""
    low: float = -math.inf
    """Lowest value, itself allowed if `low_allowed`."""
    low_allowed: bool = False
    below: float = math.inf
    """Values must be below this."""
    finite: bool = True
    """Whether infinity is refused; an empty cell is NaN and means unknown."""

    def problem(self, value: float) -> str | None:
        """What is wrong with `value`, or None."""
        if value < self.low or (value == self.low and not self.low_allowed):
            return f"{value:g} is not {'at least' if self.low_allowed else 'above'} {self.low:g}"
        if not math.isinf(value) and value >= self.below:
            return f"{value:g} is not below {self.below:g}"
        if math.isinf(value) and self.finite:
            return f"{value:g} is not finite"
        return None


def above_zero(meaning: str) -> Column:
    """A finite number above 0."""
    return Column(meaning, low=0.0)


def at_least_zero(meaning: str) -> Column:
    """A finite number of 0 or more."""
    return Column(meaning, low=0.0, low_allowed=True)


def text(meaning: str) -> Column:
    """A column of text."""
    return Column(meaning, text=True)


def probe(meaning: str) -> Column:
    """A measured number that a diverging run may drive to infinity."""
    return Column(meaning, finite=False)


COLUMNS: dict[str, Column] = {
    "run_id": text("name of the run, one row each"),
    "params": above_zero("weights but embeddings, positions and output head, count"),
    "tokens": above_zero("training tokens, repeats included, count"),
    "loss": Column("final loss, nats per token", low=0.0, finite=False),
    "lr": above_zero("peak learning rate of a group whose multiplier is 1"),
    "batch_tokens": above_zero("batch, tokens"),
    "weight_decay": at_least_zero("base weight decay, decoupled, times lr"),
    "warmup_tokens": at_least_zero("warmup, tokens"),
    "schedule": text("learning-rate schedule"),
    "optimizer": text("optimizer; empty counts as adamw"),
    "beta1": Column("Adam's beta1", low=0.0, low_allowed=True, below=1.0),
    "beta2": Column("Adam's beta2", low=0.0, low_allowed=True, below=1.0),
    "parametrization": text("sp, mup or completep; empty counts as sp"),
    "base_d_model": above_zero("width at which every muP multiplier is 1"),
    "base_n_layers": above_zero("layers at which every CompleteP multiplier is 1"),
    "base_head_dim": above_zero("head width at which muP's attention is 1/sqrt(head width)"),
    "init_std": above_zero("base standard deviation of the initial weights; empty under mup: 0.02"),
    "head_init_std": above_zero("that of the output head; empty for init_std"),
    "embedding_multiplier": above_zero("on the embedding's output; empty under mup counts as 1"),
    "d_model": above_zero("width"),
    "n_layers": above_zero("layers"),
    "d_ff": above_zero("width of the feed-forward layer"),
    "vocab_size": above_zero("vocabulary, count"),
    "seq_len": above_zero("sequence length, tokens"),
    "flops": above_zero("training FLOPs, 6 params tokens"),
    "unique_tokens": above_zero("distinct training tokens, count"),
    "total_params": above_zero("all weights, tied ones once, count"),
    "seed": Column("seed of the run"),
    "loss_se": at_least_zero("standard error of the loss, nats per token"),
    "status": text(" | ".join(STATUSES)),
    "corpus": text("text and tokenizer, by any name; runs of two are not pooled"),
    "group": text("free name of a set of runs"),
    "max_attention_logit": probe("largest attention logit"),
    "attention_entropy": probe("mean attention entropy, nats"),
    "output_log_z": probe("log partition function of the output"),
    "grad_rms": probe("root mean square of the gradient"),
    "loss_at_init": probe("loss before the first step, nats per token"),
    "noise_scale_tokens": probe("gradient noise scale, tokens"),
    "top_singular_value": probe("largest singular value of a weight matrix"),
}
"""Every column that means something, in the order they are written."""

TEXT = tuple(name for name, column in COLUMNS.items() if column.text)
"""Columns held as text."""


def runs_schema() -> dict[str, Any]:
    """The JSON schema of a runs table as a list of rows, one a run, with each column's meaning.

    An unknown value is null or left out; a null loss is that of a run that diverged. Columns of
    one's own are carried along.
    """
    from fitting.laws.schema import DRAFT

    return {
        "$schema": DRAFT,
        "title": "runs table",
        "description": "Rows of a runs table (CSV or Parquet), one training run each.",
        "type": "array",
        "items": {
            "type": "object",
            "properties": {name: _column_schema(name, column) for name, column in COLUMNS.items()},
            "required": list(REQUIRED),
        },
    }


def _column_schema(name: str, column: Column) -> dict[str, Any]:
    """One column: its type, its bounds, its meaning."""
    known = name in REQUIRED and column.finite
    kind = "string" if column.text else "number"
    found: dict[str, Any] = {"description": column.meaning}
    found["type"] = kind if known else [kind, "null"]
    if name == "status":
        found["enum"] = [*STATUSES, "", None]
    if column.low > -math.inf:
        found["minimum" if column.low_allowed else "exclusiveMinimum"] = column.low
    if column.below < math.inf:
        found["exclusiveMaximum"] = column.below
    return found
