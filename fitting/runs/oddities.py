"""What looks odd in a runs table: units that cannot be meant, and data too narrow for a law.

A value that cannot be right is a problem and refused, by row; what is only unlikely is a caution:
what, how much, what to do.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from fitting.runs.columns import SMALLEST_COUNT
from fitting.runs.outcomes import REASONS, Outcome
from fitting.units import format_size

MOST_STEPS = 2e6
"""More steps than any language model was trained for; beyond it, with a batch below
`SMALL_BATCH`, the batch is counted in sequences. The longest run in the published sweep behind
Step Law has 6.1e5 steps (2e10 tokens in batches of 32,768). *Assumed.*"""

SMALL_BATCH = 8192.0
"""Below this a batch may be one counted in sequences."""

ONE_SEQUENCE = 2048.0
"""A batch below the default sequence length is worth a word."""

FEWEST_STEPS = 100.0
"""Fewer steps on the median than this is worth a word."""

WIDE_BATCHES = 1024.0
"""A ratio of batches within a cell that suggests two units in one column."""

FLOPS_TOLERANCE = 0.02
"""Relative difference between `flops` and 6 params tokens (design contract)."""

HIGH_LOSS = 15.0
"""Median loss above which it may be a perplexity: ln(vocabulary) is about 11 nats."""


def find_unit_problems(table: pd.DataFrame) -> list[tuple[int, str]]:
    """Values whose unit must be wrong, by row number, as the end of an error message."""
    problems: list[tuple[int, str]] = []
    for name in ("params", "tokens"):
        small = table[name][table[name] < SMALLEST_COUNT]
        problems += [
            (int(str(row)), f"column {name}: {value:g} is too few for a plain count")
            for row, value in small.items()
        ]
    if "batch_tokens" in table:
        problems += find_batch_problems(table)
    if "warmup_tokens" in table:
        long = table[table["warmup_tokens"] > table["tokens"]]
        problems += [
            (
                int(str(row)),
                f"column warmup_tokens: {warmup:g} is above tokens {total:g}",
            )
            for row, warmup, total in zip(
                long.index, long["warmup_tokens"], long["tokens"], strict=True
            )
        ]
    return problems


def find_batch_problems(table: pd.DataFrame) -> list[tuple[int, str]]:
    """Batches that cannot be a count of tokens, by row number."""
    problems: list[tuple[int, str]] = []
    nan = pd.Series(np.nan, index=table.index)
    seq_len = table.get("seq_len", nan)
    for row, batch, tokens, length in zip(
        table.index, table["batch_tokens"], table["tokens"], seq_len, strict=True
    ):
        where = f"column batch_tokens: {batch:g}"
        if batch > tokens:
            problems.append((row, f"{where} is above tokens {tokens:g}; both count tokens"))
        elif batch < length:
            problems.append(
                (row, f"{where} is less than one sequence of {length:g} tokens; count tokens")
            )
        elif batch < SMALL_BATCH and tokens / batch > MOST_STEPS:
            problems.append(
                (
                    row,
                    f"{where} would make {tokens / batch:.2g} steps, so it counts sequences; "
                    "multiply by the sequence length (plan import --seq-len)",
                )
            )
    return problems


def find_cautions(table: pd.DataFrame, outcome: pd.Series[str], cell: pd.Series[int]) -> list[str]:
    """What a person should look at before trusting a fit of these runs."""
    finished = table[outcome == Outcome.FINISHED]
    if not len(finished):
        return ["no run finished: nothing can be fitted; check the losses and statuses"]
    return [
        *caution_losses(table, outcome),
        *caution_units(finished),
        *caution_breadth(finished, cell[finished.index]),
    ]


def caution_losses(table: pd.DataFrame, outcome: pd.Series[str]) -> list[str]:
    """Losses that are missing, implausibly low, or no nats per token."""
    found = []
    status = table["status"] if "status" in table else pd.Series(pd.NA, table.index, dtype="str")
    silent = int((table["loss"].isna() & status.isna()).sum())
    if silent:
        found.append(
            f"{silent} runs have no loss and no status: counted as diverged; "
            "give status failed to those that only stopped"
        )
    low = int((outcome == Outcome.IMPLAUSIBLE).sum())
    if low:
        found.append(f"{low} runs have a {REASONS[Outcome.IMPLAUSIBLE]}: left out; check them")
    median = float(table["loss"][outcome == Outcome.FINISHED].median())
    if median > HIGH_LOSS:
        found.append(
            f"median loss is {median:.3g}: loss is in nats per token; a perplexity needs its log"
        )
    return found


def caution_units(finished: pd.DataFrame) -> list[str]:
    """Numbers that are unlikely in their unit."""
    found = []
    if "flops" in finished:
        ratio = finished["flops"] / (6 * finished["params"] * finished["tokens"])
        off = int((np.abs(ratio - 1) > FLOPS_TOLERANCE).sum())
        if off:
            found.append(
                f"{off} runs have flops over 2% off 6 params tokens (median ratio "
                f"{ratio.median():.3g}): 6 params tokens is used; check what params counts"
            )
    if "lr" in finished and (finished["lr"] >= 1).any():
        found.append(f"{int((finished['lr'] >= 1).sum())} runs have lr of 1 or more; check it")
    return found + caution_batches(finished)


def caution_batches(finished: pd.DataFrame) -> list[str]:
    """Batches that are unlikely as counts of tokens."""
    if "batch_tokens" not in finished or finished["batch_tokens"].isna().all():
        return []
    found = []
    batch = finished["batch_tokens"]
    if batch.max() < ONE_SEQUENCE:
        found.append(
            f"every batch is below {ONE_SEQUENCE:g}: batch_tokens counts tokens; "
            "use plan import --seq-len if these are sequences"
        )
    steps = float((finished["tokens"] / batch).median())
    if steps < FEWEST_STEPS:
        found.append(f"median run has {steps:.3g} steps: check that batch_tokens counts tokens")
    by_cell = batch.groupby([finished["params"], finished["tokens"]])
    ratio = float((by_cell.max() / by_cell.min()).max())
    if ratio >= WIDE_BATCHES:
        found.append(
            f"batches of one cell differ by a factor {ratio:.4g}: check that all count tokens"
        )
    return found


def caution_breadth(finished: pd.DataFrame, cell: pd.Series[int]) -> list[str]:
    """Data too narrow for a law."""
    found = []
    if cell.nunique() == 1:
        params, tokens = finished["params"].iloc[0], finished["tokens"].iloc[0]
        found.append(
            f"all runs share one cell ({format_size(params, tokens)}): no law over size; add a size"
        )
    if not {"lr", "batch_tokens"} <= set(finished.columns):
        return [*found, "no lr and batch_tokens: these runs are fitted for the loss alone"]
    silent = int(finished[["lr", "batch_tokens"]].isna().any(axis="columns").sum())
    if silent:
        found.append(f"{silent} runs have no lr or batch_tokens: used for the loss alone")
    for name in ("lr", "batch_tokens"):
        if finished[name].nunique() == 1:
            found.append(f"all runs share one {name}, {finished[name].iloc[0]:g}: no law for it")
    return found
