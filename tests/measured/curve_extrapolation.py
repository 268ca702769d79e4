"""The final loss of a run from its beginning, and when to trust it.

The extended multi-power law is fitted to what has been seen, pulled towards what published fits,
or a law of the same model, say of the part that has not; it is read at the end of the planned
schedule. The same is done at earlier points of the run, and the row of forecasts judges itself:

- prediction level: the point from which on successive forecasts only rise, or only fall;
- proximity: the last forecast differs from the one before by little.

A forecast is trusted where both hold. Sources: the level and the proximity condition are those of
"Modeling of learning curves"; the law is that of `fitting.curves.forms`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fitting.curves.fit import draw_starts
from fitting.curves.forms import CURVE_FORMS, Paths
from fitting.curves.path import make_path, means_about, thin_rows
from fitting.curves.problem import assemble, gather, pose
from fitting.errors import InputError
from fitting.intervals import Z80
from fitting.logs.series import FEWEST_ROWS
from fitting.robust import solve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fitting.arrays import Floats
    from fitting.curves.path import Path
    from fitting.curves.problem import Data
    from fitting.logs.series import Curve

FORECASTS = 6
"""Points of the run so far from which a forecast is made, the last being now."""

EARLIEST = 0.4
"""The first of them, as a share of the rows so far."""

PROXIMITY = 0.003
"""Of ln loss: two successive forecasts this close are taken for converged."""

FEWEST_MONOTONE = 3
"""Forecasts that must agree on a direction."""

UNSEEN = 0.01
"""Standard deviation of ln loss that comes with a run of which nothing has been seen, falling
linearly to 0 at its end. Measured: tests/benchmarks/curve_laws.py on the 18 curves of shared."""

STARTS = 3
"""Of a fit, beside the fit to fewer rows."""

MOST_ROWS = 80
"""Rows that are fitted; a longer log is thinned evenly."""


@dataclass(frozen=True, slots=True)
class Extrapolation:
    """What a run's beginning says of its end."""

    step: Floats
    """Steps seen at each forecast, rising."""
    loss: Floats
    """Final loss foretold there, in nats per token."""
    level: float | None
    """Steps of the prediction level; None where the forecasts still turn."""
    change: float
    """Between the last two forecasts, in ln loss; the proximity."""
    trusted: bool
    """Whether the level has been reached and the change is small."""
    log_sd: float
    """Standard deviation of ln loss of the last forecast."""

    @property
    def final_loss(self) -> float:
        """The last forecast."""
        return float(self.loss[-1])

    @property
    def low(self) -> float:
        """Lower end of its 80% interval."""
        return float(self.final_loss * np.exp(-Z80 * self.log_sd))

    @property
    def high(self) -> float:
        """Upper end of its 80% interval."""
        return float(self.final_loss * np.exp(Z80 * self.log_sd))


def extrapolate(
    seen: Curve, planned: Curve, *, warmup_steps: float = 0.0, proximity: float = PROXIMITY
) -> Extrapolation:
    """The final loss of a run from its rows so far.

    Args:
        seen: rows so far, with their losses, at least 16 after the warmup.
        planned: the whole schedule, whose last row is the run's end.
        warmup_steps: of both, see `fitting.curves.path.make_path`.
        proximity: largest change of ln loss between successive forecasts that is trusted.

    Raises:
        InputError: too few rows, or a plan that ends before them.
    """
    if planned.step[-1] < seen.step[-1]:
        raise InputError(
            f"{seen.name}: has a row at step {seen.step[-1]:g}, after the planned "
            f"{planned.step[-1]:g}"
        )
    whole = gather([seen], warmup_steps)
    end = make_path(planned, warmup_steps=warmup_steps)
    end = end.at_rows(np.array([len(end.step) - 1]))
    kept = thin_rows(len(whole.log_loss), MOST_ROWS)
    least = max(FEWEST_ROWS // 2, EARLIEST * len(kept))
    counts = np.unique(np.geomspace(least, len(kept), FORECASTS).round().astype(int))
    path = whole.paths.paths[0].at_rows(kept)
    thinned = assemble([path], [means_about(whole.log_loss, kept)])
    forecasts = foretell(thinned, counts.tolist(), end)
    step = path.step[counts - 1]
    return judge(step, forecasts, proximity, unseen=1 - float(step[-1] / planned.step[-1]))


def foretell(data: Data, counts: Sequence[int], end: Path) -> Floats:
    """ln of the final loss by a fit to so many first rows, each started from the one before too."""
    shape, path, found = CURVE_FORMS["extended"], data.paths.paths[0], []
    last: Floats | None = None
    for count in counts:
        rows = np.arange(count)
        part = assemble([path.at_rows(rows)], [data.log_loss[rows]], data.paths.reference)
        problem = pose(shape, part)
        starts = draw_starts(problem)[:STARTS]
        starts = starts if last is None else np.vstack([starts[:1], last])
        last = solve(problem, starts, steps=40).best()
        found.append(shape.evaluate(Paths([end], data.paths.reference), last[None])[0][0, 0])
    return np.array(found)


def judge(step: Floats, log_loss: Floats, proximity: float, *, unseen: float) -> Extrapolation:
    """Level, proximity and spread of a row of forecasts of ln loss.

    Args:
        step: steps seen at each.
        log_loss: the forecasts.
        proximity: largest last change that is trusted.
        unseen: share of the run that is still to come.
    """
    changes = np.diff(log_loss)
    turns = np.flatnonzero(np.sign(changes[1:]) * np.sign(changes[:-1]) < 0)
    first = int(turns[-1]) + 1 if len(turns) else 0
    reached = len(log_loss) - first >= FEWEST_MONOTONE
    change = float(abs(changes[-1])) if len(changes) else np.inf
    return Extrapolation(
        step=step,
        loss=np.exp(log_loss),
        level=float(step[first]) if reached else None,
        change=change,
        trusted=reached and change < proximity,
        log_sd=float(np.hypot(np.sqrt(np.mean(changes**2)), UNSEEN * unseen))
        if len(changes)
        else np.inf,
    )
