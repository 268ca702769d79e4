"""Fit a loss law L(N, D) to anyone's runs, and say how far it may be trusted.

The family is chosen by how it predicts the runs with the most compute (`fitting.loss.choice`),
fitted by Huber's function on ln loss (`fitting.robust`), and its coefficients are known by
a bootstrap over runs. What the result says of itself is in `fitting.loss.result`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import t as student

from fitting.errors import FitError, InputError, nearest_name
from fitting.intervals import Z80
from fitting.loss.choice import (
    COMPARABLE,
    EDGES,
    MISFIT,
    Candidate,
    LossTable,
    choose,
    held_out_sets,
    suited_families,
    weigh_candidates,
)
from fitting.loss.families import FAMILIES, draw_starts, make_problem, natural, natural_slope
from fitting.loss.result import Alternative, LossFit, Reach
from fitting.robust import Problem, solve

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from fitting.arrays import Floats
    from fitting.loss.families import Family
    from fitting.loss.slopes import Centre

BOOTSTRAPS = 200
"""Refits behind covariance and intervals."""

UNMEASURED = Reach(distance=math.log(2), error=0.01)
"""What is taken of an extrapolation that could not be tried: 1% at the next doubling (*assumed*:
Chinchilla's form is 0.5 to 1.5% off at the next size of Step Law's and Farseer's tables)."""

E_SHARES = (0.01, 0.2, 0.4, 0.6, 0.8, 0.95)
"""Irreducible loss over the lowest loss at which the fit is tried."""

FEWEST_RUNS = 6
"""One more than the five coefficients of Chinchilla's form."""


def fit_loss(
    params: ArrayLike,
    tokens: ArrayLike,
    loss: ArrayLike,
    *,
    unique_tokens: ArrayLike | None = None,
    loss_se: ArrayLike | None = None,
    family: str = "auto",
    rng: np.random.Generator,
) -> LossFit:
    """The loss law of a table of runs, each at its best learning rate and batch.

    Args:
        params: non-embedding parameters N, > 0, shape (n,).
        tokens: training tokens D, > 0, shape (n,).
        loss: final loss in nats per token, > 0; runs where it is not finite are left out and
            counted.
        unique_tokens: distinct tokens; None means that nothing repeats.
        loss_se: standard error of each loss in nats; None is unknown.
        family: a key of `fitting.loss.families.FAMILIES`, or "auto": the one that predicts the
            runs with the most compute.
        rng: draws starts and bootstraps.

    Raises:
        InputError: a column that no log can be taken of, columns of different length, or an
            unknown family.
        FitError: fewer than 6 runs, or fewer than 3 distinct params or tokens.
    """
    table, rejected = read_table(params, tokens, loss, unique_tokens, loss_se)
    check_spread(table)
    candidates = weigh_candidates(table, families_for(family, table), rng=rng)
    chosen = choose(candidates)
    member = FAMILIES[chosen.family]
    features, log_loss = table.features(), np.log(table.loss)
    problem = make_problem(member, features, log_loss, ridge=chosen.ridge)
    free = solve(problem, chosen.free[None], run_weights=table.weight[None]).free[0]
    samples = bootstrap(problem, free, table, rng=rng)
    log_fit, slope = member.evaluate(features, free[None])
    return LossFit(
        family=chosen.family,
        free=free,
        samples=samples,
        centre=features.centre,
        coefficients=named_coefficients(member, free, features.centre),
        covariance_matrix=natural_covariance(member, free, samples, features.centre),
        ridge=chosen.ridge,
        scatter=robust_scatter(log_loss - log_fit[0], parameters=len(free)),
        size_scatter=size_scatter(problem, free, table),
        sizes=np.unique(table.params),
        held_out=chosen.held_out,
        error=chosen.error if chosen.held_out else None,
        reach=measure_reach(table, chosen),
        alternatives=tuple(
            Alternative(other.family, other.free)
            for other in candidates
            if other is not chosen and other.error <= COMPARABLE * chosen.error
        ),
        errors={other.family: other.error for other in candidates},
        profile=irreducible_profile(problem, free, table, rng=rng),
        condition=condition_number(slope[0]),
        n=len(log_loss),
        rejected=rejected,
        r2=explained(table.loss, np.exp(log_fit[0])),
        lowest=(float(table.params.min()), float(table.tokens.min())),
        highest=(float(table.params.max()), float(table.tokens.max())),
        largest=float(np.log(table.params * table.tokens).max()),
    )


def read_table(
    params: ArrayLike,
    tokens: ArrayLike,
    loss: ArrayLike,
    unique_tokens: ArrayLike | None,
    loss_se: ArrayLike | None,
) -> tuple[LossTable, dict[str, int]]:
    """The runs as float64 columns, and the number left out by reason.

    Raises:
        InputError: the column and the first row that is wrong.
    """
    given = {"params": params, "tokens": tokens, "loss": loss}
    given |= {"unique_tokens": tokens if unique_tokens is None else unique_tokens}
    columns = {name: np.asarray(values, dtype=np.float64) for name, values in given.items()}
    columns["loss_se"] = (
        np.zeros_like(columns["loss"]) if loss_se is None else np.asarray(loss_se, dtype=np.float64)
    )
    for name, column in columns.items():
        if column.shape != (len(columns["loss"]),):
            raise InputError(
                f"loss runs: {name} has shape {column.shape}, loss has {columns['loss'].shape}"
            )
    finite = np.isfinite(columns["loss"])
    for name, column in columns.items():
        lowest = 0.0 if name == "loss_se" else np.finfo(np.float64).tiny
        bad = np.flatnonzero(finite & ~(np.isfinite(column) & (column >= lowest)))
        if len(bad):
            wanted = "a standard error" if name == "loss_se" else "above 0"
            raise InputError(
                f"loss runs row {bad[0] + 1}, column {name}: {column[bad[0]]} is not {wanted}"
            )
    kept = {name: column[finite] for name, column in columns.items()}
    rejected = {"loss is not finite": int((~finite).sum())} if not finite.all() else {}
    relative = kept["loss_se"] / kept["loss"]
    return LossTable(
        params=kept["params"],
        tokens=kept["tokens"],
        unique_tokens=np.minimum(kept["unique_tokens"], kept["tokens"]),
        loss=kept["loss"],
        weight=1 / np.sqrt(1 + (relative / MISFIT) ** 2),
    ), rejected


def check_spread(table: LossTable) -> None:
    """Refuse runs that cannot say how the loss depends on N and on D.

    Raises:
        FitError: what is too few, and how many are needed.
    """
    if len(table.loss) < FEWEST_RUNS:
        raise FitError(f"loss: {len(table.loss)} runs, {FEWEST_RUNS} needed; add runs")
    for name in ("params", "tokens"):
        distinct = len(np.unique(getattr(table, name)))
        if distinct < 3:
            raise FitError(
                f"loss: {distinct} distinct {name}, 3 needed to fit loss on params and tokens; "
                f"add runs at other {name}"
            )


def families_for(family: str, table: LossTable) -> list[str]:
    """The families to weigh: all that suit the table, or the one that was asked for.

    Raises:
        InputError: no family of that name.
        FitError: the table has too few runs for it, or no repeated data where it needs some.
    """
    suited = suited_families(table)
    if family == "auto":
        return suited
    if family not in FAMILIES:
        raise InputError(f"loss family '{family}': no such family{nearest_name(family, FAMILIES)}")
    if family not in suited:
        lacks = "repeated data" if FAMILIES[family].repeats and not table.repeats else "runs enough"
        raise FitError(f"loss family '{family}': the table does not have {lacks}; use auto")
    return [family]


def bootstrap(
    problem: Problem[Family], free: Floats, table: LossTable, *, rng: np.random.Generator
) -> Floats:
    """Free parameters of refits to resampled runs, shape (BOOTSTRAPS, p).

    Runs of the same params and tokens, repeats of one cell, are drawn together.
    """
    keys = np.stack([table.params, table.tokens, table.unique_tokens], axis=1)
    _, cell = np.unique(keys, axis=0, return_inverse=True)
    count = int(cell.max()) + 1
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=BOOTSTRAPS)
    weights = drawn[:, cell.ravel()] * table.weight
    return solve(problem, np.tile(free, (BOOTSTRAPS, 1)), run_weights=weights).free


