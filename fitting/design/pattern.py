"""A cell's design: its predicted optimum, and points around it where loss is a little higher."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fitting.arrays import Floats
from fitting.laws.plateau import curvature
from fitting.laws.surface import Surface, best_point

EXTRA = 0.006
"""ln loss over the optimum's at the points around it: three times a run's noise."""

NEAREST, FARTHEST = math.log(1.4), math.log(4.0)
"""Least and most of the ellipse's half-axes, in ln: nearer tells nothing, farther misleads."""

POINTS = 5
"""Of a visit: the centre and four around it."""


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a design, in ln lr and ln batch."""

    at: Floats
    """Shape (2,)."""
    centre: bool


def ellipse(surface: Surface, params: float, tokens: float, *, phase: float) -> list[Point]:
    """The predicted optimum of a cell and four points around it.

    With H the Hessian of ln loss at the optimum, the points lie on x' H x = 2 * 0.6%, its
    half-axes kept between factors 1.4 and 4.

    Args:
        surface: believed so far.
        params: N of the cell.
        tokens: its D.
        phase: where on the ellipse the first point lies, radians.

    Raises:
        FitError: the surface has no optimum.
    """
    centre = np.log(best_point(surface, params, tokens))
    bend = curvature(surface, params, tokens)
    matrix = np.array([[bend.lr, bend.lr_batch], [bend.lr_batch, bend.batch_tokens]])
    values, axes = np.linalg.eigh(matrix)
    half = np.clip(np.sqrt(2 * EXTRA / np.maximum(values, 1e-12)), NEAREST, FARTHEST)
    points = [Point(centre, centre=True)]
    for turn in range(POINTS - 1):
        angle = phase + turn * math.pi / 2
        offset = axes @ (half * [math.cos(angle), math.sin(angle)])
        points.append(Point(centre + offset, centre=False))
    return points
