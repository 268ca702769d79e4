"""How well the optimum is known: standard deviations of ln lr* and ln B* at any size.

`math` alone, so that a plan can use it.
"""

from __future__ import annotations

import math

from fitting.laws.surface import COEFFICIENTS, Setting, Surface, best_point, log_terms, terms_of


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
    lr, batch_tokens = best_point(surface, params, tokens)
    at = Setting(params, tokens, lr, batch_tokens)
    ref = surface.reference
    inputs = {
        "const": 1.0,
        "params": math.log(params / ref.params),
        "tokens": math.log(tokens / ref.tokens),
        "lr": math.log(lr / ref.lr),
        "batch_tokens": math.log(batch_tokens / ref.batch_tokens),
    }
    values = [math.exp(a) for a in log_terms(surface, at)]
    pairs = list(zip(values, terms_of(surface), strict=True))
    aa = math.fsum(q * term.lr**2 for q, term in pairs)
    ab = math.fsum(q * term.lr * term.batch_tokens for q, term in pairs)
    bb = math.fsum(q * term.batch_tokens**2 for q, term in pairs)
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
