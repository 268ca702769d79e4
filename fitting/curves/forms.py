"""Loss against step under a schedule: each form in free parameters, with its gradient.

Free parameters are scaled by a reference run, so that they mean the same for any unit of lr and
any length: with S the reference's summed lr and P its peak,

    log_floor   ln L0
    log_level   ln(A S^-alpha), what the summed lr leaves at the reference's end, in nats
    log_alpha   ln alpha
    log_gain    ln(B P (S / 3)^(r-1)), what annealing can give there, in nats
    log_speed   ln(C P^-gamma S), how far the first change has been worked off at the end
    log_beta, log_gamma, log_q, log_r
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fitting.arrays import Floats
    from fitting.curves.path import Path
    from fitting.robust import Evaluated

SUM_UNIT = 3.0
"""Summed lr at which the factor S1^(r-1) of the extended form is 1."""

MEMORY = 0.999
"""Share of the annealing momentum that is kept a step (2408.11029)."""

LEAST_LOSS = 1e-3
"""Nats: a trial step of a fit may go below 0, where there is no logarithm."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The run that free parameters are scaled by."""

    lr_sum: float
    """S1 at its end, > 0."""
    peak: float
    """Highest lr, > 0."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Several runs, their rows one after the other, n in all."""

    paths: Sequence[Path]
    reference: Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveForm:
    """One form of the loss against step, with some of its free parameters held at a value."""

    form: str
    """Name in a law file."""
    parameters: tuple[str, ...]
    """Free parameters, held ones included."""
    loss: Callable[[Paths, Floats], Evaluated]
    """ln loss, shape (b, n), and its slope, shape (b, p, n), from vectors of all parameters."""
    coefficients: Callable[[Mapping[str, Any], Reference], dict[str, Any]]
    """Coefficients of a law file from free parameters by name, floats or complex numbers."""
    free: Callable[[Mapping[str, Any], Reference], dict[str, Any]]
    """Free parameters from the coefficients of a law file: the way back, in the same order."""
    held: Mapping[str, float] = field(default_factory=dict)
    """What a fit does not move."""

    @property
    def names(self) -> tuple[str, ...]:
        """Parameters that are not held, in the order of every vector."""
        return tuple(name for name in self.parameters if name not in self.held)

    def whole(self, free: Floats) -> Floats:
        """All parameters, from those not held, shape (b, p)."""
        columns = {name: np.full(len(free), value) for name, value in self.held.items()}
        columns |= dict(zip(self.names, free.T, strict=True))
        return np.stack([columns[name] for name in self.parameters], axis=1)

    def evaluate(self, paths: Paths, free: Floats) -> Evaluated:
        """ln loss, shape (b, n), and its slope in those not held, shape (b, p, n)."""
        log_loss, slope = self.loss(paths, self.whole(free))
        kept = [i for i, name in enumerate(self.parameters) if name not in self.held]
        return log_loss, slope[:, kept]

    def released(self) -> CurveForm:
        """The form with nothing held."""
        return replace(self, held={})


def power_terms(paths: Paths, named: Mapping[str, Floats]) -> tuple[Floats, dict[str, Floats]]:
    """L0 + A S1^-alpha and its slopes, each of shape (b, n)."""
    log_sum = np.log(np.concatenate([path.lr_sum for path in paths.paths]))
    log_sum -= np.log(paths.reference.lr_sum)
    floor = np.exp(named["log_floor"])[:, None]
    alpha = np.exp(named["log_alpha"])[:, None]
    level = np.exp(named["log_level"][:, None] - alpha * log_sum)
    slopes = {
        "log_floor": np.broadcast_to(floor, level.shape),
        "log_level": level,
        "log_alpha": -alpha * log_sum * level,
    }
    return floor + level, slopes


def multi_power(paths: Paths, free: Floats) -> Evaluated:
    """L0 + A S1^-alpha - B (S1/3)^(r-1) sum_k D_k G(lr_k^-gamma S_k), G(x) = 1 - (C x + 1)^-beta.

    D_k = P ((lr_{k-1}/P)^q - (lr_k/P)^q) with P the run's peak; S_k(t) is the lr summed from
    change k to t. The warmup's rise counts like every change. q = r = 1 is the published law.

    Source:
        Luo et al. 2025 (arXiv 2503.12811), eq. 2; q and r are ours.
    """
    named = dict(zip(MULTI_POWER_NAMES, free.T, strict=True))
    loss, slopes = power_terms(paths, named)
    q, r = np.exp(named["log_q"]), np.exp(named["log_r"])
    log_sum = np.log(np.concatenate([path.lr_sum for path in paths.paths]))
    log_sum -= np.log(paths.reference.lr_sum)
    gain = np.exp(named["log_gain"][:, None] + (r[:, None] - 1) * log_sum)
    worked = worked_off(paths, named, q)
    done = gain * worked["value"]
    slopes["log_gain"] = -done
    slopes["log_r"] = -r[:, None] * log_sum * done
    for name in ("log_speed", "log_beta", "log_gamma", "log_q"):
        slopes[name] = -gain * worked[name]
    return in_logs(loss - done, [slopes[name] for name in MULTI_POWER_NAMES])


