"""All laws of one table of runs: surface, lr, batch, weight decay and loss, with their audit.

`fit_laws` reads what the table can tell and says what it cannot. The surface is fitted with a
free level for each (params, tokens) cell; lr and batch are read off its optimum; the loss law is
fitted to the levels at the optimum; the audit leaves each corner out in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fitting.audit import Audit, audit_surface, form_spread
from fitting.bend import Bend, find_bends
from fitting.cells import CellOptimum, find_optima
from fitting.errors import FitError, InputError
from fitting.groups import Group, require_one_group
from fitting.laws import Law, Quantity, Range
from fitting.loss_fit import fit_loss
from fitting.loss_report import LossFit
from fitting.runs import Runs
from fitting.surface import best_point, log_penalty
from fitting.surface_fit import Effort, SurfaceFit, fit_surface, power_laws
from fitting.surface_interval import Z80
from fitting.surface_line import Line, share_of
from fitting.surface_prior import line_from_law, mup_line
from fitting.surface_solver import Floats
from fitting.surface_solver import Runs as Columns
from fitting.timescale import fit_timescale

if TYPE_CHECKING:
    import pandas as pd

    from fitting.outcomes import RunsReport

FEW_RUNS = 100
"""Tuned runs below which a table alone says too little for a prior to be left out; assumed."""

A_DECADE = 10.0
"""Span of params below which exponents of N are mostly the prior's."""

AUDIT_BOOTSTRAPS = 60
"""Refits behind the intervals of an audit."""

FEW_PERCENT, MANY_PERCENT = 0.02, 0.10
"""Range of ln penalty over which its relative error is measured."""

SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorShare:
    """How much of what is known of the optimum came from a prior law."""

    name: str
    lr: float
    """Share at the largest cell, in [0, 1]."""
    batch_tokens: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FittedLaws:
    """What a table of runs says; None where it says nothing, with the reason in `notes`."""

    group: Group
    """Parametrization and optimizer of the runs."""
    surface: SurfaceFit | None
    penalty_scatter: float | None
    """Standard deviation of ln loss as a share of what leaving the optimum costs."""
    lr: Quantity | None
    batch_tokens: Quantity | None
    weight_decay: Quantity | None
    loss: LossFit | None
    optima: tuple[CellOptimum, ...]
    """Of each cell by itself, without a law."""
    audits: tuple[Audit, ...]
    bends: tuple[Bend, ...]
    """Where the optimum bends in log-log."""
    prior: PriorShare | None
    target: tuple[float, float] | None
    notes: tuple[str, ...]
    """What could not be fitted and why, and what looks odd."""
    runs: RunsReport
    range: Range


def fit_laws(
    runs: Runs,
    *,
    prior: Law | None = None,
    target: tuple[float, float] | None = None,
    progress: Callable[[str], None] = lambda message: None,
) -> FittedLaws:
    """Fit every law that a table of runs can tell.

    Args:
        runs: one parametrization and optimizer.
        prior: a law whose lr and batch, widened for another setting, are combined with the
            runs; None for the runs alone.
        target: params and tokens that the fit is for; near cells then count for more.
        progress: called with what is being done.

    Raises:
        InputError: the table mixes parametrizations or optimizers, or the prior does not fit.
        FitError: nothing at all can be fitted.
    """
    group = require_one_group(runs)
    notes = list(runs.cautions)
    columns = tuned_columns(runs)
    progress("fitting the surface")
    surface, line = None, None
    try:
        line = prior_line(prior, group)
        surface = fit_surface(columns, line_prior=line, target=target)
    except FitError as error:
        notes.append(f"no law of lr and batch: {error}")
    lr = batch_tokens = weight_decay = None
    audits: tuple[Audit, ...] = ()
    bends: tuple[Bend, ...] = ()
    optima: tuple[CellOptimum, ...] = ()
    if surface is not None:
        progress("auditing: largest params, tokens and compute left out")
        audits = audit_surface(
            columns,
            line_prior=line,
            fit_level=fit_level,
            effort=Effort(starts=2, bootstraps=AUDIT_BOOTSTRAPS, seed=SEED),
        )
        bends = find_bends(columns, surface)
        spread = form_spread(audits, bends)
        lr, batch_tokens = (
            with_spread(quantity, spread[name])
            for quantity, name in zip(power_laws(surface), ("lr", "batch_tokens"), strict=True)
        )
        progress("finding the optimum of each cell")
        optima = tuple(find_optima(runs))
        weight_decay, note = fit_timescale(optima)
        notes += [note] if note else []
    progress("fitting the loss law")
    loss, note = fit_level_law(runs, surface)
    notes += [note] if note else []
    if surface is None and loss is None:
        raise FitError("runs: " + "; ".join(notes))
    return FittedLaws(
        group=group,
        surface=surface,
        penalty_scatter=None if surface is None else penalty_scatter(columns, surface),
        lr=lr,
        batch_tokens=batch_tokens,
        weight_decay=weight_decay,
        loss=loss,
        optima=optima,
        audits=audits,
        bends=bends,
        prior=None if surface is None else prior_share(surface, prior),
        target=target,
        notes=tuple(notes),
        runs=runs.report,
        range=range_of(runs, group),
    )


