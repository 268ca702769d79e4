import numpy as np
import pytest
from scipy.optimize import approx_fprime, least_squares

from fitting.arrays import Floats
from fitting.errors import FitError, InputError
from fitting.fit.enough import tuned_columns
from fitting.intervals import Z80
from fitting.laws.evaluate import evaluate_law, law_log_sd
from fitting.laws.law import Quantity
from fitting.laws.surface import COEFFICIENTS, REFERENCE, best_point, surface_of, weights
from fitting.robust import look, solve
from fitting.runs.table import check_runs
from fitting.surface.fit import Effort, closeness, fit_surface, nearness, power_laws
from fitting.surface.interval import surface_log_sd
from fitting.surface.line import Line, share_of
from fitting.surface.prior import Transfer, line_from_law, neutral_prior
from fitting.surface.solver import FREE, NOISE, Runs, SurfaceProblem, basis, prepare
from tests.fixtures.runs import tuned_table

QUICK = Effort(bootstraps=0)

TRUTH = dict(
    zip(
        FREE,
        (-3.5, -0.1, -0.5, -4.2, 0.1, 0.2, 0.35, -0.8, -5.6, 0.55, -0.2, 1.3),
        strict=True,
    )
)


def true_weights(seed: int | None) -> Floats:
    """The truth, or with a seed one drawn around it."""
    weights = np.array([*TRUTH.values()])
    if seed is None:
        return weights
    return weights + np.random.default_rng(1000 + seed).normal(scale=0.05, size=len(FREE))


def simulate(seed: int, *, noise: float = 0.002, outliers: float = 0.0, vary: bool = False) -> Runs:
    """Runs of nine cells over an 8 x 6 grid around the true optimum."""
    rng = np.random.default_rng(seed)
    weights = true_weights(seed if vary else None)
    lr, batch = np.meshgrid(2.0 ** np.arange(-11.5, -6, 0.75), 2.0 ** np.arange(16, 22))
    blocks = []
    for params in (6e7, 1.2e8, 2.5e8):
        for tokens in (2e9, 8e9, 3e10):
            level = 1.7 + 400 / params**0.34 + 400 / tokens**0.28
            n = lr.size
            blocks.append(
                (np.full(n, params), np.full(n, tokens), lr.ravel(), batch.ravel(), level)
            )
    columns = [np.concatenate([block[i] for block in blocks]) for i in range(4)]
    level = np.concatenate([np.full(lr.size, block[4]) for block in blocks])
    logs = np.column_stack(
        [np.ones(len(level))]
        + [
            np.log(column / reference)
            for column, reference in zip(
                columns,
                (REFERENCE.params, REFERENCE.tokens, REFERENCE.lr, REFERENCE.batch_tokens),
                strict=True,
            )
        ]
    )
    terms = np.exp(logs @ (basis() @ weights).reshape(3, 5).T).sum(axis=1)
    loss = level * (1 + terms) * np.exp(noise * rng.normal(size=len(level)))
    bad = rng.random(len(loss)) < outliers
    loss[bad] *= rng.uniform(1.0, 1.4, size=bad.sum())
    return Runs(columns[0], columns[1], columns[2], columns[3], loss)


def problem_of(runs: Runs) -> SurfaceProblem:
    prior = neutral_prior()
    return prepare(runs, mean=prior.mean, precision=np.diag(1 / np.diag(prior.covariance)))


def true_point(params: float, tokens: float, *, seed: int | None = None) -> tuple[float, float]:
    return best_point(surface_of((basis() @ true_weights(seed)).tolist()), params, tokens)


def test_gradient_agrees_with_finite_differences() -> None:
    problem = problem_of(simulate(0))
    weight = nearness(problem)[None]
    at = np.array([*TRUTH.values()]) + 0.05

    def objective(free: Floats) -> float:
        found = solve(problem, free[None], run_weights=weight, steps=0)
        return float(found.objective[0]) / NOISE**2

    exact = -look(problem, at[None], run_weights=weight).downhill[0]
    numeric = approx_fprime(at, objective, 1e-6)
    # The one-sided difference errs by half the second derivative times 1e-6.
    assert np.allclose(exact, numeric, rtol=1e-3, atol=1e-3 * np.abs(exact).max())