def worked_off(paths: Paths, named: Mapping[str, Floats], q: Floats) -> dict[str, Floats]:
    """sum_k D_k G over the reference's peak, and its slopes, each of shape (b, n)."""
    beta, gamma = np.exp(named["log_beta"]), np.exp(named["log_gamma"])
    parts: list[Floats] = []
    for path in paths.paths:
        # Rows by pieces: the lr summed between, 0 for a piece that is still to come.
        between = np.maximum(path.lr_sum[:, None] - path.at_sum, 0.0) / paths.reference.lr_sum
        log_lr = np.log((path.before + path.after) / 2 / paths.reference.peak)
        weights = {value: changes(path, value, paths.reference.peak) for value in set(q.tolist())}
        part = np.empty((5, len(q), len(path.lr_sum)))
        for member in range(len(q)):
            change, change_slope = weights[float(q[member])]
            x = between * np.exp(named["log_speed"][member] - gamma[member] * log_lr)
            log_rest = np.log1p(x)
            rest = np.exp(-beta[member] * log_rest)
            # The slope of G in ln x over beta, in place: these arrays are all the work there is.
            x /= 1 + x
            x *= rest
            log_rest *= rest
            part[0, member] = change.sum() - rest @ change
            part[1, member] = beta[member] * (x @ change)
            part[2, member] = beta[member] * (log_rest @ change)
            part[3, member] = -beta[member] * gamma[member] * (x @ (change * log_lr))
            part[4, member] = change_slope.sum() - rest @ change_slope
        parts.append(part)
    names = ("value", "log_speed", "log_beta", "log_gamma", "log_q")
    return dict(zip(names, np.concatenate(parts, axis=2), strict=True))


def changes(path: Path, q: float, unit: float) -> tuple[Floats, Floats]:
    """D_k over `unit`, positive where lr falls, and its slope in ln q; each of shape (k,)."""
    low, high = path.before / path.peak, path.after / path.peak
    # At lr 0 the slope is 0, the limit of x^q ln x.
    low_log, high_log = (np.log(np.maximum(x, 1e-300)) for x in (low, high))
    scale = path.peak / unit
    slope = low**q * low_log - high**q * high_log
    return scale * (low**q - high**q), scale * q * slope


def annealing(paths: Paths, free: Floats) -> Evaluated:
    """L0 + A S1^-alpha - C S2, S2 the sum of m_i = 0.999 m_{i-1} + (lr_{i-1} - lr_i).

    A change of lr has given (1 - 0.999^n) / 0.001 of itself after n steps. The warmup's rise
    counts like every change.

    Source:
        Tissue et al. 2024 (arXiv 2408.11029).
    """
    named = dict(zip(ANNEALING_NAMES, free.T, strict=True))
    loss, slopes = power_terms(paths, named)
    falls = []
    for path in paths.paths:
        steps = np.maximum(path.step[:, None] - path.at_step, 0.0)
        falls.append((1 - MEMORY**steps) @ (path.before - path.after) / paths.reference.peak)
    done = np.exp(named["log_gain"])[:, None] * np.concatenate(falls)
    slopes["log_gain"] = -done
    return in_logs(loss - done, [slopes[name] for name in ANNEALING_NAMES])


def power_in_sum(paths: Paths, free: Floats) -> Evaluated:
    """L0 + A S1^-alpha: blind to annealing, the baseline."""
    named = dict(zip(POWER_NAMES, free.T, strict=True))
    loss, slopes = power_terms(paths, named)
    return in_logs(loss, [slopes[name] for name in POWER_NAMES])


def in_logs(loss: Floats, slopes: Sequence[Floats]) -> Evaluated:
    """ln loss and its slopes; a loss below the least is held there, flat."""
    held = np.maximum(loss, LEAST_LOSS)
    slope = np.stack(slopes, axis=1) / held[:, None]
    slope[np.broadcast_to((loss < LEAST_LOSS)[:, None], slope.shape)] = 0.0
    return np.log(held), slope


