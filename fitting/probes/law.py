"""A probe of trained models against lr and params, fitted so that it can be asked of a larger one.

    power    ln v = a + s ln(lr) + t ln(N)
    rising   ln v = ln(exp(f + u ln N) + exp(a + s ln(lr) + t ln(N))),  s > 0
    linear      v = a + s ln(lr) + t ln(N)

The largest attention logit is `rising`: below some lr it is what the task asks for, above it runs
away as a power of lr (Wortsman et al. 2023, arXiv 2309.14322, figures of logits against lr and N,
fit its log against log N at each lr by a quadratic; with few sizes a line is all that is known).
Runs count by a soft absolute deviation, so that one odd run moves little. An interval takes each
size to deviate as a whole by as much as its runs do, which two sizes cannot show.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fitting.arrays import Floats
from fitting.intervals import student_half_width
from fitting.robust import SOFT, Problem, look, solve

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from fitting.robust import Evaluated


FEWEST_RUNS = 6
"""Runs that a law of lr and params needs: twice its three numbers."""

FEWEST_LRS = 3
"""Distinct lrs below which a slope in lr says nothing of its curvature."""

SOFT_FROM = 0.5
"""Deviation in ln v, or in v of a linear law, from which a run counts for less. *Assumed*: seeds
of one setting differ by about half as much."""

SLOPES = (1.0, 2.0, 4.0)
"""Of ln v in ln lr, where a rising law starts its search."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 80% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeLaw:
    """A fitted probe."""

    column: str
    """Of the runs table."""
    form: str
    """power, rising or linear."""
    theta: Floats
    """Parameters (a, s, t) or (a, s, t, f, u) about `centre`."""
    centre: tuple[float, float]
    """ln lr and ln params that the parameters are taken relative to."""
    covariance: Floats
    """Of `theta`."""
    scatter: float
    """Standard deviation of single runs about the law, in ln v, or in v of a linear law."""
    freedom: int
    """Runs less parameters."""
    lrs: tuple[float, float]
    """Lowest and highest lr of the runs."""
    params: tuple[float, ...]
    """Sizes of the runs, rising."""

    @property
    def lr_slope(self) -> float:
        """d ln v / d ln lr of the part that moves with lr."""
        return float(self.theta[1])

    @property
    def params_slope(self) -> float:
        """d ln v / d ln params of the same part."""
        return float(self.theta[2])


def fit_probe(table: pd.DataFrame, column: str) -> ProbeLaw | None:
    """The law of a probe; None where `why_unknown` says why there is none.

    Args:
        table: runs with `lr`, `params` and the probe; rows without a finite value are left out.
        column: of `LAWS`.
    """
    if why_unknown(table, column) is not None:
        return None
    rows = usable(table, column)
    x, z = np.log(rows["lr"].to_numpy()), np.log(rows["params"].to_numpy())
    centre = float(x.mean()), float(z.mean())
    values = rows[column].to_numpy()
    y = values if LAWS[column] == "linear" else np.log(values)
    form, theta, covariance, scatter = choose_form(LAWS[column], x - centre[0], z - centre[1], y)
    return ProbeLaw(
        column=column,
        form=form,
        theta=theta,
        centre=centre,
        covariance=covariance,
        scatter=scatter,
        freedom=len(y) - len(theta),
        lrs=(float(rows["lr"].min()), float(rows["lr"].max())),
        params=tuple(sorted(float(size) for size in rows["params"].unique())),
    )


def why_unknown(table: pd.DataFrame, column: str) -> str | None:
    """Why a probe has no law, and what would record it; None where it has one."""
    if column not in table or not table[column].notna().any():
        return (
            f"no column {column}; record it with plan proxy train --probes {column}, "
            f'or probes = ["{column}"] under [run] of a sweep'
        )
    rows = usable(table, column)
    lrs, sizes = rows["lr"].nunique(), rows["params"].nunique()
    if len(rows) < FEWEST_RUNS or lrs < FEWEST_LRS or sizes < 2:
        return (
            f"{len(rows)} runs with {column}, of {lrs} lrs and {sizes} params; a law needs "
            f"{FEWEST_RUNS} runs, {FEWEST_LRS} lrs and 2 params"
        )
    return None