def test_solver_reaches_the_minimum_that_scipy_finds() -> None:
    problem = problem_of(simulate(1))
    weight = nearness(problem)
    cells = len(problem.cells.start)

    def residuals(joint: Floats) -> Floats:
        free, offset = joint[: len(FREE)], joint[len(FREE) :]
        fitted = problem.model.evaluate(problem.features, free[None])[0][0]
        r = (problem.observed - offset[problem.cells.of_run] - fitted) / NOISE
        # scipy's robust loss is of each residual; this is its square root, ridge left square.
        robust = np.sign(r) * np.sqrt(weight * 2 * (np.sqrt(1 + r**2) - 1))
        return np.concatenate(
            [robust, (free - problem.towards) * np.sqrt(np.diag(problem.precision))]
        )

    ours = solve(problem, problem.towards[None], run_weights=weight[None], tolerance=1e-6)
    start = np.concatenate([ours.free[0] + 0.02, ours.level[0] + 1e-3])
    theirs = least_squares(residuals, start, x_scale="jac", xtol=1e-12, ftol=1e-12)
    assert len(theirs.x) == len(FREE) + cells
    assert ours.objective[0] / NOISE**2 <= theirs.cost * (1 + 1e-5)
    at_both = [
        best_point(surface_of((basis() @ v).tolist()), 1e9, 2e10)
        for v in (ours.free[0], theirs.x[: len(FREE)])
    ]
    assert np.allclose(at_both[0], at_both[1], rtol=0.01)


def test_projected_normal_matrix_is_positive_definite() -> None:
    problem = problem_of(simulate(2))
    weight = nearness(problem)[None]
    curvature = look(problem, problem.towards[None], run_weights=weight).curvature[0]
    assert np.linalg.eigvalsh(curvature).min() > 0


def test_a_fit_does_not_depend_on_the_last_digits_of_its_losses() -> None:
    batches = (65536.0, 131072.0, 262144.0, 524288.0)
    table = tuned_table(tokens=(2e9, 5e9, 2e10), batches=batches)
    spreads = []
    for scale in (0.0, 1e-13, -1e-13):
        nudged = table.assign(loss=table["loss"] * (1 + scale * np.arange(len(table)) / len(table)))
        surface = fit_surface(tuned_columns(check_runs(nudged))).surface
        assert surface.covariance is not None
        spreads.append(np.sqrt(np.diag(surface.covariance.matrix)))
    # Refits stop at a loose tolerance, whether or not they have converged long before.
    np.testing.assert_allclose(spreads[1:], [spreads[0]] * 2, rtol=1e-6)


def test_exact_runs_give_back_their_optimum() -> None:
    fit = fit_surface(simulate(0, noise=1e-6), effort=QUICK)
    for params, tokens in ((6e7, 2e9), (2.5e8, 3e10), (1e9, 1e11)):
        # The neutral ridge pulls by under 2% even where the runs are exact.
        assert np.allclose(
            best_point(fit.surface, params, tokens), true_point(params, tokens), rtol=0.03
        )


def test_a_tenth_of_corrupted_runs_moves_the_optimum_by_under_five_percent() -> None:
    clean = fit_surface(simulate(3), effort=QUICK).surface
    dirty = fit_surface(simulate(3, outliers=0.1), effort=QUICK).surface
    for params, tokens in ((6e7, 2e9), (1.2e8, 8e9), (2.5e8, 3e10)):
        here, there = best_point(clean, params, tokens), best_point(dirty, params, tokens)
        assert np.allclose(here, there, rtol=0.05)


def test_order_of_runs_does_not_matter() -> None:
    runs = simulate(4)
    order = np.random.default_rng(0).permutation(len(runs.loss))
    shuffled = Runs(*(getattr(runs, name)[order] for name in Runs.__slots__))
    first, second = fit_surface(runs, effort=QUICK), fit_surface(shuffled, effort=QUICK)
    assert np.allclose(weights(first.surface), weights(second.surface), rtol=1e-3, atol=1e-3)
    assert np.array_equal(first.cells, second.cells)


def test_same_seed_gives_the_same_covariance() -> None:
    first, second = (
        fit_surface(simulate(5), effort=Effort(bootstraps=10, seed=3)) for _ in range(2)
    )
    assert first.surface.covariance == second.surface.covariance
    assert first.surface.covariance is not None
    assert first.surface.covariance.names == list(COEFFICIENTS)


def test_offsets_are_the_levels_of_the_cells() -> None:
    fit = fit_surface(simulate(6, noise=1e-6), effort=QUICK)
    levels = [np.log(1.7 + 400 / n**0.34 + 400 / d**0.28) for n, d in fit.cells]
    # Level and penalty trade off along the ridge; ten percent of the penalty at the optimum.
    assert np.allclose(fit.offsets, levels, atol=0.02)


def test_a_loss_that_is_not_above_zero_is_named() -> None:
    runs = simulate(7)
    runs.loss[17] = -2.0
    with pytest.raises(InputError, match=r"row 18, column loss: -2.0 is not above 0"):
        fit_surface(runs)


