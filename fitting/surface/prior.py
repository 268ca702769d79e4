"""What is known of the surface before any run: neutral weights, and lines from published laws.

The neutral prior holds every weight near the published theory and is always there. A line prior
says where the optimum lies by a law of another setting, its covariance widened for the transfer;
`fitting.surface.fit` combines it with what the runs say of the same line.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fitting.arrays import Floats
from fitting.errors import InputError
from fitting.laws.law import Quantity
from fitting.laws.surface import REFERENCE, Surface, surface_of
from fitting.surface.line import Line
from fitting.surface.solver import FREE, basis

NEUTRAL: dict[str, tuple[float, float]] = {
    "progress_const": (-4.0, 3.0),
    "progress_params": (0.1, 1.0),
    "progress_lr": (-0.8, 1.0),
    "noise_const": (-4.5, 3.0),
    "noise_params": (0.2, 1.0),
    "noise_tokens": (0.2, 1.0),
    "noise_lr": (0.5, 1.0),
    "noise_batch_tokens": (-1.0, 1.0),
    "heat_const": (-5.5, 3.0),
    "heat_params": (0.5, 1.0),
    "heat_tokens": (0.0, 1.0),
    "heat_lr": (1.5, 1.0),
}
"""Mean and standard deviation of each free weight when nothing else is known: the published
theory's signs and sizes, nothing from Step Law. *Assumed*; `surface_choices` in
tests/benchmarks compares other widths."""


@dataclass(frozen=True, slots=True)
class WeightPrior:
    """A normal distribution of the free weights."""

    mean: Floats
    """In the order of `FREE`, shape (12,)."""
    covariance: Floats
    """Shape (12, 12), positive definite."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """How far another setting's optimum may lie from a law's; standard deviations in ln."""

    level: float
    """Of lr* and of B* at the reference size."""
    exponent: float
    """Of every exponent of N and D."""


TRANSFER = Transfer(level=0.4, exponent=0.1)
"""*Assumed*: tuned lrs of different data and trainers at one size lie within a factor of two;
sweeps in several settings of one's own would test it."""

MUP_LEVEL = 2.0
"""sd of ln lr* under muP and CompleteP, whose base lr has another unit: hardly any prior."""

MUP_EXPONENT = 0.15
"""sd of the exponent of N in lr* at fixed D/N under muP, about 0. *Assumed*, to be set from
measured transfer; also that of D's exponent about the law's."""


def neutral_prior() -> WeightPrior:
    """The prior of a fit that is told nothing."""
    values = np.array([NEUTRAL[name] for name in FREE])
    return WeightPrior(mean=values[:, 0], covariance=np.diag(values[:, 1] ** 2))


def neutral_surface() -> Surface:
    """The surface of published theory, before any run."""
    return surface_of((basis() @ neutral_prior().mean).tolist())


def line_from_law(lr: Quantity, batch_tokens: Quantity, *, transfer: Transfer = TRANSFER) -> Line:
    """The optimum's line by a published law, widened for another setting.

    Args:
        lr: the law's lr, a power of params and tokens.
        batch_tokens: the law's batch, a power of params or tokens or both.
        transfer: added to the law's own covariance.

    Raises:
        InputError: a quantity is not a power law of params and tokens.
    """
    lr_mean, lr_covariance = power_line(lr, REFERENCE.lr, "lr")
    batch_mean, batch_covariance = power_line(batch_tokens, REFERENCE.batch_tokens, "batch_tokens")
    covariance = np.zeros((6, 6))
    covariance[:3, :3] = lr_covariance
    covariance[3:, 3:] = batch_covariance
    widths = (transfer.level, transfer.exponent, transfer.exponent)
    covariance += np.diag(np.square(widths * 2))
    return Line(mean=np.concatenate([lr_mean, batch_mean]), covariance=covariance)


def mup_line(lr: Quantity, batch_tokens: Quantity) -> Line:
    """The optimum's line under muP or CompleteP: lr* does not change with N at fixed D/N.

    Its exponent of D is the law's, so that of N is minus that; the level of lr is free. The
    batch is the law's, widened.

    Args:
        lr: an SP law's lr, for its exponent of tokens.
        batch_tokens: its batch.

    Raises:
        InputError: as `line_from_law`.
    """
    line = line_from_law(lr, batch_tokens)
    exponent = line.mean[2]
    mean = line.mean.copy()
    mean[1] = -exponent
    covariance = line.covariance.copy()
    along, across = MUP_EXPONENT**2, MUP_EXPONENT**2
    covariance[:3, :3] = [
        [MUP_LEVEL**2, 0, 0],
        [0, along + across, -across],
        [0, -across, across],
    ]
    return Line(mean=mean, covariance=covariance)


def power_line(quantity: Quantity, unit: float, where: str) -> tuple[Floats, Floats]:
    """Mean and covariance of (const, params, tokens) of ln(value / unit) at the reference."""
    exponents = quantity.coefficients.keys() - {"scale"}
    if quantity.form != "power" or not exponents <= {"params", "tokens"}:
        within = f" in {', '.join(sorted(exponents))}" if exponents else ""
        raise InputError(
            f"prior: {where} is of form '{quantity.form}'{within}; a prior is a power of params "
            "and tokens, such as step-law"
        )
    inputs = {"params": REFERENCE.params, "tokens": REFERENCE.tokens}
    logs = [float(np.log(at / quantity.reference.get(name, 1.0))) for name, at in inputs.items()]
    slopes = [quantity.coefficients.get(name, 0.0) for name in inputs]
    level = np.log(quantity.coefficients["scale"] / unit) + np.dot(slopes, logs)
    covariance = np.zeros((3, 3))
    if quantity.covariance is not None:
        names = ["log_scale", *inputs]
        places = [names.index(name) for name in quantity.covariance.names]
        covariance[np.ix_(places, places)] = quantity.covariance.matrix
    # The constant moves from the law's reference to ours along its own exponents.
    centring = np.array([[1.0, *logs], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    return np.array([level, *slopes]), centring @ covariance @ centring.T
