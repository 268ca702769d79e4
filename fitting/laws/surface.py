"""The three-term surface: loss over learning rate and batch at any model size and token budget.

    loss = level (1 + q),   q = progress + noise + heat,
    each term exp(const + params ln(N/N0) + tokens ln(D/D0) + lr ln(lr/lr0) + batch ln(B/B0))

Progress is what too little summed learning rate costs, noise what small batches cost, heat what
a learning rate near instability costs. A sum of exponentials of linear forms is log-convex, so
in (ln lr, ln B) there is one optimum, and with three terms it is a closed formula: a power of N
and D each for lr and batch. Everything here uses `math` alone; the fit is `fitting.surface.fit`.

Source: fitted form of this project; its theory is arXiv 2603.15958 and 2503.12645, where the loss
gap is a1 / (S lr) + a2 / B^(1/2) + a3 lr.
"""

from __future__ import annotations

import math
from dataclasses import asdict, astuple, dataclass, replace
from typing import TYPE_CHECKING

from fitting.errors import FitError, InputError
from fitting.laws.forms import SURFACE_COEFFICIENTS
from fitting.laws.law import Covariance, Quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

COEFFICIENTS = tuple(SURFACE_COEFFICIENTS.split())
"""Names of the fifteen weights, term by term, in the order of `weights`."""


@dataclass(frozen=True, slots=True)
class Term:
    """Weights of one term: its log at the reference, and its exponents."""

    const: float
    """Logarithm of the term at the reference."""
    params: float
    """Exponent of N."""
    tokens: float
    """Exponent of D."""
    lr: float
    """Exponent of the peak learning rate."""
    batch_tokens: float
    """Exponent of the batch in tokens."""


@dataclass(frozen=True, slots=True)
class SurfacePoint:
    """One training setting."""

    params: float
    """N, non-embedding, > 0."""
    tokens: float
    """D, > 0."""
    lr: float
    """Peak learning rate, > 0."""
    batch_tokens: float
    """Tokens a batch, > 0."""


REFERENCE = SurfacePoint(params=3e8, tokens=2e10, lr=1e-3, batch_tokens=3e5)
"""Where logs are centred unless a law file says otherwise."""


@dataclass(frozen=True, slots=True)
class Surface:
    """Three terms around their reference."""

    progress: Term
    noise: Term
    heat: Term
    reference: SurfacePoint = REFERENCE
    covariance: Covariance | None = None
    """Of some or all weights, by the names in `COEFFICIENTS`; None where unknown."""


def terms_of(surface: Surface) -> tuple[Term, Term, Term]:
    """Progress, noise, heat."""
    return surface.progress, surface.noise, surface.heat


def weights(surface: Surface) -> tuple[float, ...]:
    """The fifteen weights in the order of `COEFFICIENTS`."""
    return tuple(weight for term in terms_of(surface) for weight in astuple(term))


def surface_of(
    values: Sequence[float],
    *,
    reference: SurfacePoint = REFERENCE,
    covariance: Covariance | None = None,
) -> Surface:
    """A surface from its fifteen weights in the order of `COEFFICIENTS`."""
    progress, noise, heat = (Term(*values[i : i + 5]) for i in (0, 5, 10))
    return Surface(progress, noise, heat, reference, covariance)


def surface_from(quantity: Quantity) -> Surface:
    """The surface that a law's `[surface]` table holds.

    Raises:
        InputError: the table is of another form or its reference lacks an input.
    """
    if quantity.form != "three-term":
        raise InputError(f"surface: form '{quantity.form}' is not a surface; three-term would be")
    return surface_of(
        [quantity.coefficients[name] for name in COEFFICIENTS],
        reference=replace(REFERENCE, **quantity.reference),
        covariance=quantity.covariance,
    )


def surface_quantity(
    surface: Surface, *, n: int | None = None, r2: float | None = None
) -> Quantity:
    """The `[surface]` table of a law file; `surface_from` of it gives the same surface."""
    return Quantity(
        form="three-term",
        coefficients=dict(zip(COEFFICIENTS, weights(surface), strict=True)),
        reference=asdict(surface.reference),
        covariance=surface.covariance,
        n=n,
        r2=r2,
    )


def log_penalty(
    surface: Surface, *, params: float, tokens: float, lr: float, batch_tokens: float
) -> float:
    """ln(1 + q): how far ln loss lies above the level that no lr and batch reach.

    Args:
        surface: the surface.
        params: N, > 0.
        tokens: D, > 0.
        lr: peak learning rate, > 0.
        batch_tokens: tokens a batch, > 0.
    """
    setting = SurfacePoint(params=params, tokens=tokens, lr=lr, batch_tokens=batch_tokens)
    return math.log1p(math.fsum(math.exp(value) for value in log_terms(surface, setting)))


def log_terms(surface: Surface, at: SurfacePoint) -> list[float]:
    """Logarithm of each term at a setting."""
    x = log_point(surface, at)
    return [
        term.const
        + term.params * x.params
        + term.tokens * x.tokens
        + term.lr * x.lr
        + term.batch_tokens * x.batch_tokens
        for term in terms_of(surface)
    ]


def log_point(surface: Surface, at: SurfacePoint) -> SurfacePoint:
    """Logarithms of a setting over the surface's reference."""
    ref = surface.reference
    return SurfacePoint(
        params=math.log(at.params / ref.params),
        tokens=math.log(at.tokens / ref.tokens),
        lr=math.log(at.lr / ref.lr),
        batch_tokens=math.log(at.batch_tokens / ref.batch_tokens),
    )


