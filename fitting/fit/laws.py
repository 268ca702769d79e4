"""Fit all laws of one table of runs: surface, lr, batch, weight decay and loss, with their audit.

`fit_laws` reads what the table can tell and says what it cannot. The surface is fitted with a
free level for each (params, tokens) cell; lr and batch are read off its optimum; the loss law is
fitted to the levels at the optimum; the audit leaves each corner out in turn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fitting.cells.spline import Optimum, measured_optima
from fitting.errors import FitError, InputError
from fitting.fit.audit import Audit, audit_surface, form_spread, missed_by, take
from fitting.fit.bend import Bend, find_bends
from fitting.fit.doubts import doubts_of, low_outliers
from fitting.fit.enough import (
    check_tuned,
    schedule_notes,
    together_notes,
    tuned_columns,
    unused_notes,
    varies,
    wants_default_prior,
)
from fitting.fit.levels import SEED, fit_level, fit_level_law, penalty_scatter
from fitting.fit.result import FittedLaws, PriorShare
from fitting.fit.weight_decay import fit_timescale
from fitting.laws.evaluate import evaluate_law
from fitting.laws.law import Law, Quantity, Range
from fitting.runs.columns import TUNING
from fitting.runs.setting import Group, require_one_group
from fitting.runs.table import Runs
from fitting.surface.fit import Effort, SurfaceFit, fit_surface, power_laws
from fitting.surface.line import Line, share_of
from fitting.surface.prior import line_from_law, mup_line
from fitting.surface.solver import Runs as Columns
from fitting.units import format_count, format_small

if TYPE_CHECKING:
    import pandas as pd

AUDIT_BOOTSTRAPS = 60
"""Refits behind the intervals of an audit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TunedLaws:
    """What tuned runs tell beside the surface itself."""

    lr: Quantity
    batch_tokens: Quantity
    weight_decay: Quantity | None
    optima: tuple[Optimum, ...]
    audits: tuple[Audit, ...]
    bends: tuple[Bend, ...]
    notes: tuple[str, ...]


def fit_laws(
    runs: Runs,
    *,
    prior: Law | None = None,
    target: tuple[float, float] | None = None,
    progress: Callable[[str], None] = lambda message: None,
) -> FittedLaws:
    """Fit every law that a table of runs can tell.

    Args:
        runs: one parametrization, optimizer and corpus.
        prior: a law whose lr and batch, widened for another setting, are combined with the
            runs; None for the runs alone.
        target: params and tokens that the fit is for; near cells then count for more.
        progress: called with what is being done.

    Raises:
        InputError: the table mixes parametrizations, optimizers or corpora, or the prior does
            not fit.
        FitError: nothing at all can be fitted.
    """
    group = require_one_group(runs)
    line = prior_line(prior, group)
    notes = [*runs.cautions, *unused_notes(runs), *schedule_notes(runs)]
    surface = tuned = None
    progress("fitting the surface")
    try:
        check_tuned(runs, with_prior=prior is not None)
        columns, left_out = without_low_outliers(tuned_columns(runs))
        effort = Effort(bootstraps=affordable_bootstraps(len(columns.loss)), seed=SEED)
        surface = fit_surface(columns, line_prior=line, target=target, effort=effort)
        notes += left_out
        tuned = fit_tuned(runs, columns, surface, line=line, progress=progress)
        notes += tuned.notes
    except FitError as error:
        # A table without those columns has a caution that says as much.
        if set(TUNING) <= set(runs.table.columns):
            notes.append(f"no law of lr and batch: {error}")
    progress("fitting the loss law")
    # Coefficients that the runs leave open may overflow; `sound` refuses them.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        loss, note = fit_level_law(runs, surface)
    notes += [note] if note else []
    if surface is None and loss is None:
        raise FitError("runs: " + "; ".join(note for note in notes if note.startswith("no ")))
    return FittedLaws(
        group=group,
        surface=surface,
        penalty_scatter=None if surface is None else penalty_scatter(columns, surface),
        lr=None if tuned is None else tuned.lr,
        batch_tokens=None if tuned is None else tuned.batch_tokens,
        weight_decay=None if tuned is None else tuned.weight_decay,
        loss=loss,
        loss_spread=None if tuned is None else missed_by(tuned.audits, "loss"),
        optima=() if tuned is None else tuned.optima,
        audits=() if tuned is None else tuned.audits,
        bends=() if tuned is None else tuned.bends,
        prior=None if surface is None else prior_share(surface, prior, group),
        target=target,
        doubts=() if surface is None else tuple(doubts_of(columns, surface)),
        notes=tuple(notes),
        runs=runs.report,
        range=range_of(runs, group, tuned=surface is not None),
    )


def without_low_outliers(columns: Columns) -> tuple[Columns, list[str]]:
    """The runs without losses implausibly far below their cell's best, and what was left out.

    Such a loss would stand for the cell's best and cost the others their weight.
    """
    low = low_outliers(columns, fit_surface(columns, effort=Effort(bootstraps=0, seed=SEED)))
    if not low.any():
        return columns, []
    where = ", ".join(
        f"{format_count(params)}:{format_count(tokens)} lr {format_small(lr)}"
        for params, tokens, lr in zip(
            columns.params[low][:3], columns.tokens[low][:3], columns.lr[low][:3], strict=True
        )
    )
    more = ", ..." if low.sum() > 3 else ""
    return take(columns, ~low), [
        f"{low.sum()} runs left out of lr and batch, their loss implausibly far below their "
        f"cell's best: {where}{more}; check them"
    ]


