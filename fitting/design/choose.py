"""The next runs: which cells, in which order, and what each run is for.

Cells are visited from cheap to dear, a local design of five runs at a time, and over again when
all have been; a visit takes at most an eighth of what is left. Small runs tell most of what large
ones do, as far as the form holds, so that the dear ones are worth their price only at the end.
Everything is a function of the runs so far, those under way included.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fitting.arrays import Floats
from fitting.design.belief import believed_surface, weight_prior
from fitting.design.cells import DesignCell, Pick, cells_of, take_nearest
from fitting.errors import InputError
from fitting.laws.plateau import cost, curvature
from fitting.laws.surface import Surface, best_point
from fitting.units import format_count, format_small

if TYPE_CHECKING:
    from fitting.design.space import Candidates, Space
    from fitting.runs.tuned import TunedRuns
    from fitting.surface.line import OptimumLine

SHARE = 1 / 8
"""Of what is left that a visit may take. At a half, one dear cell takes what many cheap runs would
have cost, and the design of a small budget costs the target half as much again in the replay."""

FEWEST = 3
"""Runs that a new cell gets at least: its own level of loss takes one of them."""


EXTRA = 0.006
"""ln loss over the optimum's at the points around it: three times a run's noise."""

NEAREST, FARTHEST = math.log(1.4), math.log(4.0)
"""Least and most of the ellipse's half-axes, in ln: nearer tells nothing, farther misleads."""

POINTS = 5
"""Of a visit: the centre and four around it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A run to make, in the runs table's names."""

    params: float
    """N, non-embedding, > 0."""
    tokens: float
    """D, > 0."""
    lr: float
    """Peak learning rate, > 0."""
    batch_tokens: float
    """Tokens a batch, > 0."""
    flops: float
    """What the run costs, > 0."""
    reason: str
    """One sentence: why this run, and why now."""
    row: int | None
    """Row of the candidate, from 0; None where the space is continuous."""


@dataclass(frozen=True, slots=True)
class DesignPoint:
    """One point of a design, in ln lr and ln batch."""

    at: Floats
    """Shape (2,)."""
    centre: bool


@dataclass(frozen=True, slots=True)
class Visit:
    """Some runs of one cell."""

    cell: DesignCell
    runs: int
    """To make now."""


def next_runs(
    done: TunedRuns,
    *,
    target: tuple[float, float],
    budget_flops: float,
    options: Candidates | Space,
    count: int | None = None,
    prior: OptimumLine | None = None,
    seed: int = 0,
) -> list[Proposal]:
    """The runs to make next, best first.

    Args:
        done: runs made so far, or under way; may be empty.
        target: params and tokens of the run that is planned, > 0.
        budget_flops: what is left to spend, > 0.
        options: what may be run.
        count: most runs to propose, > 0; None is what is left of one cell's design, after which
            a new fit pays.
        prior: where the optimum lies by a law; None for published theory's signs alone.
        seed: of the directions of each design.

    Returns:
        Proposals that fit in the budget together; fewer than asked where it or the options end.

    Raises:
        InputError: no run can be bought with that budget.
    """
    surface = believed_surface(done.finished(), prior=weight_prior(prior), target=target)
    cells = cells_of(options, done)
    left, proposals = budget_flops, list[Proposal]()
    while count is None or len(proposals) < count:
        visit = choose_visit(cells, left)
        if visit is None or (count is None and proposals):
            break
        most = visit.runs if count is None else min(visit.runs, count - len(proposals))
        made = make_visit(visit, most, surface=surface, options=options, seed=seed)
        left -= math.fsum(proposal.flops for proposal in made)
        proposals += made
    if not proposals:
        raise InputError(say_nothing_left(cells, budget_flops))
    return proposals