def best_point(surface: Surface, params: float, tokens: float) -> tuple[float, float]:
    """The lr and batch of lowest loss, lr* and B*, each a power of N and of D.

    At the optimum the terms balance, sum_k q_k g_k = 0 with g_k the exponents of (lr, B), which
    fixes their shares; shares and ln q_k = a_k + g_k . x are three linear equations in x and the
    total, so the answer is exact.

    Args:
        surface: the surface.
        params: N, > 0.
        tokens: D, > 0.

    Returns:
        lr and batch in tokens.

    Raises:
        FitError: the terms do not pull in directions that enclose an optimum.
    """
    shares = optimal_shares(surface)
    ref = surface.reference
    at = SurfacePoint(params=params, tokens=tokens, lr=ref.lr, batch_tokens=ref.batch_tokens)
    gaps = [math.log(s) - a for s, a in zip(shares, log_terms(surface, at), strict=True)]
    first, second, third = terms_of(surface)
    # Differences to the third term take the total away: two equations in (ln lr, ln B).
    a, b = first.lr - third.lr, first.batch_tokens - third.batch_tokens
    c, d = second.lr - third.lr, second.batch_tokens - third.batch_tokens
    u, v = gaps[0] - gaps[2], gaps[1] - gaps[2]
    scale = a * d - b * c
    return (
        ref.lr * math.exp((u * d - b * v) / scale),
        ref.batch_tokens * math.exp((a * v - u * c) / scale),
    )


def optimal_shares(surface: Surface) -> tuple[float, float, float]:
    """Share of each term in q at the optimum; the same for every N and D.

    Raises:
        FitError: a share would not be above 0, so that there is no optimum.
    """
    x, y, z = terms_of(surface)
    crossed = (
        y.lr * z.batch_tokens - y.batch_tokens * z.lr,
        z.lr * x.batch_tokens - z.batch_tokens * x.lr,
        x.lr * y.batch_tokens - x.batch_tokens * y.lr,
    )
    total = math.fsum(crossed)
    if total == 0 or not min(part / total for part in crossed) > 1e-9:
        raise FitError(
            "surface: its three terms enclose no optimum in lr and batch"
            "; fit runs that span both sides of the best lr and batch"
        )
    first, second, third = (part / total for part in crossed)
    return first, second, third


def best_lr(surface: Surface, params: float, tokens: float, batch_tokens: float) -> float:
    """The lr of lowest loss at a given batch.

    Raises:
        FitError: loss falls without end in lr at this batch.
    """
    ref = surface.reference
    at = SurfacePoint(params=params, tokens=tokens, lr=ref.lr, batch_tokens=batch_tokens)
    exponents = [term.lr for term in terms_of(surface)]
    return ref.lr * math.exp(balance(log_terms(surface, at), exponents, "lr"))


def best_batch(surface: Surface, params: float, tokens: float, lr: float) -> float:
    """The batch in tokens of lowest loss at a given lr.

    Raises:
        FitError: loss falls without end in the batch at this lr.
    """
    ref = surface.reference
    at = SurfacePoint(params=params, tokens=tokens, lr=lr, batch_tokens=ref.batch_tokens)
    exponents = [term.batch_tokens for term in terms_of(surface)]
    return ref.batch_tokens * math.exp(balance(log_terms(surface, at), exponents, "batch_tokens"))


def balance(logs: Sequence[float], exponents: Sequence[float], where: str) -> float:
    """The x at which sum_k e_k exp(a_k + e_k x) = 0, for logs a and exponents e.

    Newton on ln(rising terms) - ln(falling terms), whose slope lies between known bounds, so
    that one value brackets the root and every step stays inside.

    Raises:
        FitError: all terms rise, or all fall.
    """
    pairs = [(a, e) for a, e in zip(logs, exponents, strict=True) if e != 0]
    rising = [(a + math.log(e), e) for a, e in pairs if e > 0]
    falling = [(a + math.log(-e), e) for a, e in pairs if e < 0]
    if not rising or not falling:
        raise FitError(f"surface: loss has no lowest point in {where}; its terms all pull one way")
    least = min(e for _, e in rising) - max(e for _, e in falling)
    most = max(e for _, e in rising) - min(e for _, e in falling)
    up, down = log_sum(rising, 0.0), log_sum(falling, 0.0)
    start = up[0] - down[0]
    low, high = sorted((-start / least, -start / most))
    x = (low + high) / 2
    for _ in range(100):
        up, down = log_sum(rising, x), log_sum(falling, x)
        excess = up[0] - down[0]
        low, high = (low, x) if excess > 0 else (x, high)
        step = x - excess / (up[1] - down[1])
        following = step if low <= step <= high else (low + high) / 2
        if abs(following - x) <= 1e-13 * (1 + abs(x)):
            return following
        x = following
    return x


def log_sum(terms: Sequence[tuple[float, float]], x: float) -> tuple[float, float]:
    """Logarithm of sum_k exp(a_k + e_k x) and its derivative in x."""
    values = [a + e * x for a, e in terms]
    top = max(values)
    shares = [math.exp(value - top) for value in values]
    total = math.fsum(shares)
    slope = math.fsum(s * e for s, (_, e) in zip(shares, terms, strict=True)) / total
    return top + math.log(total), slope
