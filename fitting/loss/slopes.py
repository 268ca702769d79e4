"""ln loss of each family and its gradient, for many parameter vectors at once.

Each function takes n runs as centred logs and free parameters of shape (b, p), and returns
ln loss, shape (b, n), with its slope, shape (b, p, n). What the parameters are is said where the
families are listed, in `fitting.loss.families`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fitting.arrays import Floats
from fitting.robust import Evaluated

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


def sum_of_terms(terms: tuple[tuple[str, ...], ...], runs: Features, free: Floats) -> Evaluated:
    """ln of the sum over terms of exp(sum of parameter * feature).

    Args:
        terms: the features of each term, "one" first; one parameter for each, in this order.
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
        part = free[:, first : first + len(names)]
        design = np.stack([rows[name] for name in names])
        # A constant term is one number a member, and exp is the dearest step here.
        value = part.copy() if names == ("one",) else part @ design
        np.exp(np.minimum(value, HIGHEST, out=value), out=value)
        total += value
        values.append((first, design, value))
        first += len(names)
    inverse = 1 / total
    for first, design, value in values:
        share = np.multiply(value, inverse, out=slope[:, first])
        for index, row in enumerate(design[1:], start=1):
            np.multiply(share, row, out=slope[:, first + index])
    return np.log(total, out=total), slope


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