def wants_prior(runs: Runs) -> bool:
    """Whether the default prior applies: few runs, or params spanning less than a decade.

    Only to AdamW, under SP and under muP and CompleteP (whose prior is another: see
    `fitting.surface_prior.mup_line`), for nothing is published of the others.
    """
    group = require_one_group(runs)
    if group.optimizer != "adamw":
        return False
    tuned = runs.tuned
    if len(tuned) == 0:
        return False
    span = float(tuned["params"].max() / tuned["params"].min())
    return group.parametrization != "sp" or len(tuned) < FEW_RUNS or span < A_DECADE


def prior_line(prior: Law | None, group: Group) -> Line | None:
    """The optimum's line by a law, for the parametrization of the runs.

    Raises:
        InputError: the law gives no lr or no batch.
    """
    if prior is None:
        return None
    missing = {"lr", "batch_tokens"} - prior.quantities.keys()
    if missing:
        raise InputError(f"--prior {prior.name}: gives no {' and no '.join(sorted(missing))}")
    parts = prior.quantities["lr"], prior.quantities["batch_tokens"]
    measured_in = prior.range.parametrization or "sp"
    return line_from_law(*parts) if group.parametrization == measured_in else mup_line(*parts)


def prior_share(fit: SurfaceFit, prior: Law | None) -> PriorShare | None:
    """How much of the optimum at the largest cell came from the prior."""
    if prior is None or fit.runs_line is None or fit.line is None:
        return None
    params, tokens = fit.cells[np.argmax(fit.cells.prod(axis=1))]
    lr, batch_tokens = share_of(fit.runs_line, fit.line, float(params), float(tokens))
    return PriorShare(name=prior.name, lr=1 - lr, batch_tokens=1 - batch_tokens)


def tuned_columns(runs: Runs) -> Columns:
    """Finished runs with lr and batch, as the surface takes them."""
    tuned = runs.tuned
    if len(tuned) == 0:
        empty = np.empty(0)
        return Columns(empty, empty, empty, empty, empty)
    # Tokens within 1% are one cell; the surface tells cells apart by their exact numbers.
    tokens = tuned.groupby(runs.cell[tuned.index])["tokens"].transform("median")
    named = {name: tuned[name].to_numpy(dtype=np.float64) for name in ("params", "lr", "loss")}
    return Columns(
        params=named["params"],
        tokens=tokens.to_numpy(dtype=np.float64),
        lr=named["lr"],
        batch_tokens=tuned["batch_tokens"].to_numpy(dtype=np.float64),
        loss=named["loss"],
    )


