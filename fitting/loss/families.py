"""Loss families for the fits: their free parameters, starts, and way back to coefficients.

A family here is the one of the same form in `fitting.laws.loss`, written in free parameters that a
solver can move without bounds: positive coefficients as logs, taken at the centre of the runs,
so that exponents and coefficients are nearly independent. Exponents carry their sign: `params`
-0.34 is N^-0.34. A test ties each family to its formula in `fitting.laws.loss`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from fitting.arrays import Floats, complex_slopes
from fitting.loss.slopes import (
    Centre,
    Features,
    effective_counts,
    nested_exponents,
    power_of_sum,
    sum_of_terms,
)
from fitting.robust import Evaluated, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One family in its free parameters."""

    form: str
    """Name in `fitting.laws.loss.FAMILIES` and in a law file."""
    names: tuple[str, ...]
    """Names of the free parameters, in the order of every vector."""
    evaluate: Callable[[Features, Floats], Evaluated]
    coefficients: Callable[[Mapping[str, Any], Centre], dict[str, Any]]
    """Coefficients of `fitting.laws.loss` from free parameters by name, arrays or complex
    numbers."""
    guesses: Mapping[str, tuple[float, ...]]
    """Values of each parameter to start from; those of `HEIGHTS` relative to the mean ln loss."""
    exponents: Mapping[str, str]
    """Parameters that a ridge holds near `towards`, and the coefficient that each one sets."""
    towards: Mapping[str, float]
    """Where a ridge pulls the exponents; 0 for those not named."""
    sizes: int
    """Fewest distinct N, and D, that can tell its terms apart once the largest is held out."""
    repeats: bool = False
    """Whether it uses unique_tokens."""


HEIGHTS = re.compile(r"log_(a|b|c\d|e|level|term)")
"""Parameters that are the log of a loss, so that their guesses move with the unit of the loss."""


def draw_starts(family: Family, level: float, *, count: int, rng: np.random.Generator) -> Floats:
    """Random combinations of the family's guesses, moved a little, shape (count, p).

    Args:
        family: whose guesses.
        level: mean ln loss of the runs.
        count: starts, >= 1.
        rng: what draws.
    """
    columns = [
        rng.choice(family.guesses[name], size=count)
        + rng.normal(scale=0.05, size=count)
        + (level if HEIGHTS.fullmatch(name) else 0.0)
        for name in family.names
    ]
    return np.stack(columns, axis=1)


def make_problem(
    family: Family, features: Features, log_loss: Floats, *, ridge: float = 0.0
) -> Problem[Family]:
    """The fit of a family with one strength of ridge on its exponents.

    Args:
        family: what is fitted.
        features: of n runs.
        log_loss: ln of the loss in nats per token, shape (n,).
        ridge: pull on each exponent of the family, 0 for none; 1 costs as much for a deviation
            of 1 as one run that is off by 1.0 delta does.
    """
    return Problem(
        model=family,
        features=features,
        observed=log_loss,
        ridge=np.array([ridge if name in family.exponents else 0.0 for name in family.names]),
        towards=np.array([family.towards.get(name, 0.0) for name in family.names]),
        # Chinchilla's five settle in as many steps without, at two thirds of the time.
        accelerate=len(family.names) > 5,
    )


def natural(family: Family, free: Floats, centre: Centre) -> dict[str, Any]:
    """Coefficients by the names of a law file, each of shape free.shape[:-1]."""
    return family.coefficients(
        dict(zip(family.names, np.moveaxis(free, -1, 0), strict=True)), centre
    )


def natural_slope(family: Family, free: Floats, centre: Centre) -> Floats:
    """d coefficient / d free parameter at one vector, shape (coefficients, p)."""
    return complex_slopes(lambda steps: natural(family, steps.T, centre).values(), free)


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
    exponents = {name: name for name in numbered if not name.startswith("log_")}
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
        sizes=terms + 1,
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
ALPHA_BETA = {"params": "alpha", "tokens": "beta"}
PUBLISHED_EXPONENTS = {"params": -0.34, "tokens": -0.34}
"""Near the published exponents of N and D (0.28 to 0.37)."""

FAMILIES: dict[str, Family] = {
    "chinchilla": Family(
        form="chinchilla",
        sizes=3,
        names=("log_e", "log_a", "params", "log_b", "tokens"),
        evaluate=partial(sum_of_terms, (("one",), ("one", "params"), ("one", "tokens"))),
        coefficients=chinchilla_coefficients,
        guesses=CHINCHILLA_GUESSES,
        exponents=ALPHA_BETA,
        towards=PUBLISHED_EXPONENTS,
    ),
    "skaling": Family(
        form="skaling",
        sizes=4,
        names=("log_e", "log_a", "params", "log_b", "tokens", "log_k"),
        evaluate=power_of_sum,
        coefficients=skaling_coefficients,
        guesses=CHINCHILLA_GUESSES | {"log_k": (0.0, -0.5, -1.0)},
        exponents=ALPHA_BETA | {"log_k": "k"},
        towards=PUBLISHED_EXPONENTS,
    ),
    "n-dependent": Family(
        form="n-dependent",
        sizes=4,
        names=("log_e", "log_a", "params", "log_b", "tokens_params", "tokens", "params_tokens"),
        evaluate=partial(
            sum_of_terms,
            (("one",), ("one", "params"), ("one", "params", "tokens", "params_tokens")),
        ),
        coefficients=n_dependent_coefficients,
        guesses=CHINCHILLA_GUESSES | {"tokens_params": (0.0, -0.2), "params_tokens": (0.0, 0.05)},
        exponents={"params": "a", "tokens_params": "c", "tokens": "b", "params_tokens": "e"},
        towards=PUBLISHED_EXPONENTS,
    ),
    "farseer": Family(
        form="farseer",
        sizes=5,
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
        exponents={"q": "q", "b2": "b2", "a2": "a2", "rate_q": "s", "rate_b": "b1", "rate_a": "a1"},
        towards={},
    ),
    "data-constrained": Family(
        form="data-constrained",
        sizes=3,
        names=("log_e", "log_a", "params", "log_b", "tokens", "log_r_params", "log_r_tokens"),
        evaluate=effective_counts,
        coefficients=data_constrained_coefficients,
        guesses=CHINCHILLA_GUESSES | {"log_r_params": (1.7, 3.0), "log_r_tokens": (2.7, 1.5)},
        exponents=ALPHA_BETA | {"log_r_params": "r_params", "log_r_tokens": "r_tokens"},
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
