"""A curve law: coefficients with their covariance, as a law file and as a forecast.

`forecast` gives the loss at every row of a schedule with an 80% interval. The interval is that
of the loss averaged over an eighth of a run: noise of single rows comes on top.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fitting.curves.forms import CURVE_FORMS, SUM_UNIT, CurveForm, Paths, Reference
from fitting.curves.path import make_path
from fitting.errors import InputError
from fitting.intervals import Z80
from fitting.laws.file import make_law
from fitting.laws.law import Covariance, Law, Quantity, Range, Source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fitting.arrays import Floats
    from fitting.curves.fit import CurveFit
    from fitting.curves.path import Path
    from fitting.logs.series import Curve


@dataclass(frozen=True, slots=True)
class Forecast:
    """Loss against step under a schedule."""

    step: Floats
    """Shape (n,), as all."""
    lr: Floats
    loss: Floats
    """Nats per token."""
    log_sd: Floats
    """Standard deviation of ln loss; NaN where the law does not say."""

    @property
    def low(self) -> Floats:
        """Lower end of the 80% interval."""
        return np.asarray(self.loss * np.exp(-Z80 * self.log_sd))

    @property
    def high(self) -> Floats:
        """Upper end of the 80% interval."""
        return np.asarray(self.loss * np.exp(Z80 * self.log_sd))


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveLaw:
    """The `[curve]` table of a law file, ready to be evaluated."""

    form: CurveForm
    free: Floats
    """Free parameters at `reference`, shape (p,)."""
    reference: Reference
    covariance: Floats
    """Of the free parameters, shape (p, p); 0 where the file has none."""
    scatter: float
    """Standard deviation of ln(measured / law) where its parameters are well known; NaN, and with
    it every interval, where the file says neither it nor a covariance."""
    peaks: tuple[float, float] | None
    """Lowest and highest peak lr of the runs behind it; None where the file does not say."""
    steps: tuple[float, float] | None
    """Fewest and most steps of these runs; None where the file does not say."""

    def evaluate(self, path: Path) -> tuple[Floats, Floats]:
        """ln loss and its standard deviation at the rows of a path, each of shape (n,)."""
        log_loss, slope = self.form.evaluate(Paths([path], self.reference), self.free[None])
        variance = np.einsum("pn,pq,qn->n", slope[0], self.covariance, slope[0])
        return log_loss[0], np.sqrt(np.maximum(variance, 0.0) + self.scatter**2)


def forecast(law: CurveLaw, schedule: Curve, *, warmup_steps: float = 0.0) -> Forecast:
    """The loss that a law foretells at each row of a schedule.

    Rows of a long schedule beyond `fitting.curves.path.MOST_ROWS` are interpolated in ln loss.

    Args:
        law: from `curve_law`.
        schedule: its rows; the lr is linear between them.
        warmup_steps: see `fitting.curves.path.make_path`.

    Raises:
        InputError: no lr has been summed by the first row, so that there is no loss to foretell.
    """
    path = make_path(schedule, warmup_steps=warmup_steps)
    trained = path.lr_sum > 0
    if not trained.any():
        raise InputError(f"{schedule.name}: the lr is 0 up to its last row; nothing is trained")
    log_loss, log_sd = law.evaluate(path.at_rows(trained))
    return Forecast(
        step=schedule.step,
        lr=schedule.lr,
        loss=np.exp(untrained(schedule, path.step[trained], log_loss)),
        log_sd=untrained(schedule, path.step[trained], log_sd),
    )


def last_row(law: CurveLaw, path: Path) -> tuple[float, Floats]:
    """ln loss at the last row of a path and its slope in the free parameters, shape (p,)."""
    last = path.at_rows(np.array([len(path.step) - 1]))
    log_loss, slope = law.form.evaluate(Paths([last], law.reference), law.free[None])
    return float(log_loss[0, 0]), slope[0, :, 0]


def untrained(schedule: Curve, step: Floats, values: Floats) -> Floats:
    """`values` at every row of the schedule; NaN before the first step that trains."""
    return np.interp(schedule.step, step, values, left=np.nan)


def curve_law(law: Law, *, where: str) -> CurveLaw:
    """The curve law of a law file.

    Raises:
        InputError: the file has no `[curve]` table, or one of another kind.
    """
    quantity = law.quantities.get("curve")
    if quantity is None:
        raise InputError(f"{where}: has no table [curve]; plan curve fit writes one")
    forms = {row.form: row.released() for row in CURVE_FORMS.values()}
    if quantity.form not in forms:
        raise InputError(
            f"{where} [curve] form '{quantity.form}': no curve; one of {', '.join(forms)}"
        )
    form = forms[quantity.form]
    peaks = None if law.range.lr is None else (law.range.lr[0], law.range.lr[1])
    unsaid = math.nan if quantity.covariance is None else 0.0
    scatter = unsaid if quantity.scatter is None else quantity.scatter
    reference = Reference(lr_sum=SUM_UNIT, peak=1e-3 if peaks is None else peaks[1])
    free = ordered(form, form.free(quantity.coefficients, reference))
    return CurveLaw(
        form=form,
        free=free,
        reference=reference,
        covariance=free_covariance(form, quantity, free, reference),
        scatter=scatter,
        peaks=peaks,
        steps=None if law.range.steps is None else (law.range.steps[0], law.range.steps[1]),
    )


def law_of_fit(
    fit: CurveFit, curves: Sequence[Curve], *, name: str, command: str, warmup_steps: float
) -> Law:
    """A fit as a law, with the content of its file.

    Args:
        fit: from `fitting.curves.fit.fit_curves`.
        curves: those it was made from.
        name: the stem of its file.
        command: what was typed.
        warmup_steps: of the curves.
    """
    values = fit.form.coefficients(named(fit.form, fit.free), fit.reference)
    jacobian = slopes_of(fit.form, fit.free, fit.reference)
    matrix = jacobian @ fit.covariance @ jacobian.T
    # Held parameters have a variance of rounding only.
    known = np.flatnonzero(np.diag(matrix) > 1e-24 * np.array(list(values.values())) ** 2)
    names = [list(values)[i] for i in known]
    quantity = Quantity(
        form=fit.form.form,
        coefficients={key: float(value) for key, value in values.items()},
        covariance=Covariance(names=names, matrix=symmetric(matrix[np.ix_(known, known)]))
        if names
        else None,
        scatter=fit.scatter,
        n=len(fit.log_residual),
        r2=fit.r2,
        text=f"from {', '.join(curve.name for curve in curves)}; warmup {warmup_steps:g} steps; "
        f"covariance and scatter are scaled by {fit.inflation:.2f} in sd to cover what was held "
        "out",
    )
    peaks = [float(curve.lr.max()) for curve in curves]
    ends = [float(curve.step[-1]) for curve in curves]
    return make_law(
        name,
        source=Source(
            key=name,
            title=f"loss against step, fitted to {len(curves)} curves",
            evidence="fitted",
            command=command,
        ),
        limits=Range(lr=[min(peaks), max(peaks)], steps=[min(ends), max(ends)]),
        quantities={"curve": quantity},
    )


def symmetric(matrix: Floats) -> list[list[float]]:
    """The matrix as rows, without the rounding that makes its halves differ."""
    rows: list[list[float]] = ((matrix + matrix.T) / 2).tolist()
    return rows


def named(form: CurveForm, free: Any) -> dict[str, Any]:
    """Free parameters by name."""
    return dict(zip(form.names, free, strict=True))


def ordered(form: CurveForm, free: Mapping[str, Any]) -> Floats:
    """Free parameters as a vector."""
    return np.array([free[name] for name in form.names])


def slopes_of(form: CurveForm, free: Floats, reference: Reference) -> Floats:
    """d coefficient / d free parameter, shape (p, p), by complex steps: the maps are analytic."""
    steps = free + 1e-30j * np.eye(len(free))
    columns = form.coefficients(named(form, steps.T), reference)
    return np.array([np.imag(column + 0j * steps[0]) / 1e-30 for column in columns.values()])


def free_covariance(
    form: CurveForm, quantity: Quantity, free: Floats, reference: Reference
) -> Floats:
    """Covariance of the free parameters from that of the coefficients, shape (p, p)."""
    order = list(form.coefficients(named(form, free), reference))
    whole = np.zeros((len(order), len(order)))
    if quantity.covariance is None:
        return whole
    at = [order.index(name) for name in quantity.covariance.names]
    whole[np.ix_(at, at)] = quantity.covariance.matrix
    back = np.linalg.inv(slopes_of(form, free, reference))
    found: Floats = back @ whole @ back.T
    return found