def irreducible_profile(
    problem: Problem[Family], free: Floats, table: LossTable, *, rng: np.random.Generator
) -> tuple[float, float] | None:
    """Range of irreducible loss that fits about equally well; None where there is none.

    E is held at shares of the lowest loss and all else refitted, under a ridge of at most 1: a
    stronger one would be what identifies E. A share is in the range when its objective is within
    2%, or 3/n where that is more, of the lowest: 3 in log likelihood if residuals were Laplace's.
    """
    member = problem.model
    if "log_e" not in member.names:
        return None
    place = member.names.index("log_e")
    value = float(np.exp(free[place]))
    starts = np.vstack(
        [free, draw_starts(member, float(problem.observed.mean()), count=24, rng=rng)]
    )
    weights = np.broadcast_to(table.weight, (len(starts), len(table.weight)))
    loose = replace(problem, ridge=np.minimum(problem.ridge, 1.0))
    limit = solve(loose, starts, run_weights=weights, steps=60).objective.min()
    limit *= 1 + max(0.02, 3 / len(table.loss))
    pinned = np.arange(len(free)) == place
    found = [value]
    for share in E_SHARES:
        level = share * float(table.loss.min())
        held = replace(
            loose,
            ridge=np.where(pinned, 1e9, loose.ridge),
            towards=np.where(pinned, np.log(level), loose.towards),
        )
        starts[:, place] = np.log(level)
        if solve(held, starts, run_weights=weights, steps=60).objective.min() <= limit:
            found.append(level)
    return min(found), max(found)