def choose_visit(cells: list[DesignCell], left: float) -> Visit | None:
    """The cheapest of the cells visited least, with the runs that its share of the budget buys.

    When no cell fits in the share, single runs of cells already begun use up the rest.
    """
    open_cells = sorted((cell for cell in cells if not cell.empty), key=visits)
    for cell in open_cells:
        wanted = POINTS - cell.taken % POINTS
        runs = min(wanted, math.floor(SHARE * left / cell.flops))
        if runs >= (FEWEST if cell.taken == 0 else 1):
            return Visit(cell, runs)
    for cell in open_cells:
        if cell.taken and cell.flops <= left:
            return Visit(cell, 1)
    return None


def visits(cell: DesignCell) -> int:
    """Designs completed in a cell."""
    return cell.taken // POINTS


def make_visit(
    visit: Visit, most: int, *, surface: Surface, options: Candidates | Space, seed: int
) -> list[Proposal]:
    """The next runs of a cell's design, at most so many."""
    cell = visit.cell
    number, first = divmod(cell.taken, POINTS)
    points = ellipse(surface, cell.params, cell.tokens, phase=phase_of(cell, number, seed))
    proposals = []
    for point in points[first : first + most]:
        if cell.empty:
            break
        pick = take_nearest(cell, options, point.at)
        proposals.append(to_proposal(cell, point, pick, number, surface))
    return proposals


def phase_of(cell: DesignCell, number: int, seed: int) -> float:
    """Where the first point around a cell's centre lies, radians; the same when asked again."""
    name = zlib.crc32(f"{cell.params:.6g}:{cell.tokens:.6g}".encode())
    return float(np.random.default_rng([seed, name, number]).uniform(0, math.pi / 2))


def to_proposal(
    cell: DesignCell, point: DesignPoint, pick: Pick, number: int, surface: Surface
) -> Proposal:
    """A run with its reason."""
    return Proposal(
        params=cell.params,
        tokens=cell.tokens,
        lr=pick.lr,
        batch_tokens=pick.batch_tokens,
        flops=pick.flops,
        reason=say_reason(cell, point, pick, number, surface),
        row=pick.row,
    )


def say_reason(
    cell: DesignCell, point: DesignPoint, pick: Pick, number: int, surface: Surface
) -> str:
    """Why this run, in one sentence."""
    size = f"{format_count(cell.params)}:{format_count(cell.tokens)}"
    if point.centre and number == 0:
        return (
            f"Near the best lr and batch as predicted for {size}, a new cell, whose level it gives "
            "to the loss law."
        )
    if point.centre:
        return f"At the best lr and batch of {size} as now predicted, to test the fit there."
    lr, batch_tokens = best_point(surface, cell.params, cell.tokens)
    extra = cost(
        surface,
        params=cell.params,
        tokens=cell.tokens,
        lr=pick.lr,
        batch_tokens=pick.batch_tokens,
    )
    return (
        f"At {format_small(pick.lr / lr, 2)} times the best lr and "
        f"{format_small(pick.batch_tokens / batch_tokens, 2)} times the best batch as predicted "
        f"for {size}, where loss should be {format_small(100 * extra, 2)}% higher: shows on which "
        "side the best lies and how fast loss rises."
    )


def say_nothing_left(cells: list[DesignCell], budget_flops: float) -> str:
    """Why there is no proposal."""
    costs = [cell.flops for cell in cells if not cell.empty]
    if not costs:
        return "candidates: all have been run; give others"
    least = min(costs)
    return (
        f"budget: {budget_flops:.3g} FLOPs are too few; a new cell takes {FEWEST} runs in "
        f"{SHARE:.3g} of what is left, and the cheapest run costs {least:.3g}: "
        f"give {FEWEST * least / SHARE:.3g} or cheaper runs"
    )


def ellipse(surface: Surface, params: float, tokens: float, *, phase: float) -> list[DesignPoint]:
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
    points = [DesignPoint(centre, centre=True)]
    for turn in range(POINTS - 1):
        angle = phase + turn * math.pi / 2
        offset = axes @ (half * [math.cos(angle), math.sin(angle)])
        points.append(DesignPoint(centre + offset, centre=False))
    return points
