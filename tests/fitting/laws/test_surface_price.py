import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitting.laws.file import read_law
from fitting.laws.plateau import cost, curvature, move_lr, plateau
from fitting.laws.surface import Surface, best_lr, best_point, log_penalty, surface_from

LAW = Path(__file__).parents[3] / "data" / "laws" / "step-law-surface.toml"

sizes = st.floats(1e7, 1e11)
budgets = st.floats(1e9, 1e13)


@pytest.fixture(scope="module")
def surface() -> Surface:
    return surface_from(read_law(LAW, trusted=True).quantities["surface"])


@given(sizes, budgets, st.floats(1e-4, 0.05))
def test_the_ends_of_the_plateau_cost_exactly_what_is_tolerated(
    surface: Surface, params: float, tokens: float, extra: float
) -> None:
    lr, batch = best_point(surface, params, tokens)
    span = plateau(surface, params, tokens, extra=extra)
    ends = [(span.lr.low, batch), (span.lr.high, batch)]
    ends += [(lr, span.batch_tokens.low), (lr, span.batch_tokens.high)]
    assert span.lr.low < lr < span.lr.high
    assert span.batch_tokens.low < batch < span.batch_tokens.high
    for lr_end, batch_end in ends:
        paid = cost(surface, params=params, tokens=tokens, lr=lr_end, batch_tokens=batch_end)
        assert math.isclose(paid, extra, rel_tol=1e-6)


@given(sizes, budgets, st.floats(0.1, 10.0))
def test_a_pinned_batch_has_its_own_plateau_of_lr(
    surface: Surface, params: float, tokens: float, factor: float
) -> None:
    batch = best_point(surface, params, tokens)[1] * factor
    span = plateau(surface, params, tokens, batch_tokens=batch)
    best = best_lr(surface, params, tokens, batch)
    at = {"params": params, "tokens": tokens, "batch_tokens": batch}
    for end in (span.lr.low, span.lr.high):
        paid = log_penalty(surface, lr=end, **at) - log_penalty(surface, lr=best, **at)
        assert math.isclose(math.expm1(paid), 0.001, rel_tol=1e-6)


@given(sizes, budgets, st.floats(-2, 2), st.floats(-2, 2))
def test_cost_is_never_negative(
    surface: Surface, params: float, tokens: float, x: float, y: float
) -> None:
    lr, batch = best_point(surface, params, tokens)
    paid = cost(
        surface, params=params, tokens=tokens, lr=lr * math.exp(x), batch_tokens=batch * math.exp(y)
    )
    assert paid >= -1e-12


def test_curvature_is_the_second_difference_of_the_log_loss(surface: Surface) -> None:
    params, tokens, h = 1e9, 2e10, 1e-3
    lr, batch = best_point(surface, params, tokens)

    def at(x: float, y: float) -> float:
        return log_penalty(
            surface,
            params=params,
            tokens=tokens,
            lr=lr * math.exp(x * h),
            batch_tokens=batch * math.exp(y * h),
        )

    bend = curvature(surface, params, tokens)
    # Differences of doubles over h^2: 1e-16 / 1e-6 against 1e-2.
    assert math.isclose(bend.lr, (at(1, 0) - 2 * at(0, 0) + at(-1, 0)) / h**2, rel_tol=1e-4)
    assert math.isclose(
        bend.batch_tokens, (at(0, 1) - 2 * at(0, 0) + at(0, -1)) / h**2, rel_tol=1e-4
    )
    crossed = (at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1)) / (4 * h**2)
    assert math.isclose(bend.lr_batch, crossed, rel_tol=1e-4)


@given(sizes, budgets, st.floats(1e-5, 1e-1), st.floats(1e4, 1e8))
def test_an_unmoved_batch_leaves_the_lr(
    surface: Surface, params: float, tokens: float, lr: float, batch: float
) -> None:
    moved = move_lr(surface, params, tokens, lr=lr, batch_tokens=batch, new_batch_tokens=batch)
    assert math.isclose(moved, lr, rel_tol=1e-9)


@given(sizes, budgets, st.floats(1.01, 20.0))
def test_a_larger_batch_never_lowers_the_best_lr(
    surface: Surface, params: float, tokens: float, factor: float
) -> None:
    lr, batch = best_point(surface, params, tokens)
    moved = move_lr(
        surface, params, tokens, lr=lr, batch_tokens=batch, new_batch_tokens=batch * factor
    )
    assert lr < moved < lr * factor
