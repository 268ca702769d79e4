"""What leaving the surface's optimum costs, where to go at a given batch, how well it is known.

`math` alone; see `fitting.laws.surface` for the surface itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fitting.laws.surface import (
    COEFFICIENTS,
    Surface,
    SurfacePoint,
    Term,
    best_batch,
    best_lr,
    best_point,
    log_penalty,
    log_point,
    log_sum,
    log_terms,
    terms_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Span:
    """A range of one quantity."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Plateau:
    """Ranges of lr and of batch that cost little, each with the other held."""

    lr: Span
    batch_tokens: Span


@dataclass(frozen=True, slots=True)
class Curvature:
    """Second derivatives in (ln lr, ln B)."""

    lr: float
    lr_batch: float
    batch_tokens: float


def cost(
    surface: Surface, *, params: float, tokens: float, lr: float, batch_tokens: float
) -> float:
    """Extra loss over the surface's optimum, as a fraction of the loss there; 0.001 is 0.1%.

    Raises:
        FitError: the surface has no optimum.
    """
    lr_best, batch_best = best_point(surface, params, tokens)
    here = log_penalty(surface, params=params, tokens=tokens, lr=lr, batch_tokens=batch_tokens)
    best = log_penalty(surface, params=params, tokens=tokens, lr=lr_best, batch_tokens=batch_best)
    return math.expm1(here - best)


def plateau(
    surface: Surface,
    params: float,
    tokens: float,
    *,
    lr: float | None = None,
    batch_tokens: float | None = None,
    extra: float = 0.001,
) -> Plateau:
    """The lr at one batch, and the batch at one lr, that cost at most `extra` of the loss.

    Each range is along its own axis, the other held, because that is what a reader who changes
    one number does: everywhere in the range of lr the loss is at most (1 + extra) times that of
    the best lr at this batch, and likewise for the batch. The projection of the level set, where
    the other is tuned again, is wider.

    Args:
        surface: the surface.
        params: N, > 0.
        tokens: D, > 0.
        lr: where the range of batches is taken; None is the optimum.
        batch_tokens: where the range of lr is taken; None is the optimum.
        extra: tolerated increase of the loss as a fraction, > 0.

    Raises:
        FitError: the surface has no optimum.
    """
    lr_best, batch_best = best_point(surface, params, tokens)
    lr = lr_best if lr is None else lr
    batch_tokens = batch_best if batch_tokens is None else batch_tokens
    lr_centre = best_lr(surface, params, tokens, batch_tokens)
    batch_centre = best_batch(surface, params, tokens, lr)
    along_lr = SurfacePoint(params, tokens, lr_centre, batch_tokens)
    along_batch = SurfacePoint(params, tokens, lr, batch_centre)
    terms = terms_of(surface)
    low, high = level_crossings(
        log_terms(surface, along_lr), [term.lr for term in terms], extra=extra
    )
    few, many = level_crossings(
        log_terms(surface, along_batch), [term.batch_tokens for term in terms], extra=extra
    )
    return Plateau(
        lr=Span(lr_centre * math.exp(low), lr_centre * math.exp(high)),
        batch_tokens=Span(batch_centre * math.exp(few), batch_centre * math.exp(many)),
    )


def level_crossings(
    logs: Sequence[float], exponents: Sequence[float], *, extra: float
) -> tuple[float, float]:
    """Where 1 + sum_k exp(a_k + e_k x) is (1 + extra) times its value at its minimum x = 0.

    The sum is convex in x; Newton from outside a crossing descends to it without overshooting.
    """
    total = math.fsum(math.exp(a) for a in logs)
    target = math.log(total + extra * (1 + total))
    pairs = list(zip(logs, exponents, strict=True))

    def crossing(rate: float) -> float:
        # The steepest term alone reaches the target no nearer than this.
        steepest = next(a for a, e in pairs if e == rate)
        x = (target - steepest) / rate
        for _ in range(200):
            value, slope = log_sum(pairs, x)
            step = (value - target) / slope
            x -= step
            if abs(step) <= 1e-13 * (1 + abs(x)):
                break
        return x

    return crossing(min(exponents)), crossing(max(exponents))


def curvature(surface: Surface, params: float, tokens: float) -> Curvature:
    """Second derivatives of ln(1 + q) in (ln lr, ln B) at the optimum.

    A step of (x, y) in (ln lr, ln B) costs about (lr x^2 + 2 lr_batch x y + batch y^2) / 2 of
    the loss.

    Raises:
        FitError: the surface has no optimum.
    """
    pairs = terms_at(surface, SurfacePoint(params, tokens, *best_point(surface, params, tokens)))
    scale = 1 + math.fsum(q for q, _ in pairs)
    bend = second_derivatives(pairs)
    return Curvature(bend.lr / scale, bend.lr_batch / scale, bend.batch_tokens / scale)


