"""Loss families for the fits: ln loss with its gradient, for many parameter vectors at once.

A family here is the one of the same name in `fitting.loss`, written in free parameters that a
solver can move without bounds: positive coefficients as logs, taken at the centre of the runs,
so that exponents and coefficients are nearly independent. Parameters have shape (b, p) for a
batch of b vectors; results are ln loss (b, n) and its slope (b, p, n) for n runs.

Most families are sums of exponentials of linear forms in ln N, ln D and ln U and share
`sum_of_terms`; a test ties each to its formula in `fitting.loss`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Evaluated = tuple[Floats, Floats]
"""ln loss, shape (b, n), and its slope in the free parameters, shape (b, p, n)."""

HIGHEST = 300.0
"""Exponents are cut here so that exp cannot overflow; no real term comes near."""


@dataclass(frozen=True, slots=True)
class Centre:
    """Natural logs that the runs' logs are taken relative to."""

    params: float
    tokens: float
    unique_tokens: float


@dataclass(frozen=True, slots=True)
class Features:
    """Runs as centred logs, each of shape (n,)."""

    params: Floats
    """ln N minus the centre's."""
    tokens: Floats
    """ln D minus the centre's."""
    unique_tokens: Floats
    """ln U minus the centre's."""
    centre: Centre

    def rows(self) -> Mapping[str, Floats]:
        """What a linear form may use, by name."""
        return {
            "one": np.ones_like(self.params),
            "params": self.params,
            "tokens": self.tokens,
            "unique_tokens": self.unique_tokens,
            "params_tokens": self.params * self.tokens,
        }

    def take(self, chosen: NDArray[Any]) -> Features:
        """The runs chosen by a mask or by indices, with the same centre."""
        return Features(
            self.params[chosen], self.tokens[chosen], self.unique_tokens[chosen], self.centre
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One family in its free parameters."""

    form: str
    """Name in `fitting.loss.FAMILIES` and in a law file."""
    names: tuple[str, ...]
    """Names of the free parameters, in the order of every vector."""
    evaluate: Callable[[Features, Floats], Evaluated]
    coefficients: Callable[[Mapping[str, Any], Centre], dict[str, Any]]
    """Coefficients of `fitting.loss` from free parameters by name, arrays or complex numbers."""
    guesses: Mapping[str, tuple[float, ...]]
    """Values of each parameter to start from; `log_` ones relative to ln of the mean loss."""
    exponents: tuple[str, ...] = ()
    """Parameters that a ridge holds near `towards`."""
    towards: Mapping[str, float]
    """Where a ridge pulls the exponents; 0 for those not named."""
    repeats: bool = False
    """Whether it uses unique_tokens."""


def centre_of(params: Floats, tokens: Floats, unique_tokens: Floats) -> Centre:
    """The means of the logs of the runs."""
    return Centre(*(float(np.log(column).mean()) for column in (params, tokens, unique_tokens)))


def to_features(params: Floats, tokens: Floats, unique_tokens: Floats, centre: Centre) -> Features:
    """Centred logs of runs."""
    return Features(
        np.log(params) - centre.params,
        np.log(tokens) - centre.tokens,
        np.log(unique_tokens) - centre.unique_tokens,
        centre,
    )


def natural(family: Family, free: Floats, centre: Centre) -> dict[str, Any]:
    """Coefficients by the names of a law file, each of shape free.shape[:-1]."""
    return family.coefficients(
        dict(zip(family.names, np.moveaxis(free, -1, 0), strict=True)), centre
    )


def natural_slope(family: Family, free: Floats, centre: Centre) -> Floats:
    """d coefficient / d free parameter at one vector, shape (coefficients, p); exact.

    By complex steps: the maps are analytic, and a step of 1e-30 has no cancellation.
    """
    steps = free + 1e-30j * np.eye(len(free))
    columns = family.coefficients(dict(zip(family.names, steps.T, strict=True)), centre)
    return np.array([np.imag(column + 0j * steps[0]) / 1e-30 for column in columns.values()])


def sum_of_terms(terms: tuple[tuple[str, ...], ...], runs: Features, free: Floats) -> Evaluated:
    """ln of the sum over terms of exp(sum of parameter * feature).

    Args:
        terms: the features of each term; one parameter for each, in this order.
        runs: n runs.
        free: parameters, shape (b, p).
    """
    rows = runs.rows()
    batch, n = len(free), len(runs.params)
    slope = np.empty((batch, free.shape[1], n))
    total = np.zeros((batch, n))
    first = 0
    values = []
    for names in terms:
        design = np.stack([rows[name] for name in names])
        value = free[:, first : first + len(names)] @ design
        np.minimum(value, HIGHEST, out=value)
        np.exp(value, out=value)
        total += value
        values.append((first, design, value))
        first += len(names)
    for first, design, value in values:
        value /= total
        for index, row in enumerate(design):
            np.multiply(value, row, out=slope[:, first + index])
    return np.log(total), slope


def power_of_sum(runs: Features, free: Floats) -> Evaluated:
    """ln of E + (A / N^alpha + B / D^beta)^k; parameters as in FAMILIES['skaling']."""
    inner, inner_slope = sum_of_terms((("one", "params"), ("one", "tokens")), runs, free[:, 1:5])
    k = np.exp(free[:, 5])[:, None]
    power = np.exp(np.minimum(k * inner, HIGHEST))
    floor = np.exp(free[:, 0])[:, None]
    total = floor + power
    share = k * power / total
    slope = np.empty((len(free), 6, inner.shape[1]))
    slope[:, 0] = floor / total
    slope[:, 1:5] = share[:, None] * inner_slope
    slope[:, 5] = share * inner
    return np.log(total), slope


def curve_of_params(x: Floats, bend: Floats, rate: Floats) -> tuple[Floats, Floats, Floats]:
    """rate (exp(bend x) - 1) / bend and its slopes in rate and bend; shapes (b, n).

    A power of N around the centre whose limit at bend 0 is the line rate x.
    """
    small = np.abs(bend) < 1e-6
    safe = np.where(small, 1.0, bend)[:, None]
    grown = np.exp(np.clip(bend[:, None] * x, -HIGHEST, 30.0))
    unit = np.where(small[:, None], x + bend[:, None] * x**2 / 2, (grown - 1) / safe)
    by_bend = np.where(small[:, None], x**2 / 2, (x * grown - unit) / safe)
    return rate[:, None] * unit, unit, rate[:, None] * by_bend


def nested_exponents(runs: Features, free: Floats) -> Evaluated:
    """ln of Farseer's form; parameters as in FAMILIES['farseer'].

    The second term is exp(term + scale curve - (beta(N) ln D - beta at the centre)), so that
    `term` is its log at the centre of the runs.
    """
    log_level, q, rate_q, log_term, b2, rate_b, log_beta, a2, rate_a = free.T
    level_curve, level_by_rate, level_by_bend = curve_of_params(runs.params, q, rate_q)
    scale_curve, scale_by_rate, scale_by_bend = curve_of_params(runs.params, b2, rate_b)
    beta_curve, beta_by_rate, beta_by_bend = curve_of_params(runs.params, a2, rate_a)
    beta_at_centre = np.exp(np.minimum(log_beta, 3.0))[:, None]
    beta = beta_at_centre * np.exp(np.clip(beta_curve, -30.0, 5.0))
    log_tokens = runs.tokens + runs.centre.tokens
    level = np.exp(np.minimum(log_level[:, None] + level_curve, HIGHEST))
    shift = beta_at_centre * runs.centre.tokens - beta * log_tokens
    term = np.exp(np.clip(log_term[:, None] + scale_curve + shift, -HIGHEST, HIGHEST))
    total = level + term
    level_share, share = level / total, term / total
    slope = np.stack(
        [
            level_share,
            level_share * level_by_bend,
            level_share * level_by_rate,
            share,
            share * scale_by_bend,
            share * scale_by_rate,
            share * shift,
            -share * beta * log_tokens * beta_by_bend,
            -share * beta * log_tokens * beta_by_rate,
        ],
        axis=1,
    )
    return np.log(total), slope


def effective_counts(runs: Features, free: Floats) -> Evaluated:
    """ln of Chinchilla's form at effective params and tokens (FAMILIES['data-constrained'])."""
    log_e, log_a, slope_n, log_b, slope_d, log_rn, log_rd = (column[:, None] for column in free.T)
    centre = runs.centre
    tokens = runs.tokens + centre.tokens
    unique = np.minimum(runs.unique_tokens + centre.unique_tokens, tokens)
    params = runs.params + centre.params
    # ln G^2 = ln(A / B) / alpha says how many params the unique tokens can use.
    raw_a, raw_b = log_a - slope_n * centre.params, log_b - slope_d * centre.tokens
    alpha = np.maximum(-slope_n, 1e-3)
    ratio = np.clip((raw_a - raw_b) / alpha, -60.0, 60.0)
    effective_n, n_by_unique, n_by_r = saturating(ratio + unique, params, log_rn)
    effective_d, _, d_by_r = saturating(unique + 0 * log_rd, tokens, log_rd)
    first = np.exp(np.minimum(raw_a + slope_n * effective_n, HIGHEST))
    second = np.exp(np.minimum(raw_b + slope_d * effective_d, HIGHEST))
    floor = np.exp(log_e)
    total = floor + first + second
    pull = first * slope_n * n_by_unique / alpha
    by_a, by_b = first + pull, second - pull
    by_n = first * effective_n + pull * ratio - by_a * centre.params
    by_d = second * effective_d - by_b * centre.tokens
    columns = [
        floor + 0 * total,
        by_a,
        by_n,
        by_b,
        by_d,
        first * slope_n * n_by_r,
        second * slope_d * d_by_r,
    ]
    return np.log(total), np.stack(columns, axis=1) / total[:, None]


def saturating(
    log_unique: Floats, log_total: Floats, log_r: Floats
) -> tuple[Floats, Floats, Floats]:
    """ln of unique (1 + r (1 - exp(-R / r))), R = total / unique - 1, and two slopes.

    The slopes are in ln unique (0 where unique is at least total, which then counts in full)
    and in ln r.
    """
    log_used = np.minimum(log_unique, log_total)
    r = np.exp(log_r)
    repeats = np.expm1(np.minimum(log_total - log_used, 200.0))
    left = np.exp(-repeats / r)
    size = 1 + r * (1 - left)
    by_unique = np.where(log_unique < log_total, 1 - left * (repeats + 1) / size, 0.0)
    return log_used + np.log(size), by_unique, (r * (1 - left) - repeats * left) / size


def chinchilla_coefficients(free: Mapping[str, Any], centre: Centre) -> dict[str, Any]:
    """E, A, B, alpha and beta in plain counts."""
    return {
        "E": np.exp(free["log_e"]),
        "A": np.exp(free["log_a"] - free["params"] * centre.params),
        "B": np.exp(free["log_b"] - free["tokens"] * centre.tokens),
        "alpha": -free["params"],
        "beta": -free["tokens"],
    }


def skaling_coefficients(free: Mapping[str, Any], centre: Centre) -> dict[str, Any]:
    """Chinchilla's and the power k of the sum."""
    return chinchilla_coefficients(free, centre) | {"k": np.exp(free["log_k"])}


def data_constrained_coefficients(free: Mapping[str, Any], centre: Centre) -> dict[str, Any]:
    """Chinchilla's and the numbers of repeats at which params and tokens saturate."""
    saturation = {
        "r_params": np.exp(free["log_r_params"]),
        "r_tokens": np.exp(free["log_r_tokens"]),
    }
    return chinchilla_coefficients(free, centre) | saturation


def n_dependent_coefficients(free: Mapping[str, Any], centre: Centre) -> dict[str, Any]:
    """E, A, a, B, c, b and e of E + A / N^a + B N^c / D^(b + e ln N)."""
    bend = free["params_tokens"]
    by_params = free["tokens_params"] - bend * centre.tokens
    by_tokens = free["tokens"] - bend * centre.params
    constant = (
        free["log_b"]
        - free["tokens_params"] * centre.params
        - free["tokens"] * centre.tokens
        + bend * centre.params * centre.tokens
    )
    return {
        "E": np.exp(free["log_e"]),
        "A": np.exp(free["log_a"] - free["params"] * centre.params),
        "a": -free["params"],
        "B": np.exp(constant),
        "c": by_params,
        "b": -by_tokens,
        "e": -bend,
    }


def farseer_coefficients(free: Mapping[str, Any], centre: Centre) -> dict[str, Any]:
    """s, q, S, b1, b2, Q, a1, a2 and E of Farseer's form in plain counts."""

    def amplitude(rate: str, bend: str) -> Any:
        return free[rate] / free[bend]

    log_n = centre.params
    level, scale, beta = (
        amplitude("rate_q", "q"),
        amplitude("rate_b", "b2"),
        amplitude("rate_a", "a2"),
    )
    at_centre = np.exp(free["log_beta"]) * centre.tokens
    return {
        "s": level * np.exp(-free["q"] * log_n),
        "q": free["q"],
        "S": free["log_level"] - level,
        "b1": scale * np.exp(-free["b2"] * log_n),
        "b2": free["b2"],
        "Q": free["log_term"] - scale + at_centre,
        "a1": beta * np.exp(-free["a2"] * log_n),
        "a2": free["a2"],
        "E": free["log_beta"] - beta,
    }


def mixed_coefficients(
    free: Mapping[str, Any], centre: Centre, *, terms: int, repeats: bool
) -> dict[str, Any]:
    """E, c1, a1, b1 (and u1 with repeated data), c2, ... in plain counts."""
    found = {"E": np.exp(free["log_e"])}
    for k in range(1, terms + 1):
        shift = free[f"a{k}"] * centre.params + free[f"b{k}"] * centre.tokens
        if repeats:
            shift = shift + free[f"u{k}"] * centre.unique_tokens
        found[f"c{k}"] = np.exp(free[f"log_c{k}"] - shift)
        found |= {name: free[name] for name in (f"a{k}", f"b{k}")}
        if repeats:
            found[f"u{k}"] = free[f"u{k}"]
    return found


def mixed_family(terms: int, *, repeats: bool) -> Family:
    """E + sum of c_k N^a_k D^b_k (U^u_k with `repeats`), k = 1 to `terms`."""
    features = ("one", "params", "tokens", *(("unique_tokens",) if repeats else ()))
    letters = ("log_c", "a", "b", *(("u",) if repeats else ()))
    numbered = [f"{letter}{k}" for k in range(1, terms + 1) for letter in letters]
    exponents = tuple(name for name in numbered if not name.startswith("log_"))
    share = (-1.0, -2.0, -3.0)
    guesses: dict[str, tuple[float, ...]] = {"log_e": (-0.5, -1.5, -3.0)}
    guesses |= {
        name: share if name.startswith("log_") else (-0.6, -0.3, 0.0, 0.2) for name in numbered
    }
    return Family(
        form="mixed-terms",
        names=("log_e", *numbered),
        evaluate=partial(sum_of_terms, (("one",), *[features] * terms)),
        coefficients=partial(mixed_coefficients, terms=terms, repeats=repeats),
        guesses=guesses,
        exponents=exponents,
        towards={},
        repeats=repeats,
    )


EXPONENTS = (-0.15, -0.35, -0.7)
"""Exponents of N or D to start from."""

SHARES = (-0.5, -2.0)
"""Logs of a term's share of the loss to start from."""

CHINCHILLA_GUESSES = {
    "log_e": (-0.3, -0.7, -2.0),
    "log_a": SHARES,
    "params": EXPONENTS,
    "log_b": SHARES,
    "tokens": EXPONENTS,
}
PUBLISHED_EXPONENTS = {"params": -0.34, "tokens": -0.34}
"""Near the published exponents of N and D (0.28 to 0.37)."""

FAMILIES: dict[str, Family] = {
    "chinchilla": Family(
        form="chinchilla",
        names=("log_e", "log_a", "params", "log_b", "tokens"),
        evaluate=partial(sum_of_terms, (("one",), ("one", "params"), ("one", "tokens"))),
        coefficients=chinchilla_coefficients,
        guesses=CHINCHILLA_GUESSES,
        exponents=("params", "tokens"),
        towards=PUBLISHED_EXPONENTS,
    ),
    "skaling": Family(
        form="skaling",
        names=("log_e", "log_a", "params", "log_b", "tokens", "log_k"),
        evaluate=power_of_sum,
        coefficients=skaling_coefficients,
        guesses=CHINCHILLA_GUESSES | {"log_k": (0.0, -0.5, -1.0)},
        exponents=("params", "tokens", "log_k"),
        towards=PUBLISHED_EXPONENTS,
    ),
    "n-dependent": Family(
        form="n-dependent",
        names=("log_e", "log_a", "params", "log_b", "tokens_params", "tokens", "params_tokens"),
        evaluate=partial(
            sum_of_terms,
            (("one",), ("one", "params"), ("one", "params", "tokens", "params_tokens")),
        ),
        coefficients=n_dependent_coefficients,
        guesses=CHINCHILLA_GUESSES | {"tokens_params": (0.0, -0.2), "params_tokens": (0.0, 0.05)},
        exponents=("params", "tokens_params", "tokens", "params_tokens"),
        towards=PUBLISHED_EXPONENTS,
    ),
    "farseer": Family(
        form="farseer",
        names=("log_level", "q", "rate_q", "log_term", "b2", "rate_b", "log_beta", "a2", "rate_a"),
        evaluate=nested_exponents,
        coefficients=farseer_coefficients,
        guesses={
            "log_level": (-0.2, -0.5),
            "q": (-0.1, 0.1, 0.3),
            "rate_q": (-0.05, -0.15),
            "log_term": (-1.0, -2.0),
            "b2": (-0.1, 0.1, 0.3),
            "rate_b": (0.5, -0.5, 0.1),
            "log_beta": (-1.2, -0.7),
            "a2": (-0.1, 0.1, 0.2),
            "rate_a": (0.05, -0.05),
        },
        exponents=("q", "b2", "a2", "rate_q", "rate_b", "rate_a"),
        towards={},
    ),
    "data-constrained": Family(
        form="data-constrained",
        names=("log_e", "log_a", "params", "log_b", "tokens", "log_r_params", "log_r_tokens"),
        evaluate=effective_counts,
        coefficients=data_constrained_coefficients,
        guesses=CHINCHILLA_GUESSES | {"log_r_params": (1.7, 3.0), "log_r_tokens": (2.7, 1.5)},
        exponents=("params", "tokens", "log_r_params", "log_r_tokens"),
        # ln of 5.31 and 15.39, the published numbers of repeats (2305.16264).
        towards=PUBLISHED_EXPONENTS | {"log_r_params": 1.67, "log_r_tokens": 2.73},
        repeats=True,
    ),
} | {
    f"mixed-terms-{terms}" + ("-repeats" if repeats else ""): mixed_family(terms, repeats=repeats)
    for repeats in (False, True)
    for terms in (2, 3, 4)
}
"""Families by the name that a fit is asked for and reports."""
