from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitting.arrays import Floats
from fitting.logs.final_loss import FinalLoss, Peers, predict_final


def draw_runs(rng: np.random.Generator, count: int, *, noise: float = 0.003) -> Peers:
    """Runs whose loss still falls by a part that grows with lr, is nearly even in batch, and makes
    up for a third of what they are behind."""
    lr = 1e-3 * 4 ** rng.uniform(-1, 1, count)
    batch_tokens = 1e5 * 4 ** rng.uniform(-1, 1, count)
    behind = rng.normal(scale=0.05, size=count)
    drop = -0.1 - 0.02 * np.log(lr / 1e-3) + 0.005 * np.log(batch_tokens / 1e5) - behind / 3
    log_now = 1.1 + behind
    return Peers(
        lr=lr,
        batch_tokens=batch_tokens,
        now=np.exp(log_now),
        final=np.exp(log_now + drop + rng.normal(scale=noise, size=count)),
    )


def split(runs: Peers, count: int) -> tuple[Peers, dict[str, float], float]:
    """The first runs as peers; the next one's settings and its final loss."""
    columns = {name: getattr(runs, name) for name in Peers.__slots__}
    peers = Peers(**{name: column[:count] for name, column in columns.items()})
    last = {name: float(column[count]) for name, column in columns.items()}
    final = last.pop("final")
    return peers, last, final


def predict(runs: Peers, count: int) -> tuple[FinalLoss, float]:
    peers, last, final = split(runs, count)
    return predict_final(peers, **last), final


def test_prediction_is_near_the_truth_with_many_peers() -> None:
    found, final = predict(draw_runs(np.random.default_rng(0), 61), 60)
    assert np.exp(found.location) == pytest.approx(final, rel=0.01)
    assert found.scale < 0.005


@pytest.mark.parametrize("count", [4, 8, 16])
def test_one_run_in_a_hundred_ends_below_its_lower_percentile(count: int) -> None:
    rng = np.random.default_rng(count)
    below = 0
    for _ in range(1000):
        found, final = predict(draw_runs(rng, count + 1), count)
        below += final < found.lower(0.01)
    # 10 expected, 10 more is three standard deviations.
    assert below <= 20


@given(st.integers(1, 12), st.integers(0, 100))
def test_prediction_scales_with_the_unit_of_the_loss(count: int, seed: int) -> None:
    peers, last, _ = split(draw_runs(np.random.default_rng(seed), count + 1), count)
    plain = predict_final(peers, **last)
    bits = Peers(peers.lr, peers.batch_tokens, 1.44 * peers.now, 1.44 * peers.final)
    scaled = predict_final(bits, **(last | {"now": 1.44 * last["now"]}))
    assert scaled.lower(0.1) == pytest.approx(1.44 * plain.lower(0.1), rel=1e-9)


def test_prediction_is_wider_far_from_the_peers_and_with_fewer_of_them() -> None:
    runs = draw_runs(np.random.default_rng(1), 13)
    peers, last, _ = split(runs, 12)
    far = predict_final(peers, **(last | {"lr": 100 * last["lr"]}))
    near = predict_final(peers, **last)
    few, _ = predict(runs, 3)
    assert far.scale > 1.5 * near.scale
    assert few.scale > near.scale


def two(values: list[float]) -> Floats:
    return np.array(values)


def test_a_run_at_its_peers_setting_loses_what_they_lost() -> None:
    peers = Peers(two([1e-3] * 2), two([1e5] * 2), two([3.0] * 2), two([2.7] * 2))
    found = predict_final(peers, lr=1e-3, batch_tokens=1e5, now=3.0)
    assert np.exp(found.location) == pytest.approx(2.7, rel=1e-3)
