"""Chinchilla's fit: our batched solver beside scipy's BFGS, start by start, in one run.

    python -m tests.benchmarks.chinchilla_fit SHARED [--sample 45]

The task is that of arXiv 2404.10102: 240 runs read off Chinchilla's figure 4 (the five highest
losses left out, D = C / 6N), the sum of Huber's function at delta 1e-3 of ln loss, from the
4,500 starts a, b in 0..25 step 5, e in -1..1 step 0.5, alpha, beta in 0..2 step 0.5; then 4,000
bootstraps from the minimum, one start each.

Ours takes all 4,500 starts 4 steps, then the best quarter 8 more, and so on down to the best 17,
which are iterated to the end;
all 4,000 bootstraps are iterated until a step gains less than 1e-5 of the objective. As a check,
all 4,500 are also iterated to the end, which is not timed. scipy is
timed on a sample, evenly spaced, and scaled to the whole. Times are CPU seconds of this process,
so that other work on the machine counts against neither; set OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from scipy.optimize import OptimizeResult, minimize
from scipy.special import huber

from fitting.arrays import Floats
from fitting.loss.families import FAMILIES, make_problem, natural
from fitting.loss.slopes import centre_of, to_features
from fitting.robust import DELTA, search, solve
from tests.measured.chinchilla_fit import read_runs, start_grid, to_free

BOOTSTRAPS = 4000
CHINCHILLA = FAMILIES["chinchilla"]


def fit_by_scipy(
    start: Floats, params: Floats, tokens: Floats, loss: Floats, weights: Floats
) -> OptimizeResult:
    """One BFGS fit as the replication's notebook does it, gradient by differences."""
    log_n, log_d, log_loss = np.log(params), np.log(tokens), np.log(loss)

    def objective(theta: Floats) -> float:
        a, b, e, alpha, beta = theta
        fitted = np.log(np.exp(a - alpha * log_n) + np.exp(b - beta * log_d) + np.exp(e))
        return float(weights @ huber(DELTA, log_loss - fitted))

    # BFGS tries steps at which exp overflows, and takes the infinite objective for what it is.
    with np.errstate(all="ignore"):
        return minimize(objective, start, method="BFGS")


def compare(shared: Path, sample: int) -> None:
    """Print times, ratios and minima."""
    params, tokens, loss = read_runs(shared)
    features = to_features(params, tokens, tokens, centre_of(params, tokens, tokens))
    problem = make_problem(CHINCHILLA, features, np.log(loss))
    grid = start_grid()
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(len(loss), np.full(len(loss), 1 / len(loss)), size=BOOTSTRAPS)

    begin = time.process_time()
    found = search(problem, to_free(grid, problem))
    search_s = time.process_time() - begin
    begin = time.process_time()
    start = np.tile(found.best(), (BOOTSTRAPS, 1))
    boot = solve(problem, start, run_weights=drawn.astype(np.float64), tolerance=1e-5)
    bootstrap_s = time.process_time() - begin

    chosen = grid[:: len(grid) // sample]
    begin = time.process_time()
    theirs = [fit_by_scipy(start, params, tokens, loss, np.ones_like(loss)) for start in chosen]
    scipy_s = (time.process_time() - begin) * len(grid) / len(chosen)
    lowest = min(theirs, key=lambda result: float(result.fun))
    begin = time.process_time()
    refits = [
        fit_by_scipy(np.asarray(lowest.x), params, tokens, loss, row.astype(np.float64))
        for row in drawn[:sample]
    ]
    scipy_bootstrap_s = (time.process_time() - begin) * BOOTSTRAPS / len(refits)

    coefficients = natural(CHINCHILLA, found.best(), features.centre)
    print("minimum:", ", ".join(f"{name} {value:.5g}" for name, value in coefficients.items()))
    print(f"objective: ours {found.objective.min():.9f}, scipy's sample {lowest.fun:.9f}")
    every = solve(problem, to_free(grid, problem))
    print(f"objective with every start iterated to the end: {every.objective.min():.9f}")
    refit_loss = np.mean([float(result.fun) for result in refits])
    print(
        f"mean objective of the first {len(refits)} bootstraps: "
        f"ours {boot.objective[: len(refits)].mean():.9f}, scipy {refit_loss:.9f}"
    )
    errors = natural(CHINCHILLA, boot.free, features.centre)
    print("bootstrap sd:", ", ".join(f"{name} {v.std():.3g}" for name, v in errors.items()))
    print(
        f"4,500 starts: ours {search_s:.2f} s, scipy {scipy_s:.0f} s "
        f"(from {len(chosen)}), ratio {scipy_s / search_s:.0f}"
    )
    print(
        f"4,000 bootstraps: ours {bootstrap_s:.2f} s, scipy {scipy_bootstrap_s:.0f} s "
        f"(from {len(refits)}), ratio {scipy_bootstrap_s / bootstrap_s:.0f}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path, help="folder of the measurements")
    parser.add_argument("--sample", type=int, default=45, help="starts and bootstraps of scipy")
    options = parser.parse_args()
    compare(options.shared, options.sample)
