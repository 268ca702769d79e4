import math

import numpy as np
import pytest

from fitting.cells.spline import MeasuredOptimum
from fitting.fit.doubts import Bend, find_bends, fit_bend, threshold
from tests.fixtures.runs import true_point, true_surface

SIZES = tuple(1e8 * 2.0 ** np.arange(6))
TOKENS = tuple(2e9 * 3.0 ** np.arange(4))


def optima(
    rng: np.random.Generator, *, scatter: float, curvature: float = 0.0, edge: bool = False
) -> list[MeasuredOptimum]:
    found = []
    middle = float(np.mean(np.log(SIZES)))
    for params in SIZES:
        for tokens in TOKENS:
            lr, batch_tokens = true_point(params, tokens)
            bent = curvature * (math.log(params) - middle) ** 2
            found.append(
                MeasuredOptimum(
                    params=params,
                    tokens=tokens,
                    lr=lr * math.exp(bent + rng.normal(scale=scatter)),
                    batch_tokens=batch_tokens * math.exp(rng.normal(scale=scatter)),
                    loss=2.5,
                    edge=edge,
                    runs=48,
                )
            )
    return found


def test_a_bend_is_found_where_it_is_and_nowhere_else() -> None:
    measured = optima(np.random.default_rng(0), scatter=0.1, curvature=-0.3)
    (bend,) = find_bends(measured, true_surface())
    assert (bend.quantity, bend.against) == ("lr", "params")
    assert bend.curvature == pytest.approx(-0.3, abs=3 * bend.error)


def test_straight_laws_show_a_bend_in_one_table_of_twenty() -> None:
    rng = np.random.default_rng(1)
    surface = true_surface()
    bent = sum(bool(find_bends(optima(rng, scatter=0.2), surface)) for _ in range(300))
    # Binomial sd of 300 draws at 5% is 1.3%.
    assert 0.01 <= bent / 300 <= 0.09


def test_optima_on_the_edge_of_their_grid_say_nothing() -> None:
    measured = optima(np.random.default_rng(0), scatter=0.1, curvature=-0.3, edge=True)
    assert find_bends(measured, true_surface()) == ()


def test_few_sizes_show_no_bend() -> None:
    assert fit_bend(np.log([1.0, 2, 4, 1, 2, 4]), np.arange(6.0)) is None
    assert fit_bend(np.log([1.0, 2, 4, 8]), np.arange(4.0)) is None


def test_fit_of_an_exact_parabola_is_exact() -> None:
    x = np.log([1.0, 2, 4, 8, 16])
    curvature, error = fit_bend(x, 3 + 2 * x - 0.5 * x**2) or (math.nan, math.nan)
    assert curvature == pytest.approx(-0.5)
    assert error == pytest.approx(0, abs=1e-12)


def test_few_points_need_more_standard_errors() -> None:
    # Student's t of 2 degrees of freedom: 5% shared by four, two-sided.
    assert threshold(5) == pytest.approx(8.86, abs=0.01)
    assert threshold(1000) == pytest.approx(2.50, abs=0.01)


def test_the_sentence_says_which_way_and_by_how_much() -> None:
    bend = Bend(quantity="batch_tokens", against="tokens", curvature=0.061, error=0.021)
    assert bend.sentence().startswith("the best batch tokens bends upward in ln tokens (0.061 ± ")
