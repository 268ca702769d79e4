"""Where each cell's search starts: a law at first, then the surface fitted to the runs so far."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fitting.cells.few_runs import Start, start_at
from fitting.errors import FitError, InputError
from fitting.laws.evaluate import evaluate_law
from fitting.laws.surface import REFERENCE, best_point
from fitting.surface.fit import Effort, fit_surface
from fitting.surface.line import Line
from fitting.surface.prior import line_from_law, mup_line, neutral_surface
from proxies.run.parametrization import OPTIMIZERS, convert_adamw_law, convert_sp_law
from proxies.sweep.cells import member_parametrization

if TYPE_CHECKING:
    from fitting.laws.law import Law
    from fitting.surface.solver import Runs
    from proxies.sweep.cells import SweepCell
    from proxies.sweep.spec import SweepSpec

EFFORT = Effort(starts=2, bootstraps=50)
"""A start need not be exact: the search begins with a prior of a factor 4 about it."""


def predict_start(
    spec: SweepSpec, cell: SweepCell, *, law: Law | None = None, runs: Runs | None = None
) -> Start | None:
    """Where the best lr and batch of a cell are expected.

    Args:
        spec: of the sweep.
        cell: of the sweep.
        law: that `spec.search.law` names; None where it names none.
        runs: finished runs of the cells searched so far; None for none.

    Returns:
        The optimum of the surface fitted to the runs, with the law as its prior; by the law or the
        given start alone where no surface can be fitted yet; None where there is neither.

    Raises:
        InputError: the law does not give lr and batch at this cell.
    """
    point = law_point(spec, cell, law) if law is not None else None
    if point is None and spec.search.start is not None:
        point = (spec.search.start.lr, spec.search.start.batch_tokens)
    if point is None:
        return None
    surface = neutral_surface()
    if runs is not None:
        line = None if law is None else line_through(point, spec, cell, law)
        point = _best_by_runs(runs, cell, line=line) or point
    return start_at(surface, cell.params, cell.tokens, lr=point[0], batch_tokens=point[1])


def _best_by_runs(runs: Runs, cell: SweepCell, *, line: Line | None) -> tuple[float, float] | None:
    """The lr and batch of a cell by a surface fitted to runs; None where none can be fitted yet."""
    try:
        fit = fit_surface(runs, line_prior=line, target=(cell.params, cell.tokens), effort=EFFORT)
        return best_point(fit.surface, cell.params, cell.tokens)
    except FitError:
        # Too few runs, or none that enclose an optimum: what was known before still holds.
        return None


def law_point(spec: SweepSpec, cell: SweepCell, law: Law) -> tuple[float, float]:
    """The lr and batch of a law at a cell, for the sweep's optimizer and parametrization.

    Raises:
        InputError: the law does not give them from params and tokens.
    """
    at = {
        "params": float(cell.params),
        "tokens": float(cell.tokens),
        "tokens_per_param": cell.tokens / cell.params,
        "flops": cell.flops,
        "d_model": float(cell.shape.d_model),
        "n_layers": float(cell.shape.n_layers),
        "seq_len": float(spec.run.seq_len),
    }
    batch_tokens = _evaluate_quantity(law, "batch_tokens", at)
    lr = _evaluate_quantity(law, "lr", at | {"batch_tokens": batch_tokens})
    optimizer = OPTIMIZERS[spec.run.optimizer]
    if (law.range.optimizer or "adamw") != spec.run.optimizer:
        lr, _ = convert_adamw_law(lr=lr, weight_decay=0.0, optimizer=optimizer)
    if not same_parametrization(spec, law):
        parametrization = member_parametrization(spec.model, cell.shape)
        lr, _ = convert_sp_law(
            lr=lr, weight_decay=0.0, parametrization=parametrization, optimizer=optimizer
        )
    return lr, batch_tokens


def _evaluate_quantity(law: Law, name: str, at: dict[str, float]) -> float:
    """One quantity of a law at a point.

    Raises:
        InputError: the law is silent there.
    """
    quantity = law.quantities.get(name)
    value = evaluate_law(quantity, at) if quantity is not None else None
    if value is None:
        raise InputError(
            f"[search] law: {law.name} gives no {name} at {at['params']:.3g} params and "
            f"{at['tokens']:.3g} tokens; step-law does, or give start"
        )
    return value


def same_parametrization(spec: SweepSpec, law: Law) -> bool:
    """Whether a law speaks of lr as the sweep does."""
    return (law.range.parametrization or "sp") == spec.model.parametrization


def line_through(
    point: tuple[float, float], spec: SweepSpec, cell: SweepCell, law: Law
) -> Line | None:
    """The law's line as a prior, moved to a point at this cell; None where it has no line."""
    make = line_from_law if same_parametrization(spec, law) else mup_line
    try:
        line = make(law.quantities["lr"], law.quantities["batch_tokens"])
    except InputError:
        return None
    size = np.array(
        [1.0, *np.log([cell.params / REFERENCE.params, cell.tokens / REFERENCE.tokens])]
    )
    mean = line.mean.copy()
    mean[0] += math.log(point[0] / REFERENCE.lr) - mean[:3] @ size
    mean[3] += math.log(point[1] / REFERENCE.batch_tokens) - mean[3:] @ size
    return replace(line, mean=mean)