def terms_at(surface: Surface, at: SurfacePoint) -> list[tuple[float, Term]]:
    """Each term's value q_k at a point, with its exponents."""
    values = [math.exp(a) for a in log_terms(surface, at)]
    return list(zip(values, terms_of(surface), strict=True))


def second_derivatives(pairs: Sequence[tuple[float, Term]]) -> Curvature:
    """Second derivatives of q in (ln lr, ln B)."""
    return Curvature(
        lr=math.fsum(q * term.lr**2 for q, term in pairs),
        lr_batch=math.fsum(q * term.lr * term.batch_tokens for q, term in pairs),
        batch_tokens=math.fsum(q * term.batch_tokens**2 for q, term in pairs),
    )


def move_lr(
    surface: Surface,
    params: float,
    tokens: float,
    *,
    lr: float,
    batch_tokens: float,
    new_batch_tokens: float,
) -> float:
    """The lr for another batch, from an lr that is right at `batch_tokens` by another law.

    lr' = lr*(B') (lr / lr*(B))^w with w = 1 / (1 + (log2(B'/B))^2) and lr*(B) the surface's best
    lr at batch B. At B' = B the lr is unchanged; as the batch moves, what the other law knows of
    its own optimum fades and the surface's own lr remains, half of it (in log) at a factor of 2.

    Args:
        surface: one that was fitted in the setting of the law that gave `lr`; it says nothing of
            batches more than 20 times above or below its best.
        params: N, > 0.
        tokens: D, > 0.
        lr: peak learning rate tuned or predicted for `batch_tokens`, > 0.
        batch_tokens: B, > 0.
        new_batch_tokens: B', > 0.

    Raises:
        FitError: loss falls without end in lr at one of the batches.

    Source:
        Chosen on the 36 cells of Step Law's runs (`tests/benchmarks/pinned_batch.py`), where the
        fade of w = 1 (the surface's ratio alone) costs half as much again at four times B.
    """
    octaves = math.log2(new_batch_tokens / batch_tokens)
    kept = 1 / (1 + octaves**2)
    here = best_lr(surface, params, tokens, batch_tokens)
    return best_lr(surface, params, tokens, new_batch_tokens) * math.exp(kept * math.log(lr / here))


def surface_log_sd(surface: Surface, params: float, tokens: float) -> tuple[float, float] | None:
    """Standard deviations of ln lr* and ln B* from the covariance of the weights.

    It says how well the optimum of the average cell is known, not how far a single cell lies
    from it, nor how wrong the form is outside the runs' range.

    Args:
        surface: the surface.
        params: N, > 0.
        tokens: D, > 0.

    Returns:
        The two standard deviations, or None where the surface has no covariance.

    Raises:
        FitError: the surface has no optimum.
    """
    if surface.covariance is None:
        return None
    in_lr, in_batch = optimum_gradient(surface, params, tokens)
    return (
        math.sqrt(max(surface.covariance.log_variance(in_lr), 0.0)),
        math.sqrt(max(surface.covariance.log_variance(in_batch), 0.0)),
    )


def optimum_gradient(
    surface: Surface, params: float, tokens: float
) -> tuple[dict[str, float], dict[str, float]]:
    """Gradients of ln lr* and ln B* by the weights' names.

    At the optimum F = sum_k q_k g_k = 0 in x = (ln lr, ln B), so dx = -(dF/dx)^-1 dF: with u a
    term's inputs (1, ln N, ln D, ln lr, ln B), dF/dw_kj = q_k (u_j g_k + e_j), where e_j is the
    unit vector of lr or batch, or 0.
    """
    at = SurfacePoint(params, tokens, *best_point(surface, params, tokens))
    x = log_point(surface, at)
    inputs = {"const": 1.0, **{name: getattr(x, name) for name in SurfacePoint.__slots__}}
    pairs = terms_at(surface, at)
    bend = second_derivatives(pairs)
    aa, ab, bb = bend.lr, bend.lr_batch, bend.batch_tokens
    scale = aa * bb - ab * ab
    in_lr, in_batch = {}, {}
    names = iter(COEFFICIENTS)
    for q, term in pairs:
        for name, value in inputs.items():
            f_lr = q * (value * term.lr + (name == "lr"))
            f_batch = q * (value * term.batch_tokens + (name == "batch_tokens"))
            weight = next(names)
            in_lr[weight] = -(bb * f_lr - ab * f_batch) / scale
            in_batch[weight] = -(aa * f_batch - ab * f_lr) / scale
    return in_lr, in_batch
