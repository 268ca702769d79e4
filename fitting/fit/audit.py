"""The audit: would the law have held at a corner it had not seen?

The largest params, the largest tokens and the largest compute are left out in turn, the surface
is fitted to the rest, and its optimum at each cell left out is compared with the measured one:
what following it would have cost, how far off lr, batch and loss were, and whether the 80%
intervals held. Intervals are those of the smaller fit; nothing is tuned on what was left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fitting.arrays import Floats
from fitting.cells.measured import Measured, measure_cell
from fitting.cells.spline import FEWEST_RUNS
from fitting.errors import FitError
from fitting.fit.bend import Bend
from fitting.intervals import Z80
from fitting.laws.evaluate import distance_squared
from fitting.laws.law import Range
from fitting.laws.surface import best_point
from fitting.surface.fit import Effort, SurfaceFit, fit_surface
from fitting.surface.interval import surface_log_sd
from fitting.surface.line import Line
from fitting.surface.solver import Runs
from fitting.units import format_count, format_range, format_small, format_spread

FEWEST_CELLS = 3
"""Cells that a fit needs to be worth auditing."""

LEAST_SPREAD = 0.1
"""Spread outside the runs that no audit of a few cells can rule out; assumed."""

UNAUDITED_SPREAD = 0.3
"""Spread outside the runs where nothing could be left out; assumed."""

LARGEST_SHARE = 0.2
"""Share of the cells, by compute, that `largest compute` leaves out; one at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellAudit:
    """One cell left out: what was foretold and what was measured."""

    params: float
    tokens: float
    distance: float
    """Log distance from the range of the runs that the fit saw."""
    regret: float
    """Loss at the foretold point over the best measured, as a fraction."""
    off_grid: bool
    """Whether the foretold point lay outside the cell's runs; its loss is then the edge's."""
    log_lr_error: float | None
    """ln(foretold / measured lr); None where the measured optimum lies on the grid's edge."""
    log_batch_error: float | None
    runs: int
    """Runs that the measured optimum is from; its error counts where they are under 20."""
    lr_held: bool | None
    """Whether the 80% interval of lr held the measured optimum."""
    batch_held: bool | None
    log_lr_sd: float | None
    """Standard deviation that was foretold for `log_lr_error`."""
    log_batch_sd: float | None
    log_loss_error: float | None
    """ln(foretold / measured loss) at the foretold point; None off the grid or without a law."""
    log_loss_sd: float | None
    """Standard deviation that was foretold for `log_loss_error`."""
    loss_held: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """One corner left out."""

    corner: str
    """`largest params`, `largest tokens` or `largest compute`."""
    fitted_on: str
    """The rest, in words: 60M to 429M."""
    held_out: str
    """What was left out, in words: 537M."""
    cells: tuple[CellAudit, ...]

    @property
    def regret(self) -> float:
        """Mean regret over the cells, as a fraction of the loss."""
        return float(np.mean([cell.regret for cell in self.cells]))

    def sentence(self) -> str:
        """The finding, in one line."""
        parts = [
            f"fitted on {self.fitted_on}, this law would have cost {100 * self.regret:.2f}% at "
            f"{self.held_out}"
        ]
        for name, error, held in (
            ("lr", "log_lr_error", "lr_held"),
            ("batch", "log_batch_error", "batch_held"),
            ("loss", "log_loss_error", "loss_held"),
        ):
            errors = [getattr(cell, error) for cell in self.cells]
            known = [value for value in errors if value is not None]
            if known:
                held_in = held_of([getattr(cell, held) for cell in self.cells])
                parts.append(f"{name} off by {say_error(known)}, interval held in {held_in}")
        fewest = min(cell.runs for cell in self.cells)
        if fewest < FEWEST_RUNS:
            parts.append(f"measured by {fewest} runs a cell, whose error counts")
        bounds = sum(cell.log_lr_error is None for cell in self.cells)
        if bounds:
            parts.append(f"{bounds} of {len(self.cells)} optima lie on the edge of their grid")
        moved = sum(cell.off_grid for cell in self.cells)
        if moved:
            parts.append(f"{moved} foretold points lay off the grid and were priced at its edge")
        return "; ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            "corner": self.corner,
            "fitted_on": self.fitted_on,
            "held_out": self.held_out,
            "regret": self.regret,
            "sentence": self.sentence(),
            "cells": [asdict(cell) for cell in self.cells],
        }


