"""How noisy a gradient is, from its norms over a small and a large batch.

With per-sequence gradients of mean G and covariance Sigma, the mean gradient of B sequences has

    E |g_B|^2 = |G|^2 + tr(Sigma) / B

so the mean squared norm over micro-batches and the squared norm of their mean give both terms
without bias. The simple noise scale tr(Sigma) / |G|^2 is the batch, here in sequences, at which
noise and signal are alike. Both terms are smoothed apart before they are divided: a mean of
ratios would be biased.

Source: McCandlish et al. 2018 (arXiv 1812.06162), appendix A.1; smoothing as in GPT-NeoX.
"""

from __future__ import annotations

from dataclasses import dataclass

from fitting.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientNorms:
    """Squared norms of one update's gradient over its micro-batches and over the whole batch."""

    small_sequences: float
    """Sequences of a micro-batch, > 0; of unequal ones their harmonic mean."""
    big_sequences: float
    """Sequences of the batch, above `small_sequences`."""
    small_norm_sq: float
    """Mean of |g|^2 over the micro-batches, >= 0."""
    big_norm_sq: float
    """|g|^2 of the batch's mean gradient, >= 0."""


@dataclass(frozen=True, slots=True)
class NoiseEstimate:
    """Bias-corrected moving averages of the two terms; nothing observed at the start."""

    trace: float = 0.0
    """tr(Sigma) of one sequence's gradient."""
    grad_sq: float = 0.0
    """|G|^2 of the true gradient; the unbiased estimate may be below 0."""
    observed: int = 0
    """Updates that went in."""

    @property
    def noise_scale(self) -> float | None:
        """tr(Sigma) / |G|^2 in sequences; None while either term is not above 0."""
        if self.trace <= 0 or self.grad_sq <= 0:
            return None
        return self.trace / self.grad_sq


def split_norms(norms: GradientNorms) -> tuple[float, float]:
    """tr(Sigma) and |G|^2 of one update, each without bias, either of which may be below 0.

    tr(Sigma) = (small^2 - big^2) / (1/b - 1/B), |G|^2 = (B big^2 - b small^2) / (B - b)

    Over M micro-batches of b the first is b times their sample variance, as the norm test has it.

    Raises:
        InputError: the batch is one micro-batch: its noise cannot be told from its gradient.

    Example:
        >>> split_norms(
        ...     GradientNorms(
        ...         small_sequences=2, big_sequences=8, small_norm_sq=4.0, big_norm_sq=1.75
        ...     )
        ... )
        (6.0, 1.0)
    """
    small, big = norms.small_sequences, norms.big_sequences
    if not 0 < small < big:
        raise InputError(
            f"gradient noise: micro-batches of {small:g} in a batch of {big:g} sequences; "
            "at least 2 micro-batches are needed"
        )
    trace = (norms.small_norm_sq - norms.big_norm_sq) / (1 / small - 1 / big)
    grad_sq = (big * norms.big_norm_sq - small * norms.small_norm_sq) / (big - small)
    return trace, grad_sq


def update_noise(
    estimate: NoiseEstimate, norms: GradientNorms, *, ema_decay: float
) -> NoiseEstimate:
    """The moving averages with one more update.

    mean += (value - mean) (1 - decay) / (1 - decay^t), which is Adam's bias-corrected average.

    Args:
        estimate: the averages so far.
        norms: of the new update.
        ema_decay: in [0, 1); 0 keeps the newest alone.
    """
    trace, grad_sq = split_norms(norms)
    observed = estimate.observed + 1
    weight = (1 - ema_decay) / (1 - ema_decay**observed)
    return NoiseEstimate(
        trace=estimate.trace + (trace - estimate.trace) * weight,
        grad_sq=estimate.grad_sq + (grad_sq - estimate.grad_sq) * weight,
        observed=observed,
    )