def power_coefficients(free: Mapping[str, Any], reference: Reference) -> dict[str, Any]:
    """L0, A and alpha."""
    alpha = np.exp(free["log_alpha"])
    return {
        "L0": np.exp(free["log_floor"]),
        "A": np.exp(free["log_level"] + alpha * np.log(reference.lr_sum)),
        "alpha": alpha,
    }


def power_free(found: Mapping[str, Any], reference: Reference) -> dict[str, Any]:
    """The way back from `power_coefficients`."""
    return {
        "log_floor": np.log(found["L0"]),
        "log_level": np.log(found["A"]) - found["alpha"] * np.log(reference.lr_sum),
        "log_alpha": np.log(found["alpha"]),
    }


def annealing_coefficients(free: Mapping[str, Any], reference: Reference) -> dict[str, Any]:
    """Those of the power law and C; S2 of a drop d from the peak tends to 1,000 d."""
    gain = np.exp(free["log_gain"]) * (1 - MEMORY) / reference.peak
    return power_coefficients(free, reference) | {"C": gain}


def annealing_free(found: Mapping[str, Any], reference: Reference) -> dict[str, Any]:
    """The way back from `annealing_coefficients`."""
    gain = np.log(found["C"] * reference.peak / (1 - MEMORY))
    return power_free(found, reference) | {"log_gain": gain}


def multi_power_coefficients(free: Mapping[str, Any], reference: Reference) -> dict[str, Any]:
    """Those of the power law, B, C, beta, gamma, q and r."""
    beta, gamma, q, r = (np.exp(free[f"log_{name}"]) for name in ("beta", "gamma", "q", "r"))
    log_b = free["log_gain"] - np.log(reference.peak)
    log_c = free["log_speed"] - np.log(reference.lr_sum) + gamma * np.log(reference.peak)
    return power_coefficients(free, reference) | {
        "B": np.exp(log_b - (r - 1) * np.log(reference.lr_sum / SUM_UNIT)),
        "C": np.exp(log_c),
        "beta": beta,
        "gamma": gamma,
        "q": q,
        "r": r,
    }


def multi_power_free(found: Mapping[str, Any], reference: Reference) -> dict[str, Any]:
    """The way back from `multi_power_coefficients`."""
    log_sum, log_peak = np.log(reference.lr_sum), np.log(reference.peak)
    extent = (found["r"] - 1) * (log_sum - np.log(SUM_UNIT))
    return (
        power_free(found, reference)
        | {
            "log_gain": np.log(found["B"]) + log_peak + extent,
            "log_speed": np.log(found["C"]) - found["gamma"] * log_peak + log_sum,
        }
        | {f"log_{name}": np.log(found[name]) for name in ("beta", "gamma", "q", "r")}
    )


POWER_NAMES = ("log_floor", "log_level", "log_alpha")
ANNEALING_NAMES = (*POWER_NAMES, "log_gain")
MULTI_POWER_NAMES = (
    *POWER_NAMES,
    "log_gain",
    "log_speed",
    "log_beta",
    "log_gamma",
    "log_q",
    "log_r",
)

EXTENDED = {"log_q": float(np.log(0.8)), "log_r": float(np.log(0.85))}
"""Exponents that the extended form holds: of those tried on the 25M model of 2503.12811 they
foretell its held-out curves best; at 100M 0.9 and 0.85 do (tests/benchmarks/curve_laws.py)."""

PUBLISHED = {"log_q": 0.0, "log_r": 0.0}
"""The multi-power law as published."""

MULTI_POWER = CurveForm(
    form="multi-power",
    parameters=MULTI_POWER_NAMES,
    loss=multi_power,
    coefficients=multi_power_coefficients,
    free=multi_power_free,
)

CURVE_FORMS: dict[str, CurveForm] = {
    "extended": replace(MULTI_POWER, held=EXTENDED),
    "multi-power": replace(MULTI_POWER, held=PUBLISHED),
    "annealing": CurveForm(
        form="annealing",
        parameters=ANNEALING_NAMES,
        loss=annealing,
        coefficients=annealing_coefficients,
        free=annealing_free,
    ),
    "power": CurveForm(
        form="power-in-lr-sum",
        parameters=POWER_NAMES,
        loss=power_in_sum,
        coefficients=power_coefficients,
        free=power_free,
    ),
}
"""What `plan curve fit --form` offers. What a law file must say of each is in
`fitting.laws.forms`, which imports no arrays."""