def affordable_bootstraps(runs: int) -> int:
    """Refits for the covariance: 200, fewer for tables of more than 2,500 runs, 20 at least."""
    return max(20, min(200, 500_000 // max(runs, 1)))


def fit_tuned(
    runs: Runs,
    columns: Columns,
    surface: SurfaceFit,
    *,
    line: Line | None,
    progress: Callable[[str], None],
) -> TunedLaws:
    """Laws of lr, batch and weight decay about a fitted surface, with their audit."""
    progress("auditing: largest params, tokens and compute left out")
    effort = Effort(starts=2, bootstraps=AUDIT_BOOTSTRAPS, seed=SEED)
    audits = audit_surface(columns, line_prior=line, fit_level=fit_level, effort=effort)
    optima = tuple(measured_optima(columns))
    bends = find_bends(optima, surface.surface)
    spread = form_spread(audits, bends)
    lr, batch_tokens = power_laws(surface)
    cliff, notes = find_cliff(runs, lr)
    notes += together_notes(surface.cells)
    weight_decay = None
    if varies(runs, "weight_decay"):
        # Imported here: the optima of cells in three dimensions take seconds.
        from fitting.cells.optimum import find_optima

        progress("finding the best weight decay of each cell")
        weight_decay, said = fit_timescale(find_optima(runs))
        notes += said
    else:
        notes.append(
            "no law of weight decay: it takes fewer than 3 values in every cell; sweep it, or use "
            "a published one"
        )
    return TunedLaws(
        lr=replace(lr, form_log_sd=spread["lr"], cliff=cliff),
        batch_tokens=replace(batch_tokens, form_log_sd=spread["batch_tokens"]),
        weight_decay=weight_decay,
        optima=optima,
        audits=audits,
        bends=bends,
        notes=tuple(notes),
    )


def wants_prior(runs: Runs) -> bool:
    """Whether the default prior applies: AdamW, and runs that say too little alone.

    See `fitting.fit.enough.wants_default_prior`; under muP and CompleteP always, whose prior is
    another (`fitting.surface.prior.mup_line`).

    Raises:
        InputError: the table mixes parametrizations, optimizers or corpora.
    """
    return wants_default_prior(runs, require_one_group(runs))


def prior_line(prior: Law | None, group: Group) -> Line | None:
    """The optimum's line by a law, for the parametrization of the runs.

    Raises:
        InputError: the law gives no lr or no batch, or is of another optimizer.
    """
    if prior is None:
        return None
    missing = {"lr", "batch_tokens"} - prior.quantities.keys()
    if missing:
        raise InputError(f"--prior {prior.name}: gives no {' and no '.join(sorted(missing))}")
    optimizer = prior.range.optimizer or "adamw"
    if optimizer != group.optimizer:
        raise InputError(
            f"--prior {prior.name}: is a law of {optimizer}, the runs are of {group.optimizer}; "
            "use --prior none"
        )
    parts = prior.quantities["lr"], prior.quantities["batch_tokens"]
    return line_from_law(*parts) if same_setting(prior, group) else mup_line(*parts)


def same_setting(prior: Law, group: Group) -> bool:
    """Whether a law was measured in the parametrization of the runs."""
    return group.parametrization == (prior.range.parametrization or "sp")


def prior_share(fit: SurfaceFit, prior: Law | None, group: Group) -> PriorShare | None:
    """How much of the optimum at the largest cell came from the prior."""
    if prior is None or fit.runs_line is None or fit.line is None:
        return None
    params, tokens = (float(x) for x in fit.cells[np.argmax(fit.cells.prod(axis=1))])
    lr, batch_tokens = share_of(fit.runs_line, fit.line, params, tokens)
    return PriorShare(
        name=prior.name,
        carried_to=None if same_setting(prior, group) else group.parametrization,
        params=params,
        tokens=tokens,
        lr=1 - lr,
        batch_tokens=1 - batch_tokens,
    )


def find_cliff(runs: Runs, lr: Quantity) -> tuple[float | None, list[str]]:
    """The lowest multiple of the law's lr, above 1, at which a run diverged; and what is odd."""
    diverged = runs.diverged
    if "lr" not in diverged:
        return None, []
    known = diverged.dropna(subset=["lr"])
    ratios = []
    for params, tokens, tried in known[["params", "tokens", "lr"]].to_numpy().tolist():
        value = evaluate_law(lr, {"params": params, "tokens": tokens})
        assert value is not None
        ratios.append(tried / value)
    above = [ratio for ratio in ratios if ratio > 1]
    below = len(ratios) - len(above)
    said = f"{below} of {len(ratios)} diverged runs had an lr below the law's; look at them"
    return min(above, default=None), [said] if below else []


def range_of(runs: Runs, group: Group, *, tuned: bool) -> Range:
    """The setting of the runs that the laws were fitted to."""
    used = runs.tuned if tuned else runs.finished

    def ends(column: pd.Series) -> list[float]:
        return [float(column.min()), float(column.max())]

    schedules = sorted(set(used["schedule"].dropna())) if "schedule" in used else []
    lengths = sorted(set(used["seq_len"].dropna())) if "seq_len" in used else []
    return Range(
        params=ends(used["params"]),
        tokens=ends(used["tokens"]),
        tokens_per_param=ends(used["tokens"] / used["params"]),
        batch_tokens=ends(used["batch_tokens"]) if tuned else None,
        flops=ends(6 * used["params"] * used["tokens"]),
        optimizer=group.optimizer,
        parametrization=group.parametrization,
        schedule=", ".join(schedules) or None,
        seq_len=int(lengths[0]) if len(lengths) == 1 and math.isfinite(lengths[0]) else None,
        params_meaning="non-embedding",
    )
