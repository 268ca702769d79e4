"""Practice: lines through the lr and batch that published runs used.

    ln lr    = a + b ln N + c ln D + e ln B
    ln batch = a' + b' ln N + c' ln D

These are choices, not optima. Labs copy each other and keep one habit across sizes, so rows are
not independent. Each lab therefore counts as one, its rows sharing a weight of 1, and the
covariance of the coefficients is cluster-robust: residuals within a lab may be correlated in any
way. Huber's function bounds the pull of a single odd run.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fitting.arrays import Floats
from fitting.errors import FitError, InputError, nearest_name
from fitting.laws.law import Covariance, Quantity

REFERENCE = {"params": 1e9, "tokens": 1e12, "batch_tokens": 2e6}
"""Where the lines' scale is stated, amid the published runs: N, D and B."""

HUBER = 1.345
"""Residuals beyond this many scales pull no harder; 95% efficient on normal residuals."""

NORMAL_MEDIAN = 0.67448975
"""Median of |z| for a standard normal z, which turns a median into a standard deviation."""

ITERATIONS = 500
"""Reweightings before a fit is given up; the published recipes need about 30."""

SETTLED = 1e-12
"""Largest change of a coefficient at which the reweighting stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What one published run of dense AdamW in standard parametrization used; all above 0."""

    lab: str
    params: float
    """N, non-embedding."""
    tokens: float
    """D."""
    lr: float
    """Peak."""
    batch_tokens: float
    """B."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Practice:
    """The two lines, as quantities of a law file in the form `power`."""

    lr: Quantity
    """On params, tokens and batch_tokens."""
    batch_tokens: Quantity
    """On params and tokens."""


@dataclass(frozen=True, slots=True)
class Line:
    """A robust line: ln y = X coefficients."""

    coefficients: Floats
    covariance: Floats
    scatter: float
    """Standard deviation of the residuals, each lab counting as one."""


def fit_practice(choices: Sequence[Choice], *, exclude_lab: str | None = None) -> Practice:
    """Fit what published runs used.

    Args:
        choices: published runs; their lr or batch need not be optimal.
        exclude_lab: a lab whose runs are held out.

    Returns:
        lr on params, tokens and batch; batch on params and tokens; each with the covariance of
        its coefficients (names `log_scale` and the inputs) and the scatter of ln(used / line).

    Raises:
        InputError: a value is not above 0, or no run is of `exclude_lab`.
        FitError: the runs left have too few labs, or do not tell the inputs apart.

    Source: P. J. Huber, Robust Estimation of a Location Parameter (1964); K.-Y. Liang and
        S. L. Zeger, Longitudinal data analysis using generalized linear models (1986).
    """
    check_choices(choices)
    labs = {choice.lab for choice in choices}
    if exclude_lab is not None and exclude_lab not in labs:
        raise InputError(
            f"exclude_lab '{exclude_lab}': no run is of this lab{nearest_name(exclude_lab, labs)}"
        )
    kept = [choice for choice in choices if choice.lab != exclude_lab]
    return Practice(
        lr=fit_quantity(kept, "lr", ("params", "tokens", "batch_tokens")),
        batch_tokens=fit_quantity(kept, "batch_tokens", ("params", "tokens")),
    )


def check_choices(choices: Sequence[Choice]) -> None:
    """Refuse values of which there is no log."""
    for choice in choices:
        for name in ("params", "tokens", "lr", "batch_tokens"):
            value = getattr(choice, name)
            if not 0 < value < math.inf:
                raise InputError(f"run of {choice.lab}: {name} {value} is not above 0")


def fit_quantity(choices: Sequence[Choice], name: str, inputs: Sequence[str]) -> Quantity:
    """One quantity's line on the named inputs."""
    columns = [[math.log(getattr(c, i) / REFERENCE[i]) for c in choices] for i in inputs]
    design = np.column_stack([np.ones(len(choices)), *columns])
    response = np.log([getattr(choice, name) for choice in choices])
    line = fit_line(design, response, [choice.lab for choice in choices], where=f"practice {name}")
    scale, *exponents = line.coefficients.tolist()
    return Quantity(
        form="power",
        coefficients={"scale": math.exp(scale)} | dict(zip(inputs, exponents, strict=True)),
        reference={i: REFERENCE[i] for i in inputs},
        covariance=Covariance(names=["log_scale", *inputs], matrix=line.covariance.tolist()),
        scatter=line.scatter,
        n=len(choices),
    )