def test_cells_of_one_run_cannot_be_fitted() -> None:
    n = 4
    runs = Runs(
        np.arange(1.0, n + 1) * 1e8,
        np.full(n, 1e9),
        np.full(n, 1e-3),
        np.full(n, 1e5),
        np.full(n, 3.0),
    )
    with pytest.raises(FitError, match="3 runs"):
        fit_surface(runs)


def test_near_cells_weigh_most_for_a_target() -> None:
    cells = np.array([[1e8, 1e9], [1e8, 1e10], [5e8, 1e10]])
    weight = closeness(cells, (1e9, 2e10))
    assert weight[0] < weight[1] < weight[2] == 1


def test_power_laws_are_the_surface_everywhere() -> None:
    fit = fit_surface(simulate(8), effort=Effort(bootstraps=20))
    for params, tokens in ((1e7, 1e9), (7e10, 3e12)):
        point = {"params": params, "tokens": tokens}
        log_sd = surface_log_sd(fit.surface, params, tokens)
        assert log_sd is not None
        expected = zip(best_point(fit.surface, params, tokens), log_sd, strict=True)
        for law, (value, sd) in zip(power_laws(fit), expected, strict=True):
            assert evaluate_law(law, point) == pytest.approx(value)
            # One is the gradient in the weights, the other that of the line: the same derivative.
            assert law_log_sd(law, point) == pytest.approx(sd)


def prior_at(lr_scale: float, sd: float) -> Line:
    exact = true_point(3e8, 2e10)
    reference = {"params": 3e8, "tokens": 2e10}
    lr = Quantity(
        form="power",
        coefficients={"scale": exact[0] * lr_scale, "params": -0.5, "tokens": 0.2},
        reference=reference,
    )
    batch = Quantity(
        form="power", coefficients={"scale": exact[1], "tokens": 0.5}, reference=reference
    )
    return line_from_law(lr, batch, transfer=Transfer(level=sd, exponent=sd))


def test_a_certain_prior_decides_and_a_vague_one_does_not() -> None:
    runs = simulate(9)
    effort = Effort(bootstraps=40)
    alone = fit_surface(runs, effort=effort)
    certain = fit_surface(runs, line_prior=prior_at(2.0, 1e-4), effort=effort)
    vague = fit_surface(runs, line_prior=prior_at(2.0, 100.0), effort=effort)
    by_runs = best_point(alone.surface, 3e8, 2e10)
    truth = true_point(3e8, 2e10)
    assert np.allclose(best_point(certain.surface, 3e8, 2e10), (2 * truth[0], truth[1]), rtol=1e-3)
    assert np.allclose(best_point(vague.surface, 3e8, 2e10), by_runs, rtol=1e-3)


def test_shares_of_runs_and_prior_add_up() -> None:
    prior = prior_at(1.3, 0.2)
    fit = fit_surface(simulate(10), line_prior=prior, effort=Effort(bootstraps=40))
    assert fit.line is not None
    assert fit.runs_line is not None
    parts = [share_of(part, fit.line, 1e9, 1e11) for part in (fit.runs_line, prior)]
    assert np.allclose(np.sum(parts, axis=0), 1)
    assert np.min(parts) > 0


def test_a_prior_without_bootstraps_is_refused() -> None:
    with pytest.raises(FitError, match="100 bootstraps"):
        fit_surface(simulate(11), line_prior=prior_at(1.0, 0.2), effort=QUICK)


def test_a_prior_narrows_the_interval_far_from_the_runs() -> None:
    runs = simulate(12)
    effort = Effort(bootstraps=40)
    alone = surface_log_sd(fit_surface(runs, effort=effort).surface, 1e11, 1e13)
    both = surface_log_sd(
        fit_surface(runs, line_prior=prior_at(1.0, 0.05), effort=effort).surface, 1e11, 1e13
    )
    assert alone is not None
    assert both is not None
    assert both[0] < alone[0]
    assert both[1] < alone[1]


@pytest.mark.slow
def test_intervals_hold_the_true_optimum_as_often_as_they_say() -> None:
    held = []
    for seed in range(200):
        fit = fit_surface(
            simulate(seed, outliers=0.05, vary=True), effort=Effort(bootstraps=60, seed=seed)
        )
        truth = true_point(2.5e8, 3e10, seed=seed)
        known = surface_log_sd(fit.surface, 2.5e8, 3e10)
        assert known is not None
        off = np.abs(np.log(np.divide(best_point(fit.surface, 2.5e8, 3e10), truth)))
        held += list(off <= Z80 * np.array(known))
    assert 0.7 <= np.mean(held) <= 0.9
