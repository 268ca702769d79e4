"""The gradient noise scale from two batch sizes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitting.errors import InputError
from proxies.run.gradient_noise import GradientNorms, NoiseEstimate, split_norms, update_noise


def measured_norms(rng: np.random.Generator, *, micro: int, parts: int) -> GradientNorms:
    """Norms of gradients with |G|^2 = 4 and tr(Sigma) = 100 in 50 dimensions."""
    signal = np.full(50, np.sqrt(4 / 50))
    gradients = signal + rng.normal(size=(parts, 50)) * np.sqrt(2 / micro)
    return GradientNorms(
        small_sequences=micro,
        big_sequences=micro * parts,
        small_norm_sq=float((gradients**2).sum(axis=1).mean()),
        big_norm_sq=float((gradients.mean(axis=0) ** 2).sum()),
    )


def test_both_terms_are_unbiased() -> None:
    rng = np.random.default_rng(0)
    found = np.array([split_norms(measured_norms(rng, micro=3, parts=4)) for _ in range(4000)])
    error = found.std(axis=0) / np.sqrt(len(found))
    assert abs(found.mean(axis=0) - (100, 4)) == pytest.approx((0, 0), abs=4 * error.max())


def test_the_trace_is_the_sample_variance_of_the_norm_test() -> None:
    gradients = np.random.default_rng(1).normal(size=(5, 7))
    norms = GradientNorms(
        small_sequences=3,
        big_sequences=15,
        small_norm_sq=float((gradients**2).sum(axis=1).mean()),
        big_norm_sq=float((gradients.mean(axis=0) ** 2).sum()),
    )
    assert split_norms(norms)[0] == pytest.approx(3 * gradients.var(axis=0, ddof=1).sum())


def test_smoothing_the_terms_apart_finds_the_noise_scale() -> None:
    rng = np.random.default_rng(2)
    estimate = NoiseEstimate()
    for _ in range(500):
        norms = measured_norms(rng, micro=8, parts=4)
        estimate = update_noise(estimate, norms, ema_decay=0.99)
    assert estimate.noise_scale == pytest.approx(25, rel=0.1)


@given(values=st.lists(st.floats(0.1, 10), min_size=1, max_size=20), decay=st.floats(0, 0.99))
def test_the_average_is_adams_bias_corrected_one(values: list[float], decay: float) -> None:
    estimate, plain = NoiseEstimate(), 0.0
    for value in values:
        # small^2 = big^2 = |G|^2: no noise at all.
        norms = GradientNorms(
            small_sequences=1, big_sequences=2, small_norm_sq=value, big_norm_sq=value
        )
        estimate = update_noise(estimate, norms, ema_decay=decay)
        plain = decay * plain + (1 - decay) * value
    assert estimate.grad_sq == pytest.approx(plain / (1 - decay ** len(values)), rel=1e-9)
    assert estimate.noise_scale is None


def test_one_micro_batch_shows_no_noise() -> None:
    norms = GradientNorms(small_sequences=8, big_sequences=8, small_norm_sq=1, big_norm_sq=1)
    with pytest.raises(InputError, match="at least 2 micro-batches"):
        split_norms(norms)