def fit_line(design: Floats, response: Floats, labs: Sequence[str], *, where: str) -> Line:
    """Huber's line with each lab weighing 1, by reweighted least squares.

    The scale of the residuals is their weighted median |r| / 0.674, found anew at every step.

    Raises:
        FitError: too few labs, inputs that move together, or no convergence.
    """
    weights = lab_weights(labs)
    width = design.shape[1]
    if len(set(labs)) <= width:
        raise FitError(
            f"{where}: {len(set(labs))} labs for {width} coefficients; needs {width + 1} or more"
        )
    if np.linalg.matrix_rank(design) < width:
        raise FitError(f"{where}: params, tokens and batch do not vary apart in these runs")
    pull = weights
    last = np.full(width, np.inf)
    for _ in range(ITERATIONS):
        root = np.sqrt(pull)
        solved = np.linalg.lstsq(design * root[:, None], response * root)[0]
        coefficients = np.asarray(solved, dtype=np.float64)
        residuals = response - design @ coefficients
        if np.abs(coefficients - last).max() < SETTLED:
            break
        limit = HUBER * weighted_median(np.abs(residuals), weights) / NORMAL_MEDIAN
        far = np.abs(residuals) > max(limit, SETTLED)
        pull = np.where(far, weights * limit / np.where(far, np.abs(residuals), 1.0), weights)
        last = coefficients
    else:
        raise FitError(f"{where}: no robust line found in {ITERATIONS} steps")
    inside = np.where(far, 0.0, weights)
    covariance = clustered_covariance(design, residuals * pull, inside, labs)
    return Line(coefficients, covariance, scatter_of(residuals, weights, width))


def lab_weights(labs: Sequence[str]) -> Floats:
    """1 / (runs of the same lab), so that every lab weighs 1."""
    runs = Counter(labs)
    return np.array([1.0 / runs[lab] for lab in labs])


def weighted_median(values: Floats, weights: Floats) -> float:
    """The smallest value at which at least half of the weight lies at or below."""
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    # A little under half, because the sum of the weights is rounded.
    return float(values[order][np.searchsorted(total, total[-1] * (0.5 - 1e-9))])


def clustered_covariance(
    design: Floats, pulls: Floats, inside: Floats, labs: Sequence[str]
) -> Floats:
    """Sandwich H^-1 S H^-1 G/(G - 1), with a score summed within each of G labs.

    H = X' diag(w psi'(r)) X with psi' = 1 within Huber's limit and 0 beyond; S sums the outer
    products of a lab's score X' w psi(r).
    """
    labels = np.array(labs)
    names = sorted(set(labs))
    scores = np.array([design[labels == lab].T @ pulls[labels == lab] for lab in names])
    inverse = np.linalg.inv(design.T @ (design * inside[:, None]))
    covariance = inverse @ scores.T @ scores @ inverse * len(names) / (len(names) - 1)
    return np.asarray((covariance + covariance.T) / 2)


def scatter_of(residuals: Floats, weights: Floats, width: int) -> float:
    """Weighted standard deviation, corrected for `width` coefficients from n_eff runs.

    n_eff = (sum w)^2 / sum w^2, which is the number of runs where all weigh the same.
    """
    effective = weights.sum() ** 2 / (weights**2).sum()
    mean_square = (weights * residuals**2).sum() / weights.sum()
    return float(math.sqrt(mean_square * effective / (effective - width)))
