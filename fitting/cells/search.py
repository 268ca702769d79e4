"""Find the best lr and batch of one cell with few runs: three runs, then where the fit points.

The first runs are the start, half its lr and half its batch (lower values diverge less often).
After each run the cell's surface is fitted again (`fitting.cells.few_runs`), and the next run is
the candidate nearest to its optimum, which is kept within a factor 2 of the runs done. The search
is over when the optimum's interval is narrow enough. Everything is a function of the runs so far,
so a search that was broken off goes on as if it had not been.

The procedure was chosen on the 21 sparse cells of Step Law's runs (arXiv 2503.04715) and judged on
the 15 dense ones: `python -m tests.benchmarks.search_replay`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fitting.arrays import Floats
from fitting.cells.few_runs import (
    LocalFit,
    Start,
    Tried,
    fit_cell,
    optimum_variance,
    places,
    predict,
)
from fitting.intervals import Z80

ARM = math.log(2)
"""How far the second and third run lie from the first, in ln."""

TRUST = math.log(2)
"""How far the optimum may lie outside the runs done, in ln."""

RETREAT = math.log(4)
"""How far lr goes down, in ln, while every run has diverged."""

GRID = 41
"""Points an axis where the lowest loss is looked for, twice: over the box, then around the best."""

SAME = 1e-6
"""Distance in ln below which two settings are one."""


@dataclass(frozen=True, slots=True)
class LocalOptimum:
    """The best lr and batch by the runs so far."""

    lr: float
    batch_tokens: float
    loss: float
    """Fitted loss there, nats per token."""
    lr_log_sd: float
    """sd of ln lr; infinite on the edge of what the runs cover, 0 where it was not varied."""
    batch_log_sd: float
    """The same for the batch."""

    @property
    def width(self) -> float:
        """Upper over lower end of the 80% interval, of lr or batch, whichever is wider; >= 1."""
        return float(np.exp(2 * Z80 * max(self.lr_log_sd, self.batch_log_sd)))


@dataclass(frozen=True, slots=True)
class Box:
    """Lowest and highest place, each shape (2,), in ln over the start."""

    low: Floats
    high: Floats


def propose_run(start: Start, tried: Tried, *, candidates: Floats, taken: Floats) -> int | None:
    """Which candidate to run next.

    Args:
        start: prior of the cell.
        tried: runs that ended.
        candidates: lr and batch_tokens that may be run, shape (m, 2).
        taken: those of all runs, the ones under way included, shape (k, 2).

    Returns:
        Row of the candidate nearest in ln to where the next run should be, among those not taken
        and of lower lr than any run that diverged; None where none is left.
    """
    at = places(start, *candidates.T)
    done = places(start, *taken.T)
    used = np.abs(at[:, None] - done).max(axis=2).min(axis=1, initial=np.inf) < SAME
    cliff = tried.lr[np.isinf(tried.loss)].min(initial=np.inf)
    barred = used | (candidates[:, 0] > cliff * (1 - SAME))
    if barred.all():
        return None
    wanted = next_place(start, tried, limits=Box(at.min(axis=0), at.max(axis=0)), count=len(done))
    distance = np.sum((at - wanted) ** 2, axis=1)
    return int(np.where(barred, np.inf, distance).argmin())


def next_place(start: Start, tried: Tried, *, limits: Box, count: int) -> Floats:
    """Where the run after `count` others should be, in ln over the start."""
    opening = opening_places(limits)
    diverged = np.isinf(tried.loss)
    if count < len(opening) and not diverged.any():
        return opening[count]
    if (~diverged & ~tried.stopped).any():
        return lowest_place(start, tried, limits=limits)[1]
    if not diverged.any():
        return opening[0]
    lowest = places(start, tried.lr, tried.batch_tokens)[diverged, 0].min()
    return np.array([lowest - RETREAT, 0.0])


def opening_places(limits: Box) -> list[Floats]:
    """The start, then a step down in each varied direction, or up where there is no room below."""
    first = np.clip(np.zeros(2), limits.low, limits.high)
    found = [first]
    for unit in np.eye(2):
        room_below = float(unit @ (first - limits.low))
        room_above = float(unit @ (limits.high - first))
        if max(room_below, room_above) > SAME:
            arm = -ARM if room_below >= min(ARM - SAME, room_above) else ARM
            found.append(np.clip(first + arm * unit, limits.low, limits.high))
    return found


def find_local_optimum(start: Start, tried: Tried, *, limits: Floats) -> LocalOptimum:
    """The recommended lr and batch of a cell.

    Args:
        start: prior of the cell.
        tried: runs that ended, at least one with a loss of its own.
        limits: lowest and highest lr and batch_tokens of the search, shape (2, 2), low row first.
    """
    low, high = places(start, *limits.T)
    fit, place = lowest_place(start, tried, limits=Box(low, high))
    box = covered(fit, Box(low, high))
    varied = box.high - box.low > SAME
    inside = (place > box.low + SAME) & (place < box.high - SAME)
    sd = np.where(inside, np.sqrt(optimum_variance(fit, place, varied)), np.inf)
    sd = np.where(varied, sd, 0.0)
    lr, batch_tokens = np.exp(place) * (start.lr, start.batch_tokens)
    loss = float(np.exp(predict(fit, place[None])[0]))
    return LocalOptimum(float(lr), float(batch_tokens), loss, float(sd[0]), float(sd[1]))


def lowest_place(start: Start, tried: Tried, *, limits: Box) -> tuple[LocalFit, Floats]:
    """The fit and its lowest place, within a factor 2 of the runs and inside the limits."""
    fit = fit_cell(start, tried)
    box = covered(fit, limits)
    place = lowest_on_grid(fit, box)
    step = (box.high - box.low) / (GRID - 1)
    around = Box(np.maximum(box.low, place - step), np.minimum(box.high, place + step))
    return fit, lowest_on_grid(fit, around)


def covered(fit: LocalFit, limits: Box) -> Box:
    """What the runs speak of: their box and a factor 2 around it, inside the limits."""
    low = np.clip(fit.at.min(axis=0) - TRUST, limits.low, limits.high)
    high = np.clip(fit.at.max(axis=0) + TRUST, limits.low, limits.high)
    return Box(low, high)


def lowest_on_grid(fit: LocalFit, box: Box) -> Floats:
    """The lowest of a grid of places over a box."""
    axes = [np.unique(np.linspace(a, b, GRID)) for a, b in zip(box.low, box.high, strict=True)]
    at = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    lowest: Floats = at[predict(fit, at).argmin()]
    return lowest
