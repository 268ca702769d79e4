"""What became of each run: used for its loss, diverged, or rejected with a reason.

A run diverged when its loss is NaN or infinite, its status says so, or its loss is above 1.5
times the best of its (params, tokens) cell. The best must be supported by other runs, so that
one mistyped low loss does not turn a whole cell into diverged runs: it is implausible itself.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd

from fitting.arrays import Floats
from fitting.errors import InputError
from fitting.runs.columns import COLUMNS

DIVERGED_RATIO = 1.5
"""A loss above this many times the best of its cell means divergence (design contract)."""

SAME_TOKENS = 1.01
"""Runs of one params whose tokens differ by less are one cell: tokens is a whole number of
batches, so it moves by up to one batch with the batch. *Assumed.*"""

SUPPORT_FROM = 5
"""Cells with fewer finite losses than this take their lowest as their best. *Assumed.*"""

SUPPORT_SHARE = 0.2
"""Share of a cell's finite losses, and at least two, that must lie within `SUPPORT_BAND` above a
loss that supports them: more than the share of mistyped rows, less than that of sound runs. In
the 36 cells of `lr_batch_runs_to_537M.csv` 90% of the runs are within 6% of the best. *Assumed.*"""

SUPPORT_BAND = 1.1
"""Ratio of losses within which runs support each other. *Assumed.*"""

BELOW_SUPPORT = 1.2
"""How far below the lowest supported loss a best may still lie: coarse grids have one good run.
*Assumed.*"""


class Outcome(StrEnum):
    """What a run is used as."""

    FINISHED = "finished"
    DIVERGED = "diverged"
    FAILED = "failed"
    PRUNED = "pruned"
    IMPLAUSIBLE = "implausible"


REASONS = {
    Outcome.DIVERGED: "diverged",
    Outcome.FAILED: "status failed",
    Outcome.PRUNED: "status pruned",
    Outcome.IMPLAUSIBLE: "loss far below the rest of its cell",
}
"""Why a run's loss is not used."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """One row that is used for nothing."""

    origin: str
    """Where it stood: "runs.csv row 18"."""
    reason: str
    """Kind of reason, by which rejections are counted."""
    detail: str
    """What is said of this row."""


@dataclass(frozen=True, slots=True)
class RunsReport:
    """How many runs were used, and what became of the others."""

    used: int
    """Runs whose loss is used."""
    diverged: int
    """Runs used as information about the cliff alone."""
    rejected: int
    """Rows used for nothing: failed, pruned, duplicate or implausible."""
    rejections: tuple[Rejection, ...]
    """Each rejected row with its reason."""

    @property
    def reasons(self) -> Mapping[str, int]:
        """Rejected rows by reason."""
        return dict(Counter(rejection.reason for rejection in self.rejections))

    def to_dict(self) -> dict[str, Any]:
        """`used`, `diverged`, `rejected` as counts, and `reasons` of the rejected."""
        return {
            "used": self.used,
            "diverged": self.diverged,
            "rejected": self.rejected,
            "reasons": dict(self.reasons),
        }

    def summary(self) -> str:
        """One line of counts; each reason with up to three of its rows."""
        line = f"{self.used} runs used, {self.diverged} diverged, {self.rejected} rejected"
        parts = []
        for reason, count in self.reasons.items():
            rows = [r for r in self.rejections if r.reason == reason]
            named = ", ".join(f"{r.origin}{f' {r.detail}' if r.detail else ''}" for r in rows[:3])
            parts.append(f"{count} {reason}: {named}{', ...' if count > 3 else ''}")
        return line + (f" ({'; '.join(parts)})" if parts else "")


def judge_runs(table: pd.DataFrame, cell: pd.Series[int]) -> pd.Series[str]:
    """The outcome of each row.

    Args:
        table: typed columns; `loss` in nats per token, `status` optional.
        cell: number of each row's (params, tokens) cell.

    Returns:
        A member of `Outcome` for each row. A status of `failed` or `pruned` comes first: such a
        loss is not final.
    """
    status = table["status"] if "status" in table else pd.Series(pd.NA, table.index, dtype="str")
    loss = table["loss"].to_numpy()
    stopped = status.isin([Outcome.FAILED, Outcome.PRUNED]).to_numpy()
    usable = np.isfinite(loss) & ~stopped & ~status.eq(Outcome.DIVERGED).to_numpy(dtype=bool)
    outcome = np.where(usable, str(Outcome.FINISHED), str(Outcome.DIVERGED)).astype(object)
    outcome[stopped] = status[stopped]
    for rows in cell.groupby(cell).indices.values():
        inside = rows[usable[rows]]
        if not len(inside):
            continue
        best = supported_best(loss[inside])
        outcome[inside[loss[inside] > DIVERGED_RATIO * best]] = str(Outcome.DIVERGED)
        outcome[inside[loss[inside] * DIVERGED_RATIO < best]] = str(Outcome.IMPLAUSIBLE)
    return pd.Series(outcome, index=table.index, dtype="str")


