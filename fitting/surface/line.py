"""The optimum's line: ln lr* and ln B* as linear functions of ln N and ln D, and its gradient.

With g_k = (lr, batch) exponents and u_k = (const, params, tokens) weights of term k, the optimum
solves g_k . x - t = ln s_k - u_k . (1, ln N, ln D) for x = (ln lr*, ln B*) and the log total t;
the shares s balance the exponents. See `fitting.laws.surface.best_point`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fitting.arrays import Floats
from fitting.laws.surface import COEFFICIENTS, REFERENCE
from fitting.surface.solver import FREE, basis

LINE = ("lr_const", "lr_params", "lr_tokens", "batch_const", "batch_params", "batch_tokens")
"""Coefficients of ln lr* and ln B* over the reference, in the order of every vector here."""

TERMS = 3
SIZE = ("const", "params", "tokens")
STEP = ("lr", "batch_tokens")


@dataclass(frozen=True, slots=True)
class Line:
    """What is known of the optimum's line: a normal distribution of its six coefficients."""

    mean: Floats
    """In the order of `LINE`, logs over `fitting.laws.surface.REFERENCE`."""
    covariance: Floats
    """Shape (6, 6)."""


def split(weights: Floats) -> tuple[Floats, Floats]:
    """Size weights u (b, 3, 3) and step weights g (b, 3, 2) of surface weights (b, 15)."""
    by_term = weights.reshape(-1, TERMS, len(SIZE) + len(STEP))
    return by_term[:, :, : len(SIZE)], by_term[:, :, len(SIZE) :]


def optimum_lines(free: Floats) -> Floats:
    """The six coefficients at each row of free weights, shape (b, 6); NaN without an optimum."""
    return solve_lines(free @ basis().T)[0][:, :2].reshape(len(free), len(LINE))


def solve_lines(weights: Floats) -> tuple[Floats, Floats, Floats]:
    """Solutions (b, 3, 3), matrices (b, 3, 3) and shares (b, 3) of the equations above."""
    size, step = split(weights)
    matrix = np.concatenate([step, -np.ones((len(step), TERMS, 1))], axis=2)
    total = np.broadcast_to(np.array([0.0, 0.0, -1.0])[:, None], (len(step), TERMS, 1))
    shares = np.linalg.solve(matrix.transpose(0, 2, 1), total)[..., 0]
    right = -size
    enclosed = shares.min(axis=1, keepdims=True) > 0
    right[:, :, 0] += np.where(enclosed, np.log(np.abs(shares)), np.nan)
    return np.linalg.solve(matrix, right), matrix, shares


def line_gradient(free: Floats) -> Floats:
    """d line / d free weights at one row of free weights, shape (6, 12).

    From A Y = R: dY = A^-1 (dR - dA Y), and from A' s = (0, 0, -1): ds = -A'^-1 dA' s.
    """
    solution, matrix, shares = (part[0] for part in solve_lines(free[None] @ basis().T))
    gradient = np.empty((len(LINE), len(FREE)))
    for column in range(len(FREE)):
        size, step = (part[0] for part in split(basis()[:, column][None]))
        moved = np.column_stack([step, np.zeros(TERMS)])
        right = -size
        right[:, 0] -= np.linalg.solve(matrix.T, moved.T @ shares) / shares
        gradient[:, column] = np.linalg.solve(matrix, right - moved @ solution)[:2].ravel()
    return gradient


def shift_line(weights: Floats, move: Floats) -> Floats:
    """Surface weights (15,) whose optimum line has moved by `move` (6,), all else unchanged.

    Shifting every term in ln lr and ln B by the same line moves its size weights by -g . move.
    """
    _, step = split(weights[None])
    shifted = weights.reshape(TERMS, -1).copy()
    shifted[:, : len(SIZE)] -= step[0] @ move.reshape(2, len(SIZE))
    return shifted.reshape(len(COEFFICIENTS))


def combine(first: Line, second: Line) -> Line:
    """Two independent views of a line as one, each weighted by its precision."""
    one, two = np.linalg.inv(first.covariance), np.linalg.inv(second.covariance)
    covariance = np.linalg.inv(one + two)
    mean: Floats = covariance @ (one @ first.mean + two @ second.mean)
    return Line(mean=mean, covariance=(covariance + covariance.T) / 2)


def share_of(part: Line, whole: Line, params: float, tokens: float) -> tuple[float, float]:
    """Share of what is known of ln lr* and of ln B* at (params, tokens) that came from `part`.

    With C the covariance and u the direction asked about, 1 / (u' C u) is a sum over the parts,
    (C u)' C_part^-1 (C u) / (u' C u)^2; a part's share is its summand.
    """
    direction = size_direction(params, tokens)
    precision = np.linalg.inv(part.covariance)
    shares = []
    for row in (0, 1):
        u = np.zeros(len(LINE))
        u[row * len(SIZE) : (row + 1) * len(SIZE)] = direction
        known = whole.covariance @ u
        shares.append(float(known @ precision @ known / (u @ known)))
    return shares[0], shares[1]


def size_direction(params: float, tokens: float) -> Floats:
    """(1, ln N/N0, ln D/D0)."""
    return np.array([1, np.log(params / REFERENCE.params), np.log(tokens / REFERENCE.tokens)])
