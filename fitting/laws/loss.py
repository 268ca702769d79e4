"""Families of the loss level L(N, D): what a loss law says of a run at its best lr and batch.

Each family is one function of params N, tokens D and named coefficients, written with operators
alone, so that it serves floats and arrays alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

Coefficients = Mapping[str, float]


def chinchilla(params: float, tokens: float, unique_tokens: float, c: Coefficients) -> float:
    """E + A / N^alpha + B / D^beta (Hoffmann et al. 2022, arXiv 2203.15556, eq. 2)."""
    return float(c["E"] + c["A"] * params ** -c["alpha"] + c["B"] * tokens ** -c["beta"])


def skaling(params: float, tokens: float, unique_tokens: float, c: Coefficients) -> float:
    """E + (A / N^alpha + B / D^beta)^k (arXiv 2608.07222)."""
    return float(
        c["E"] + (c["A"] * params ** -c["alpha"] + c["B"] * tokens ** -c["beta"]) ** c["k"]
    )


def n_dependent(params: float, tokens: float, unique_tokens: float, c: Coefficients) -> float:
    """E + A / N^a + B N^c / D^(b + e ln N): the exponent of D depends on N."""
    exponent = c["b"] + c["e"] * math.log(params)
    return float(
        c["E"] + c["A"] * params ** -c["a"] + c["B"] * params ** c["c"] * tokens**-exponent
    )


def farseer(params: float, tokens: float, unique_tokens: float, c: Coefficients) -> float:
    """exp(s N^q + S) + exp(b1 N^b2 + Q) D^(-exp(a1 N^a2 + E)) (arXiv 2506.10972)."""
    level = math.exp(c["s"] * params ** c["q"] + c["S"])
    scale = math.exp(c["b1"] * params ** c["b2"] + c["Q"])
    return float(level + scale * tokens ** -math.exp(c["a1"] * params ** c["a2"] + c["E"]))


def data_constrained(params: float, tokens: float, unique_tokens: float, c: Coefficients) -> float:
    """Chinchilla's form at effective params and tokens (Muennighoff et al., arXiv 2305.16264).

    D' = U + U r_D (1 - exp(-R_D / r_D)) with U = min(unique, D), R_D = D/U - 1, and likewise
    N' from U_N = min(N, G^2 U), G = (A/B)^(1/(2 alpha)), R_N = N/U_N - 1.
    """
    unique = min(unique_tokens, tokens)
    useful = useful_params(params, unique, c)
    return chinchilla(
        saturating_count(useful, params, c["r_params"]),
        saturating_count(unique, tokens, c["r_tokens"]),
        unique,
        c,
    )


def useful_params(params: float, unique_tokens: float, c: Coefficients) -> float:
    """U_N = min(N, (A/B)^(1/alpha) U): params that are best for unique tokens seen once."""
    return float(min(params, (c["A"] / c["B"]) ** (1 / c["alpha"]) * unique_tokens))


def saturating_count(unique: float, total: float, r: float) -> float:
    """unique + unique r (1 - exp(-(total/unique - 1) / r)): repeats count less and less."""
    return unique * (1 + r * (1 - math.exp(-(total / unique - 1) / r)))


def mixed_terms(params: float, tokens: float, unique_tokens: float, c: Coefficients) -> float:
    """E + sum over k of c_k N^a_k D^b_k U^u_k; an exponent that is not given is 0."""
    loss, k = c["E"], 1
    while f"c{k}" in c:
        exponents = (c.get(f"a{k}", 0.0), c.get(f"b{k}", 0.0), c.get(f"u{k}", 0.0))
        a, b, u = exponents
        loss += c[f"c{k}"] * params**a * tokens**b * unique_tokens**u
        k += 1
    return loss


def predict_loss(
    family: str,
    coefficients: Coefficients,
    *,
    params: float,
    tokens: float,
    unique_tokens: float | None = None,
) -> float:
    """Loss in nats per token of one run at its best lr and batch.

    Args:
        family: a key of `FAMILIES`.
        coefficients: by name, natural units (N and D as plain counts).
        params: non-embedding parameters N, > 0.
        tokens: training tokens D, > 0.
        unique_tokens: distinct tokens; None, or more than `tokens`, means that nothing repeats.
    """
    unique = tokens if unique_tokens is None else min(unique_tokens, tokens)
    return FAMILIES[family].value(params, tokens, unique, coefficients)


def loss_log_gradient(
    family: str,
    coefficients: Coefficients,
    *,
    params: float,
    tokens: float,
    unique_tokens: float | None = None,
) -> dict[str, float]:
    """Gradient of ln(loss) by coefficient name, by central differences.

    The error is about 1e-9 of each entry: small against the 1e-3 to which correlated errors of
    A and alpha cancel in a prediction. Arguments as in `predict_loss`.
    """
    gradient = {}
    for name, value in coefficients.items():
        step = 1e-5 * abs(value) or 1e-9
        high, low = (
            predict_loss(
                family,
                {**coefficients, name: value + move},
                params=params,
                tokens=tokens,
                unique_tokens=unique_tokens,
            )
            for move in (step, -step)
        )
        gradient[name] = math.log(high / low) / (2 * step)
    return gradient


class LossFamily(NamedTuple):
    """One family of L(N, D), all that a law file and `plan laws show` need of it."""

    value: Callable[[float, float, float, Coefficients], float]
    """Loss at params, tokens and unique tokens."""
    formula: str
    """The equation in plain text."""
    required: str
    """Coefficients that must be given."""
    positive: str = ""
    """Those of them that must be above 0."""
    numbered: bool = False
    """Whether further coefficients are those of terms numbered c1, a1, b1, u1, c2, ..."""


FAMILIES: dict[str, LossFamily] = {
    "chinchilla": LossFamily(
        chinchilla, "E + A / N^alpha + B / D^beta", "E A B alpha beta", positive="A B"
    ),
    "skaling": LossFamily(
        skaling, "E + (A / N^alpha + B / D^beta)^k", "E A B alpha beta k", positive="A B"
    ),
    "n-dependent": LossFamily(n_dependent, "E + A / N^a + B N^c / D^(b + e ln N)", "E A a B c b e"),
    "farseer": LossFamily(
        farseer,
        "exp(s N^q + S) + exp(b1 N^b2 + Q) D^(-exp(a1 N^a2 + E))",
        "s q S b1 b2 Q a1 a2 E",
    ),
    "data-constrained": LossFamily(
        data_constrained,
        "E + A / N'^alpha + B / D'^beta, N' and D' effective (2305.16264)",
        "E A B alpha beta r_params r_tokens",
        positive="A B alpha r_params r_tokens",
    ),
    "mixed-terms": LossFamily(
        mixed_terms, "E + sum of c_k N^a_k D^b_k U^u_k, k = 1, 2, ...", "E", numbered=True
    ),
}
"""Loss families by the form's name in a law file. `fitting.loss.families` has those that are fitted
in the free parameters of a solver, with their slopes."""