def usable(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Rows with an lr and a finite value, above 0 where its logarithm is taken."""
    kept = np.isfinite(table[column]) & table["lr"].notna()
    if LAWS[column] != "linear":
        kept &= table[column] > 0
    found: pd.DataFrame = table[kept]
    return found


def choose_form(form: str, x: Floats, z: Floats, y: Floats) -> tuple[str, Floats, Floats, float]:
    """Form, parameters, covariance and scatter; a rising law only where it explains more.

    The two are compared by the corrected Akaike criterion on soft deviations.
    """
    power = fit_form("power", plain_start(x, z, y)[None], x, z, y)
    if form != "rising" or len(y) < FEWEST_RUNS + 2:
        return ("linear" if form == "linear" else "power", *power[:3])
    rising = fit_form("rising", rising_starts(x, z, y), x, z, y)
    if criterion(rising[3], 5, len(y)) < criterion(power[3], 3, len(y)):
        return ("rising", *rising[:3])
    return ("power", *power[:3])


def criterion(cost: float, free: int, count: int) -> float:
    """Akaike's criterion with its correction for few runs; lower is better."""
    spare = count - free - 2
    return count * math.log(max(cost, 1e-12) / count) + 2 * (free + 1) * count / max(spare, 0.5)


def plain_start(x: Floats, z: Floats, y: Floats) -> Floats:
    """Least squares."""
    found = np.linalg.lstsq(np.column_stack([np.ones_like(x), x, z]), y, rcond=None)[0]
    return np.asarray(found, dtype=np.float64)


def rising_starts(x: Floats, z: Floats, y: Floats) -> Floats:
    """The upper half of the values as the power, the lowest quarter as the floor."""
    upper = y >= np.median(y)
    floor = float(np.quantile(y, 0.15))
    level = float(np.median(y[upper]))
    middle, size = float(np.median(x[upper])), float(np.median(z[upper]))
    return np.array(
        [
            [level - slope * middle - 0.5 * slope * size, slope, 0.5 * slope, floor, 0.3]
            for slope in SLOPES
        ]
    )


def fit_form(
    form: str, starts: Floats, x: Floats, z: Floats, y: Floats
) -> tuple[Floats, Floats, float, float]:
    """Parameters, their covariance, the scatter of runs, and the soft sum of squares."""
    problem = Problem(
        model=ProbeModel(form),
        features=(x, z),
        observed=y,
        ridge=np.zeros(starts.shape[1]),
        towards=np.zeros(starts.shape[1]),
        delta=SOFT_FROM,
        norm=SOFT,
    )
    found = solve(problem, starts, tolerance=1e-12)
    theta = found.best()
    squares = 2 * float(found.objective.min())
    scatter = math.sqrt(squares / max(len(y) - len(theta), 1))
    curvature = look(problem, theta[None], mu=0.0).curvature[0] * problem.delta**2
    covariance = np.asarray(scatter**2 * np.linalg.pinv(curvature), dtype=np.float64)
    return theta, covariance, scatter, squares


@dataclass(frozen=True, slots=True)
class ProbeModel:
    """ln v, or v of a linear law."""

    form: str

    def evaluate(self, at: tuple[Floats, Floats], free: Floats) -> Evaluated:
        """Values, shape (b, n), and their slopes, shape (b, p, n).

        Args:
            at: centred ln lr and ln params, each of shape (n,).
            free: (a, s, t) or (a, s, t, f, u), shape (b, p).
        """
        x, z = at
        rows = np.stack([np.ones_like(x), x, z])
        moving = free[:, :3] @ rows
        if self.form != "rising":
            return moving, np.broadcast_to(rows, (len(free), *rows.shape)).copy()
        floor = free[:, 3:] @ rows[[0, 2]]
        values = np.logaddexp(floor, moving)
        share = np.exp(moving - values)[:, None]
        return values, np.concatenate([share * rows, (1 - share) * rows[[0, 2]]], axis=1)


def predict_probe(law: ProbeLaw, *, lr: float, params: float) -> Estimate:
    """The probe of a run at `lr` and `params`, with the 80% interval of a single run."""
    x, z = math.log(lr) - law.centre[0], math.log(params) - law.centre[1]
    values, slopes = ProbeModel(law.form).evaluate((np.array([x]), np.array([z])), law.theta[None])
    value = float(values[0, 0])
    half = half_width(law, slopes[0, :, 0], lone_scatter(law, z))
    ends = (value, value - half, value + half)
    return Estimate(*(ends if law.form == "linear" else map(bounded_exp, ends)))


def crossing_lr(law: ProbeLaw, *, params: float, threshold: float) -> Estimate | None:
    """The lr at which the probe passes `threshold`; None where it is not known to rise with lr.

    0 where it lies above at every lr.

    Args:
        law: power or rising.
        params: size that is asked for, > 0.
        threshold: > 0, in the probe's unit.
    """
    se = math.sqrt(law.covariance[1, 1])
    if law.theta[1] <= 2 * se:
        return None
    z, level = math.log(params) - law.centre[1], math.log(threshold)

    def solve_lr(theta: Floats) -> float:
        left = level
        if law.form == "rising":
            spare = -math.expm1(min(theta[3] + theta[4] * z - level, -1e-9))
            left += math.log(spare)
        return float((left - theta[0] - theta[2] * z) / theta[1])

    if law.form == "rising" and law.theta[3] + law.theta[4] * z >= level:
        return Estimate(0.0, 0.0, 0.0)
    value = solve_lr(law.theta)
    scatter = lone_scatter(law, z) / float(law.theta[1])
    half = half_width(law, central_slopes(solve_lr, law.theta), scatter)
    return Estimate(*(bounded_exp(value + law.centre[0] + k * half) for k in (0, -1, 1)))


def lone_scatter(law: ProbeLaw, z: float) -> float:
    """Standard deviation of one run at centred ln params `z`, of which only other sizes are known.

    Sizes are taken to scatter about the law as runs do, which makes it a line through their
    levels. *Assumed*; see `tests/benchmarks/stability_forecast.py` for how far it holds.
    """
    sizes = np.log(law.params) - law.centre[1]
    middle = float(sizes.mean())
    spread = float(((sizes - middle) ** 2).sum())
    return law.scatter * math.sqrt(1 + 1 / len(sizes) + (z - middle) ** 2 / spread)


def half_width(law: ProbeLaw, slope: Floats, scatter: float) -> float:
    """Half of the 80% interval of something with these slopes in the parameters."""
    sd = math.sqrt(max(float(slope @ law.covariance @ slope), 0.0) + scatter**2)
    return student_half_width(max(law.freedom, 1)) * sd


def central_slopes(function: Callable[[Floats], float], theta: Floats) -> Floats:
    """Central differences of a function of the parameters."""
    steps = 1e-5 * np.maximum(np.abs(theta), 1.0)
    return np.array(
        [
            (function(theta + move) - function(theta - move)) / (2 * step)
            for step, move in zip(steps, np.diag(steps), strict=True)
        ]
    )


def bounded_exp(value: float) -> float:
    """exp without overflow."""
    return math.exp(min(max(value, -700.0), 700.0))


LAWS = {
    "max_attention_logit": "rising",
    "attention_entropy": "power",
    "output_log_z": "linear",
    "grad_rms": "power",
    "top_singular_value": "power",
}
"""Columns of the runs table that have a law, each with the form that is tried."""