def named_coefficients(member: Family, free: Floats, centre: Centre) -> dict[str, float]:
    """Coefficients as a law file names them."""
    return {name: float(value) for name, value in natural(member, free, centre).items()}


def natural_covariance(member: Family, free: Floats, samples: Floats, centre: Centre) -> Floats:
    """Covariance of the coefficients, linear around the fit.

    The samples' own covariance would not do: A and B vary by factors, and only the linear map
    keeps the correlations by which their errors cancel in a prediction.
    """
    slope = natural_slope(member, free, centre)
    covariance = slope @ np.cov(samples.T) @ slope.T
    symmetric: Floats = (covariance + covariance.T) / 2
    return symmetric


def robust_scatter(residual: Floats, *, parameters: int) -> float:
    """1.4826 times the median absolute residual, for the degrees of freedom left."""
    freedom = max(len(residual) - parameters, 1)
    return float(1.4826 * np.median(np.abs(residual)) * np.sqrt(len(residual) / freedom))


def size_scatter(problem: Problem[Family], free: Floats, table: LossTable) -> float:
    """How far a whole size lies off a law that has not seen it, as a standard deviation of ln loss.

    Each size is left out in turn and predicted; its error is the median over its runs, less what
    their own scatter leaves in a median. Sizes differ in shape, which no law of N sees, so runs
    of one size are off together: 0.2% on Step Law's cells, where single cells scatter by 0.12%.
    The smallest is not left out, as nobody plans below it. 0 where sizes are fewer than 4 or
    hardly shared.
    """
    sizes = np.unique(table.params)[1:]
    if len(sizes) < 3 or len(sizes) > len(table.loss) / 2:
        return 0.0
    seen = table.params != sizes[:, None]
    starts = np.tile(free, (len(sizes), 1))
    refits = solve(problem, starts, run_weights=seen * table.weight, steps=60, tolerance=1e-6)
    error = problem.observed - problem.model.evaluate(problem.features, refits.free)[0]
    chance = 0.0
    square = 0.0
    for one, unseen in zip(error, ~seen, strict=True):
        middle = np.median(one[unseen])
        square += middle**2
        # A median's variance is pi/2 of a mean's; 1.4826 as in `robust_scatter`.
        deviation = 1.4826 * np.median(np.abs(one[unseen] - middle))
        chance += np.pi / 2 * deviation**2 / unseen.sum()
    # Few sizes say little of their spread: Student's 90% point for them, over the Gaussian's.
    few = float(student.ppf(0.9, len(sizes))) / Z80
    return few * float(np.sqrt(max(square - chance, 0.0) / len(sizes)))


def measure_reach(table: LossTable, chosen: Candidate) -> dict[str, Reach]:
    """How far and how badly held-out runs were predicted, by what they are the largest in.

    `UNMEASURED` where too few runs, or too few sizes, leave nothing to hold out.
    """
    log_n, log_d = np.log(table.params), np.log(table.tokens)
    found: dict[str, list[Reach]] = {}
    for label, mask in held_out_sets(table).items():
        size = {"N": log_n, "D": log_d}.get(label, log_n + log_d)
        distance = float(size[mask].mean() - size[~mask].max())
        kind = label if label in EDGES else "N D"
        found.setdefault(kind, []).append(Reach(distance, chosen.held_out[label]))
    measured = {
        kind: Reach(
            distance=float(np.mean([reach.distance for reach in reaches])),
            error=float(np.mean([reach.error for reach in reaches])),
        )
        for kind, reaches in found.items()
    }
    return dict.fromkeys(("N D", *EDGES), UNMEASURED) | measured


def condition_number(slope: Floats) -> float:
    """Largest over smallest singular value of the slopes, each parameter's scaled to length 1."""
    length = np.linalg.norm(slope, axis=1, keepdims=True)
    values = np.linalg.svd(slope / np.maximum(length, 1e-300), compute_uv=False)
    return float(values[0] / max(values[-1], 1e-300))


def explained(loss: Floats, fitted: Floats) -> float:
    """1 - sum of squared residuals of loss / its variance."""
    return float(1 - ((loss - fitted) ** 2).sum() / ((loss - loss.mean()) ** 2).sum())
