"""How much a residual costs: square near 0, linear far out, so that a wild run pulls no harder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from fitting.arrays import Floats


@dataclass(frozen=True, slots=True)
class Norm:
    """How much a residual costs, in units of delta."""

    value: Callable[[Floats], Floats]
    """rho."""
    weights: Callable[[Floats], tuple[Floats, Floats]]
    """rho' over the residual, which is the curvature of the majoriser, and rho''."""


def _huber(u: Floats) -> Floats:
    """u^2 / 2 up to 1, |u| - 1/2 beyond."""
    size = np.abs(u)
    capped = np.minimum(size, 1.0)
    size -= capped / 2
    size *= capped
    return size


def _huber_weights(u: Floats) -> tuple[Floats, Floats]:
    size = np.abs(u)
    return 1 / np.maximum(size, 1.0), (size <= 1).astype(np.float64)


def _soft(u: Floats) -> Floats:
    """sqrt(1 + u^2) - 1."""
    return np.asarray(np.sqrt(1 + u**2) - 1)


def _soft_weights(u: Floats) -> tuple[Floats, Floats]:
    weight = 1 / np.sqrt(1 + u**2)
    return weight, weight**3


def _square(u: Floats) -> Floats:
    """u^2 / 2."""
    return np.asarray(u**2 / 2)


def _square_weights(u: Floats) -> tuple[Floats, Floats]:
    return np.ones_like(u), np.ones_like(u)


HUBER = Norm(_huber, _huber_weights)
SOFT = Norm(_soft, _soft_weights)
SQUARE = Norm(_square, _square_weights)
