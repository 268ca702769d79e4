"""What a robust fit minimises, and how it steps."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np

from fitting.robust.norms import HUBER, Norm

if TYPE_CHECKING:
    from collections.abc import Callable

    from fitting.arrays import Floats, Integers

Evaluated = tuple["Floats", "Floats"]
"""What a model says of n runs, shape (b, n), and its slope in the free parameters, shape (b, p, n),
for b vectors of p parameters."""

DELTA = 1e-3
"""Residual of ln loss at which Huber's norm turns from square to linear (2203.15556)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How steps are taken; every number is dimensionless."""

    damping: float = 1e-2
    """At the start, as a share of each parameter's own curvature."""
    worse: float = 6.0
    """Factor on it after a step that did not help."""
    better: float = 5.0
    """Factor that it is divided by after one that did."""
    most: float = 1e6
    """Damping at which no useful step is left."""
    floor: float = 1e-9
    """Least curvature as a share of the largest one: keeps a term that has vanished, whose slopes
    are 0, from making the equations singular."""
    longest: float = 3.0
    """No parameter moves by more in one step: all are logs or exponents."""
    newton: bool = True
    """Whether the curvature may go over to Newton's."""
    together: bool = False
    """Whether members go on until the last has settled."""


STEADY = Pace(
    damping=1e-3,
    worse=5.0,
    most=1e4,
    floor=0.0,
    longest=math.inf,
    newton=False,
    together=True,
)
"""For a problem whose ridge keeps it regular and whose starts are near."""


class Model(Protocol):
    """What is fitted: a loss family, a form of the loss against step, a surface, a probe."""

    @property
    def evaluate(self) -> Callable[[Any, Floats], Evaluated]:
        """Features and vectors to values and their slopes."""


AnyModel = TypeVar("AnyModel", bound=Model)


@dataclass(frozen=True, slots=True)
class Cells:
    """Which runs share a level; the runs are sorted by cell."""

    of_run: Integers
    """Index of each run's cell, ascending, shape (n,)."""
    start: Integers
    """Index of each cell's first run, shape (cells,)."""

    def sums(self, values: Floats) -> Floats:
        """Sum of each cell over the last axis."""
        found: Floats = np.add.reduceat(values, self.start, axis=-1)
        return found

    def means(self, values: Floats, weights: Floats) -> Floats:
        """Weighted mean of each cell over the last axis; 0 for a cell without weight."""
        return divide(self.sums(weights * values), self.sums(weights))


NO_CELLS = Cells(of_run=np.empty(0, dtype=np.intp), start=np.empty(0, dtype=np.intp))


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem(Generic[AnyModel]):
    """What is minimised, apart from the weights of the runs."""

    model: AnyModel
    features: Any
    """What the model's `evaluate` takes."""
    observed: Floats
    """Shape (n,)."""
    ridge: Floats
    """Pull on the parameters: on each, shape (p,), or the matrix P, shape (p, p)."""
    towards: Floats
    """What it pulls to, shape (p,)."""
    delta: float = DELTA
    """Unit of a residual, > 0."""
    norm: Norm = HUBER
    cells: Cells = NO_CELLS
    """Of the runs, each with a level of its own."""
    accelerate: bool = False
    """Whether steps bend along the valley; one more evaluation each. Not with cells."""
    pace: Pace = field(default_factory=Pace)

    @property
    def precision(self) -> Floats:
        """The ridge as a matrix."""
        return self.ridge if self.ridge.ndim == 2 else np.diag(self.ridge)


def divide(part: Floats, whole: Floats) -> Floats:
    """part / whole, 0 where there is no whole."""
    found: Floats = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
    return found
