"""A loss-curve law fitted to several curves at once: many starts, an honest interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fitting.curves.intervals import find_spread, folds, inflation_of, misses
from fitting.curves.problem import FORMS, PULL, Data, Held, gather, pose
from fitting.robust import search

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fitting.arrays import Floats
    from fitting.curves.forms import CurveForm, Reference
    from fitting.logs.curve_files import Curve
    from fitting.robust import Problem

STARTS = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveFit:
    """A law fitted to curves."""

    form: CurveForm
    free: Floats
    """Free parameters at the best fit, held ones included, shape (p,)."""
    covariance: Floats
    """Of the free parameters, `inflation` squared included, shape (p, p)."""
    scatter: float
    """Standard deviation of ln(measured / law) of a block, `inflation` included."""
    inflation: float
    """Times that curves held out lay further off than resampled blocks say; at least 1."""
    log_residual: Floats
    """ln loss - ln law at the rows used, shape (n,)."""
    data: Data
    """The rows used."""
    r2: float
    """Share of the variance of the loss that the law explains, over all rows used."""

    @property
    def reference(self) -> Reference:
        """The run that the free parameters are scaled by."""
        return self.data.paths.reference


def fit_curves(
    curves: Sequence[Curve], *, form: Held | None = None, warmup_steps: float = 0.0
) -> CurveFit:
    """The law that fits several curves of one model together, with honest intervals.

    See `fitting.curves.intervals` for what the covariance and the scatter are made of.

    Args:
        curves: with their losses; curves that differ in schedule tell most.
        form: what is fitted, as in `FORMS`; None for the extended form.
        warmup_steps: of every curve, see `fitting.curves.path.make_path`.

    Raises:
        InputError: a curve has too few rows after its warmup.
    """
    shape = form or FORMS["extended"]
    data = gather(curves, warmup_steps)
    best = fit_best(shape, data)
    spread = find_spread(shape, data, best)
    missed = [misses(shape, part, fit_best(shape, part), held) for part, held in folds(data)]
    inflation = inflation_of(np.concatenate(missed))
    residual = data.log_loss - shape.evaluate(data.paths, best[None])[0][0]
    loss = np.exp(data.log_loss)
    squares = ((loss - np.exp(data.log_loss - residual)) ** 2).sum()
    return CurveFit(
        form=shape.form,
        free=shape.whole(best[None])[0],
        covariance=spread.covariance * inflation**2,
        scatter=spread.scatter * inflation,
        inflation=inflation,
        log_residual=residual,
        data=data,
        r2=float(1 - squares / ((loss - loss.mean()) ** 2).sum()),
    )


def fit_best(shape: Held, data: Data) -> Floats:
    """The best of many starts, parameters that are not held, shape (p,)."""
    problem = pose(shape, data)
    return search(problem, draw_starts(problem)).best()


def draw_starts(problem: Problem[Held]) -> Floats:
    """Random starts about the usual values, the first at them."""
    rng = np.random.default_rng(0)
    spread = np.sqrt(PULL / problem.ridge)
    noise = rng.normal(size=(STARTS, len(spread)))
    noise[0] = 0.0
    return problem.towards + noise * spread