def supported_best(loss: Floats) -> float:
    """The lowest loss that other runs make plausible; the lowest of all in a small cell.

    Args:
        loss: finite losses of one cell, nats per token, shape (n,).
    """
    ordered = np.sort(loss)
    if len(ordered) < SUPPORT_FROM:
        return float(ordered[0])
    needed = max(2, math.ceil(SUPPORT_SHARE * len(ordered)))
    close = np.searchsorted(ordered, SUPPORT_BAND * ordered, side="right")
    supported = ordered[close - np.arange(len(ordered)) >= needed]
    if not len(supported):
        return float(ordered[0])
    return float(ordered[ordered * BELOW_SUPPORT >= supported[0]][0])


def assign_cells(table: pd.DataFrame) -> pd.Series[int]:
    """The number of each row's cell, rising with params and tokens.

    Rows of one params are one cell while their tokens are within 1% of the cell's fewest. Where
    `unique_tokens` is there, it must agree too: a run that repeats its data 400 times has a high
    loss and has not diverged.
    """
    unique = table.get("unique_tokens", pd.Series(np.nan, table.index)).fillna(0.0).to_numpy()
    params, tokens = table["params"].to_numpy(), table["tokens"].to_numpy()
    number = np.zeros(len(table), dtype=np.int64)
    current, first = -1, (math.nan, math.nan, math.nan)
    for row in np.lexsort((tokens, unique, params)):
        point = (params[row], unique[row], tokens[row])
        if point[:2] != first[:2] or point[2] > SAME_TOKENS * first[2]:
            current, first = current + 1, point
        number[row] = current
    return pd.Series(number, index=table.index)


def find_duplicates(table: pd.DataFrame, origin: pd.Series[str]) -> list[tuple[int, str]]:
    """Rows that repeat an earlier row, with what to say of each.

    A row repeats another when every known column agrees, `run_id` among them. Rows without a
    `run_id` that agree in everything else, to the last digit of the loss, are one run too.

    Raises:
        InputError: one `run_id` names two rows that differ; which is right cannot be known.
    """
    known = [name for name in COLUMNS if name in table]
    same = table.groupby(known, dropna=False, sort=False).ngroup()
    repeated = same.duplicated()
    first = dict(zip(same[~repeated], origin[~repeated], strict=True))
    found = [
        (int(str(index)), f"repeats {first[number]}") for index, number in same[repeated].items()
    ]
    if "run_id" in table:
        refuse_conflicts(table[~repeated], origin)
    return found


def refuse_conflicts(table: pd.DataFrame, origin: pd.Series[str]) -> None:
    """Refuse a `run_id` that names two different rows.

    Raises:
        InputError: the rows and the id.
    """
    named = table.dropna(subset=["run_id"])
    clash = named[named.duplicated(subset="run_id", keep="first")]
    if not len(clash):
        return
    index, run_id = clash.index[0], clash["run_id"].iloc[0]
    first = named.index[named["run_id"] == run_id][0]
    more = f"; and {len(clash) - 1} more such rows" if len(clash) > 1 else ""
    raise InputError(
        f"{origin[index]}, column run_id: '{run_id}' is also {origin[first]}, which differs; "
        f"give each run its own{more}"
    )


def summarize_runs(
    outcome: pd.Series[str], origin: pd.Series[str], rejected: Sequence[Rejection]
) -> RunsReport:
    """Counts of each outcome, with the rows that are used for nothing."""
    unused = [
        Rejection(place, REASONS[Outcome(what)], "")
        for place, what in zip(origin, outcome, strict=True)
        if what not in {Outcome.FINISHED, Outcome.DIVERGED}
    ]
    rejections = (*rejected, *unused)
    return RunsReport(
        used=int((outcome == Outcome.FINISHED).sum()),
        diverged=int((outcome == Outcome.DIVERGED).sum()),
        rejected=len(rejections),
        rejections=rejections,
    )
