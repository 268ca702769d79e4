"""What is minimised when a loss-curve law is fitted: curves made ready, a form, its pull.

The objective is that of `fitting.robust`: Huber on the residuals of ln loss, and a weak
pull on the free parameters towards what published fits came out at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fitting.curves.forms import Paths, Reference
from fitting.curves.path import make_path, means_about
from fitting.errors import InputError
from fitting.logs.series import FEWEST_ROWS
from fitting.robust import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fitting.arrays import Floats
    from fitting.curves.forms import CurveForm
    from fitting.curves.path import Path
    from fitting.logs.series import Curve

USUAL = {
    "log_floor": (-0.12, 0.2),
    "log_level": (-2.8, 1.0),
    "log_alpha": (-0.7, 0.3),
    "log_gain": (-3.4, 0.7),
    "log_speed": (7.5, 2.0),
    "log_beta": (-0.5, 0.3),
    "log_gamma": (-0.5, 0.3),
    "log_q": (-0.1, 0.3),
    "log_r": (-0.1, 0.3),
}
"""Where the free parameters lie and how far they stray, from the published fits at 25M to 400M of
2503.12811, rounded."""

HEIGHTS = ("log_floor", "log_level", "log_gain")
"""Parameters that are logs of a loss: their usual values are relative to the lowest final loss."""

PULL = 5.0
"""Rows off by Huber's delta that one stray of a parameter costs as much as."""

BLOCKS = 8
"""Blocks that each curve is cut into: rows nearer than that share their error."""


@dataclass(frozen=True, slots=True)
class Data:
    """Curves made ready for a fit."""

    paths: Paths
    log_loss: Floats
    """Shape (n,)."""
    run: NDArray[np.intp]
    """Index of the curve of each row, shape (n,)."""
    block: NDArray[np.intp]
    """Index of the block of each row, over all curves, shape (n,)."""


def gather(curves: Sequence[Curve], warmup_steps: float) -> Data:
    """Paths, losses and blocks of the curves, from the end of their warmup on.

    Raises:
        InputError: a curve is warmup to its end.
    """
    paths, losses = [], []
    for curve in curves:
        assert curve.loss is not None
        path = make_path(curve, warmup_steps=warmup_steps)
        kept = path.step >= warmup_end(curve)
        if kept.sum() < FEWEST_ROWS:
            raise InputError(
                f"{curve.name}: {kept.sum()} rows after its warmup; {FEWEST_ROWS} are needed"
            )
        paths.append(path.at_rows(kept))
        rows = np.searchsorted(curve.step, path.step)
        losses.append(means_about(np.log(curve.loss), rows)[kept])
    return assemble(paths, losses)


def assemble(
    paths: Sequence[Path], log_losses: Sequence[Floats], reference: Reference | None = None
) -> Data:
    """The rows of several runs one after the other, cut into blocks; None: their median run."""
    reference = reference or Reference(
        lr_sum=float(np.median([path.lr_sum[-1] for path in paths])),
        peak=float(np.median([path.peak for path in paths])),
    )
    lengths = [len(path.step) for path in paths]
    blocks = [np.arange(n) * BLOCKS // n + BLOCKS * i for i, n in enumerate(lengths)]
    return Data(
        paths=Paths(paths, reference),
        log_loss=np.concatenate(log_losses),
        run=np.repeat(np.arange(len(paths)), lengths),
        block=np.concatenate(blocks),
    )


def warmup_end(curve: Curve) -> float:
    """Step of the first row at which the lr has stopped rising from the beginning."""
    still = np.diff(curve.lr) > 0
    return float(curve.step[int(np.argmin(np.append(still, False)))])


def pose(shape: CurveForm, data: Data) -> Problem[CurveForm]:
    """What is minimised."""
    last = np.flatnonzero(np.diff(np.append(data.run, -1)))
    lowest = float(data.log_loss[last].min())
    usual = [USUAL[name] for name in shape.names]
    relative = lowest * np.array([name in HEIGHTS for name in shape.names])
    return Problem(
        model=shape,
        features=data.paths,
        observed=data.log_loss,
        ridge=np.array([PULL / spread**2 for _, spread in usual]),
        towards=np.array([value for value, _ in usual]) + relative,
        accelerate=True,
    )


def block_means(values: Floats, data: Data) -> Floats:
    """Mean of the rows of each block, shape (blocks,)."""
    found: Floats = np.bincount(data.block, values) / np.bincount(data.block)
    return found