def log_levels(fit: SurfaceFit) -> Floats:
    """ln loss of each cell at the surface's optimum, shape (cells,)."""
    found = []
    for (params, tokens), offset in zip(fit.cells.tolist(), fit.offsets, strict=True):
        lr, batch_tokens = best_point(fit.surface, params, tokens)
        found.append(
            offset
            + log_penalty(
                fit.surface, params=params, tokens=tokens, lr=lr, batch_tokens=batch_tokens
            )
        )
    return np.array(found)


def fit_level(fit: SurfaceFit) -> Callable[[float, float], tuple[float, float]] | None:
    """The loss level of a surface fit's cells; None where they are too few for a law."""
    try:
        law = fit_loss(
            fit.cells[:, 0],
            fit.cells[:, 1],
            np.exp(log_levels(fit)),
            rng=np.random.default_rng(SEED),
        )
    except FitError:
        return None

    def predict(params: float, tokens: float) -> tuple[float, float]:
        found = law.predict(params, tokens)
        width = np.log(found.high / found.low) / (2 * Z80)
        return float(np.log(found.value[0])), float(width[0])

    return predict


def fit_level_law(runs: Runs, surface: SurfaceFit | None) -> tuple[LossFit | None, str | None]:
    """The loss law: of the cells at their optimum, or of every run where nothing was tuned."""
    rng = np.random.default_rng(SEED)
    finished = runs.finished
    unique = finished.get("unique_tokens")
    repeats = unique is not None and bool((unique < finished["tokens"]).any())
    try:
        if surface is not None and not repeats:
            cells = surface.cells
            levels = np.exp(log_levels(surface))
            return fit_loss(cells[:, 0], cells[:, 1], levels, rng=rng), None
        return (
            fit_loss(
                finished["params"],
                finished["tokens"],
                finished["loss"],
                unique_tokens=None if unique is None else unique.fillna(finished["tokens"]),
                loss_se=finished.get("loss_se"),
                rng=rng,
            ),
            None,
        )
    except FitError as error:
        return None, f"no loss law: {error}"


def penalty_scatter(columns: Columns, fit: SurfaceFit) -> float:
    """Standard deviation of ln(loss / fit) as a share of ln penalty, over runs that pay 2% to 10%.

    Robust: 1.4826 times the median of |residual| / penalty.
    """
    lines = np.column_stack(
        [columns.params, columns.tokens, columns.lr, columns.batch_tokens, np.log(columns.loss)]
    )
    levels = dict(zip(map(tuple, fit.cells.tolist()), log_levels(fit), strict=True))
    shares = []
    for params, tokens, lr, batch_tokens, log_loss in lines.tolist():
        at = best_point(fit.surface, params, tokens)
        best = log_penalty(fit.surface, params=params, tokens=tokens, lr=at[0], batch_tokens=at[1])
        here = log_penalty(
            fit.surface, params=params, tokens=tokens, lr=lr, batch_tokens=batch_tokens
        )
        paid = here - best
        if FEW_PERCENT <= paid <= MANY_PERCENT:
            shares.append(abs(log_loss - levels[(params, tokens)] - paid) / paid)
    return float(1.4826 * np.median(shares)) if shares else 0.0


def with_spread(quantity: Quantity, spread: float) -> Quantity:
    """A quantity that says how fast it goes astray outside its range."""
    return replace(quantity, form_log_sd=spread)


def range_of(runs: Runs, group: Group) -> Range:
    """The range of the runs whose loss is used."""
    finished = runs.finished
    ratio = finished["tokens"] / finished["params"]

    def ends(values: pd.Series[float]) -> list[float]:
        return [float(values.min()), float(values.max())]

    schedules = sorted(set(finished["schedule"].dropna())) if "schedule" in finished else []
    return Range(
        params=ends(finished["params"]),
        tokens=ends(finished["tokens"]),
        tokens_per_param=ends(ratio),
        batch_tokens=ends(runs.tuned["batch_tokens"]) if len(runs.tuned) else None,
        optimizer=group.optimizer,
        parametrization=group.parametrization,
        schedule=", ".join(schedules) or None,
        params_meaning="non-embedding",
    )
