import math

import numpy as np
import pytest

from fitting.cells.optimum import BestValue, CellOptimum, Optimum
from fitting.fit.weight_decay import SCATTER, fit_timescale, pooled_scatter, timescale_of
from fitting.laws.evaluate import evaluate_law

LR, BATCH = 2e-3, 3e5


def inside(value: float) -> BestValue:
    return BestValue(Optimum.INSIDE, value, value / 1.1, value * 1.1, 0.1, (value / 4, value * 4))


def bound() -> BestValue:
    return BestValue(Optimum.AT_LOWEST, None, None, 0.1, None, (0.1, 0.4))


def cell(params: float, tokens: float, decay: BestValue, *, lr: BestValue) -> CellOptimum:
    return CellOptimum(
        params=params,
        tokens=tokens,
        best={"lr": lr, "batch_tokens": inside(BATCH), "weight_decay": decay},
        loss=2.5,
        loss_log_sd=0.001,
        noise=0.002,
        log_covariance=None,
        varied=("lr", "batch_tokens", "weight_decay"),
        n=30,
        outliers=0,
        diverged=0,
    )


def exact(params: float, tokens: float, *, scale: float = 0.9, slope: float = -0.5) -> CellOptimum:
    tau = scale * (tokens / params) ** slope
    return cell(params, tokens, inside(BATCH / (LR * tokens * tau)), lr=inside(LR))


def test_the_law_is_recovered_from_exact_cells() -> None:
    law, notes = fit_timescale([exact(1e8, 1e9 * k) for k in (1, 3, 10, 30)])
    assert law is not None
    assert law.coefficients["scale"] == pytest.approx(0.9)
    assert law.coefficients["tokens_per_param"] == pytest.approx(-0.5)
    assert notes == []


def test_the_law_gives_back_each_cells_weight_decay() -> None:
    cells = [exact(1e8, 1e9 * k) for k in (1, 3, 10)]
    law, _ = fit_timescale(cells)
    assert law is not None
    for one in cells:
        point = {"params": one.params, "tokens": one.tokens, "lr": LR, "batch_tokens": BATCH}
        assert evaluate_law(law, point) == pytest.approx(one.best["weight_decay"].value)


def test_cells_on_the_edge_are_left_out_and_counted() -> None:
    cells = [exact(1e8, 1e9 * k) for k in (1, 3, 10)]
    law, notes = fit_timescale([*cells, cell(1e8, 3e10, bound(), lr=inside(LR))])
    assert law is not None
    assert law.n == 3
    assert notes == [
        "the weight decay is of 3 of 4 cells; the others have a best value on the edge of those "
        "tried"
    ]


def test_no_cell_inside_gives_no_law_and_says_so() -> None:
    law, notes = fit_timescale([cell(1e8, 3e10, bound(), lr=inside(LR))])
    assert law is None
    assert "no cell has its best weight decay" in notes[0]


def test_one_tokens_per_param_gives_no_slope() -> None:
    # 20.0 and 20.2 tokens per param: a slope through them would be noise.
    cells = [exact(1e8, 2e9), exact(2e8, 4.04e9), exact(4e8, 8e9)]
    law, notes = fit_timescale(cells)
    assert law is not None
    assert law.coefficients["tokens_per_param"] == 0
    assert law.coefficients["scale"] == pytest.approx(0.9 * 20**-0.5, rel=0.01)
    assert "not identified" in notes[0]


def test_three_exact_cells_do_not_make_an_exact_law() -> None:
    law, _ = fit_timescale([exact(1e8, 1e9 * k) for k in (1, 3, 10)])
    assert law is not None
    assert law.scatter is not None
    assert law.scatter > 0.2


def test_scatter_tends_to_the_measured_one() -> None:
    residual = np.random.default_rng(0).normal(scale=0.05, size=2000)
    assert pooled_scatter(residual, freedom=1998) == pytest.approx(0.05, rel=0.1)
    assert pooled_scatter(residual[:0], freedom=0) == pytest.approx(SCATTER)


def test_an_lr_that_was_not_varied_stands_as_the_best() -> None:
    fixed = BestValue(Optimum.NOT_VARIED, None, None, None, None, (LR, LR))
    found = timescale_of(cell(1e8, 2e9, inside(0.1), lr=fixed))
    assert found == pytest.approx((20.0, BATCH / (LR * 0.1 * 2e9)))


def test_an_unknown_lr_gives_no_timescale() -> None:
    unknown = BestValue(Optimum.AT_HIGHEST, None, 1e-3, None, None, (1e-4, 1e-3))
    assert timescale_of(cell(1e8, 2e9, inside(0.1), lr=unknown)) is None


def test_intervals_of_the_slope_hold_the_truth_in_about_80_percent() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        cells = []
        for params in (1e8, 3e8):
            for ratio in (5.0, 20.0, 80.0, 320.0):
                tau = 0.9 * ratio**-0.5 * math.exp(rng.normal(scale=0.3))
                tokens = ratio * params
                decay = inside(BATCH / (LR * tokens * tau))
                cells.append(cell(params, tokens, decay, lr=inside(LR)))
        law, _ = fit_timescale(cells)
        assert law is not None
        assert law.covariance is not None
        error = abs(law.coefficients["tokens_per_param"] + 0.5)
        held += error <= 1.2816 * math.sqrt(law.covariance.matrix[1][1])
    # Binomial sd of 200 draws is 0.028.
    assert 0.72 <= held / 200 <= 0.88