def held_of(found: list[bool | None]) -> str:
    """Intervals that held, of those that could be judged."""
    judged = [held for held in found if held is not None]
    return f"{sum(judged)} of {len(judged)}"


def say_error(log_errors: list[float]) -> str:
    """Root mean square of errors in ln, in words."""
    return format_spread(math.sqrt(sum(error * error for error in log_errors) / len(log_errors)))


FitLevel = Callable[[SurfaceFit], Callable[[float, float], tuple[float, float]] | None]
"""From a surface fit to its loss level: (params, tokens) -> (ln loss at the best point, sd)."""


def audit_surface(
    runs: Runs,
    *,
    line_prior: Line | None = None,
    fit_level: FitLevel | None = None,
    effort: Effort,
) -> tuple[Audit, ...]:
    """Leave out the largest params, tokens and compute in turn.

    Args:
        runs: finished runs.
        line_prior: the prior of the fit that is audited.
        fit_level: fits the loss level of the cells of a surface fit; None audits no loss.
        effort: work of each refit.

    Returns:
        One audit for each corner that can be left out; none where the runs are too few.
    """
    found = []
    for corner, left_out in corners(runs).items():
        train = take(runs, ~left_out)
        if len(cell_table(train)) < FEWEST_CELLS or len(np.unique(train.params)) < 2:
            continue
        fit = fit_or_none(train, line_prior=line_prior, effort=effort)
        if fit is None:
            continue
        level = None if fit_level is None else fit_level(fit)
        cells = audit_cells(fit, range_of(train), take(runs, left_out), level)
        if cells:
            found.append(
                Audit(
                    corner=corner,
                    fitted_on=describe(train, corner),
                    held_out=describe(take(runs, left_out), corner),
                    cells=cells,
                )
            )
    return tuple(found)


def fit_or_none(runs: Runs, *, line_prior: Line | None, effort: Effort) -> SurfaceFit | None:
    """The fit of a corner's rest; None where it encloses no optimum: nothing is foretold."""
    try:
        return fit_surface(runs, line_prior=line_prior, effort=effort)
    except FitError:
        return None


def corners(runs: Runs) -> dict[str, NDArray[np.bool_]]:
    """Which runs each corner leaves out."""
    cells = cell_table(runs)
    compute = cells[:, 0] * cells[:, 1]
    count = max(1, round(LARGEST_SHARE * len(cells)))
    threshold = np.sort(compute)[-count]
    return {
        "largest params": runs.params == runs.params.max(),
        "largest tokens": runs.tokens == runs.tokens.max(),
        "largest compute": runs.params * runs.tokens >= threshold,
    }


def audit_cells(
    fit: SurfaceFit,
    seen: Range,
    runs: Runs,
    level: Callable[[float, float], tuple[float, float]] | None,
) -> tuple[CellAudit, ...]:
    """Every cell left out that has runs enough to know its optimum."""
    found = []
    for params, tokens in cell_table(runs):
        here = take(runs, (runs.params == params) & (runs.tokens == tokens))
        measured = measure_cell(here)
        if measured is not None:
            found.append(audit_cell(fit, seen, measured, (float(params), float(tokens)), level))
    return tuple(found)


def audit_cell(
    fit: SurfaceFit,
    seen: Range,
    measured: Measured,
    size: tuple[float, float],
    level: Callable[[float, float], tuple[float, float]] | None,
) -> CellAudit:
    """One cell left out."""
    params, tokens = size
    foretold = np.log(best_point(fit.surface, params, tokens))
    point = np.clip(foretold, measured.low, measured.high)
    loss = measured.loss_at(point)
    off_grid = bool((point != foretold).any())
    lr_error = batch_error = lr_sd = batch_sd = None
    if measured.place is not None:
        lr_error, batch_error = (foretold - measured.place).tolist()
        known = surface_log_sd(fit.surface, params, tokens)
        if known is not None:
            lr_sd = math.hypot(known[0], fit.scatter.lr, measured.sd[0])
            batch_sd = math.hypot(known[1], fit.scatter.batch_tokens, measured.sd[1])
    loss_error = loss_sd = None
    if level is not None and not off_grid:
        # Measured where the law points: the lowest point of noisy runs would flatter the cell.
        log_loss, loss_sd = level(params, tokens)
        loss_error = log_loss - math.log(loss)
    return CellAudit(
        params=params,
        tokens=tokens,
        distance=math.sqrt(distance_squared(seen, {"params": params, "tokens": tokens})),
        regret=loss / measured.best - 1,
        off_grid=off_grid,
        log_lr_error=lr_error,
        log_batch_error=batch_error,
        runs=measured.runs,
        log_lr_sd=lr_sd,
        log_batch_sd=batch_sd,
        lr_held=within(lr_error, lr_sd),
        batch_held=within(batch_error, batch_sd),
        log_loss_error=loss_error,
        log_loss_sd=loss_sd,
        loss_held=within(loss_error, loss_sd),
    )


def within(error: float | None, sd: float | None) -> bool | None:
    """Whether an 80% interval held; None where that cannot be judged."""
    return None if error is None or sd is None else abs(error) <= Z80 * sd


def form_spread(audits: Sequence[Audit], bends: Sequence[Bend]) -> dict[str, float]:
    """How fast lr and batch go astray outside the runs, in ln per unit of log distance.

    What the audits missed by beyond what was foretold (`missed_by`), at least `LEAST_SPREAD`, and
    `UNAUDITED_SPREAD` without an audit. The audits hold the first order of a bend; its second
    order, the error a factor of e outside, is added in quadrature.
    """
    spreads = {}
    for name, short in (("lr", "lr"), ("batch_tokens", "batch")):
        missed = missed_by(audits, short)
        spread = UNAUDITED_SPREAD if missed is None else max(missed, LEAST_SPREAD)
        bent = [abs(bend.curvature) for bend in bends if bend.quantity == name]
        spreads[name] = math.hypot(spread, *bent)
    return spreads


def missed_by(audits: Sequence[Audit], name: str) -> float | None:
    """Error of a law outside its runs beyond what was foretold, in ln per unit of log distance.

    s^2 = sum of max(error^2 - foretold variance, 0) over sum of distance^2, over the cells that
    the audits left out.

    Args:
        audits: of one table.
        name: `lr`, `batch` or `loss`.

    Returns:
        s, or None where no cell could be judged.
    """
    excess = distance = 0.0
    for cell in (cell for audit in audits for cell in audit.cells):
        error, sd = getattr(cell, f"log_{name}_error"), getattr(cell, f"log_{name}_sd")
        if error is not None and sd is not None:
            excess += max(error**2 - sd**2, 0.0)
            distance += cell.distance**2
    return math.sqrt(excess / distance) if distance > 0 else None


def range_of(runs: Runs) -> Range:
    """The range of runs in params, tokens and tokens per param."""
    ratio = runs.tokens / runs.params
    return Range(
        params=[float(runs.params.min()), float(runs.params.max())],
        tokens=[float(runs.tokens.min()), float(runs.tokens.max())],
        tokens_per_param=[float(ratio.min()), float(ratio.max())],
    )


def describe(runs: Runs, corner: str) -> str:
    """The range of a corner's own quantity, in words."""
    unit = corner.removeprefix("largest ")
    values = {"params": runs.params, "tokens": runs.tokens}.get(unit)
    if values is None:
        values, unit = 6 * runs.params * runs.tokens, "FLOPs"
    show = partial(format_small, digits=2) if unit == "FLOPs" else format_count
    low, high = float(values.min()), float(values.max())
    words = show(low) if show(low) == show(high) else format_range(low, high, show)
    return f"{words} {unit}"


def cell_table(runs: Runs) -> Floats:
    """(params, tokens) of each cell, shape (cells, 2)."""
    return np.unique(np.column_stack([runs.params, runs.tokens]), axis=0)


def take(runs: Runs, chosen: NDArray[np.bool_]) -> Runs:
    """Some of the runs."""
    return Runs(*(getattr(runs, name)[chosen] for name in Runs.__slots__))
