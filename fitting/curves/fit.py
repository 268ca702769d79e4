"""A loss-curve law fitted to several curves at once: many starts, then resampled blocks.

The objective is that of `fitting.loss_solver`: Huber on the residuals of ln loss, and a weak
pull on the free parameters towards what published fits came out at. Neighbouring rows of a curve
share their batches and their mood, so blocks of rows, not rows, are resampled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fitting.curves.files import FEWEST_ROWS
from fitting.curves.forms import CURVE_FORMS, CurveForm, Paths, Reference
from fitting.curves.paths import make_path
from fitting.errors import InputError
from fitting.loss_solver import Problem, search, solve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from fitting.curves.files import Curve
    from fitting.curves.paths import Path
    from fitting.loss_slopes import Floats

EXTENDED = {"log_q": float(np.log(0.8)), "log_r": float(np.log(0.85))}
"""Exponents that the extended form holds: free on all curves of the 25M and 100M models of
2503.12811 they come out near these at either size (`fitting-notes.md` section 3)."""

PUBLISHED = {"log_q": 0.0, "log_r": 0.0}
"""The multi-power law as published."""

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

STARTS = 48
BLOCKS = 8
"""Blocks that each curve is cut into."""
COVERED, HALF_WIDTH = 0.8, 1.2816
"""Share of blocks that an interval is to cover, and the normal quantile of it."""

RESAMPLES = 40
RESAMPLE_STEPS = 30
"""Most steps of a resample, which starts at the best fit."""


@dataclass(frozen=True, slots=True)
class Held:
    """A form with some of its free parameters held at a value."""

    form: CurveForm
    held: Mapping[str, float]

    @property
    def names(self) -> tuple[str, ...]:
        """Parameters that are still free."""
        return tuple(name for name in self.form.names if name not in self.held)

    def whole(self, free: Floats) -> Floats:
        """All parameters, from those still free, shape (b, p)."""
        columns = {name: np.full(len(free), value) for name, value in self.held.items()}
        columns |= dict(zip(self.names, free.T, strict=True))
        return np.stack([columns[name] for name in self.form.names], axis=1)

    def evaluate(self, paths: Paths, free: Floats) -> tuple[Floats, Floats]:
        """ln loss and its slope in those still free; see `CurveForm`."""
        log_loss, slope = self.form.evaluate(paths, self.whole(free))
        kept = [i for i, name in enumerate(self.form.names) if name not in self.held]
        return log_loss, slope[:, kept]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveFit:
    """A law fitted to curves."""

    form: CurveForm
    free: Floats
    """Free parameters at the best fit, held ones included, shape (p,)."""
    covariance: Floats
    """Of the free parameters, `inflation` squared included, shape (p, p)."""
    scatter: float
    """Standard deviation of ln(measured / law) of a block, `inflation` included."""
    inflation: float
    """Times that curves held out lay further off than resampled blocks say; at least 1."""
    log_residual: Floats
    """ln loss - ln law at the rows used, shape (n,)."""
    data: Data
    """The rows used."""
    r2: float
    """Share of the variance of the loss that the law explains, over all rows used."""

    @property
    def reference(self) -> Reference:
        """The run that the free parameters are scaled by."""
        return self.data.paths.reference


@dataclass(frozen=True, slots=True)
class Resampled:
    """A fit with its resamples."""

    best: Floats
    """Free parameters, held ones included, shape (p,)."""
    resamples: Floats
    """The same of each resample, shape (b, p)."""
    scatter: float
    """Root mean square of the blocks' mean residuals of ln loss."""
    log_residual: Floats


def fit_curves(
    curves: Sequence[Curve], *, form: Held | None = None, warmup_steps: float = 0.0
) -> CurveFit:
    """The law that fits several curves of one model together, with honest intervals.

    The covariance is that of fits to resampled blocks. It knows nothing of the form's own error,
    so each curve is held out in turn (the second half, where there is one curve), and all is
    scaled until the interval that the other curves' fit gives covers 80% of the blocks held out.

    Args:
        curves: with their losses; curves that differ in schedule tell most.
        form: what is fitted, as in `FORMS`; None for the extended form.
        warmup_steps: of every curve, see `fitting.curves.paths.make_path`.

    Raises:
        InputError: a curve has too few rows after its warmup.
    """
    shape = form or FORMS["extended"]
    data = gather(curves, warmup_steps)
    found = fit_resampled(shape, data)
    missed = np.concatenate([misses(shape, *fold) for fold in folds(data)])
    # The conformal quantile: of n blocks held out and one to come, 80% lie within it.
    level = min(1.0, COVERED * (1 + 1 / len(missed)))
    inflation = max(1.0, float(np.quantile(np.abs(missed), level)) / HALF_WIDTH)
    loss = np.exp(data.log_loss)
    squares = ((loss - np.exp(data.log_loss - found.log_residual)) ** 2).sum()
    return CurveFit(
        form=shape.form,
        free=found.best,
        covariance=np.cov(found.resamples.T) * inflation**2,
        scatter=found.scatter * inflation,
        inflation=inflation,
        log_residual=found.log_residual,
        data=data,
        r2=float(1 - squares / ((loss - loss.mean()) ** 2).sum()),
    )


def fit_best(shape: Held, data: Data) -> Floats:
    """The best of many starts, parameters that are not held, shape (p,)."""
    problem = pose(shape, data)
    return search(problem, draw_starts(problem)).best()


def fit_resampled(shape: Held, data: Data) -> Resampled:
    """The best fit, and fits from there to resampled blocks."""
    best = fit_best(shape, data)[None]
    weights = resample_blocks(data, RESAMPLES)
    moved = solve(
        pose(shape, data), np.repeat(best, RESAMPLES, 0), run_weights=weights, steps=RESAMPLE_STEPS
    )
    residual = data.log_loss - shape.evaluate(data.paths, best)[0][0]
    return Resampled(
        best=shape.whole(best)[0],
        resamples=shape.whole(moved.free),
        scatter=float(np.sqrt(np.mean(block_means(residual, data) ** 2))),
        log_residual=residual,
    )


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
        losses.append(np.log(curve.loss[np.searchsorted(curve.step, path.step[kept])]))
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


def folds(data: Data) -> list[tuple[Data, Data]]:
    """What is fitted and what is held out: each curve in turn, or the half of a lone curve."""
    paths = data.paths.paths
    losses = [data.log_loss[data.run == i] for i in range(len(paths))]
    if len(paths) > 1:
        return [
            (
                assemble([*paths[:i], *paths[i + 1 :]], [*losses[:i], *losses[i + 1 :]]),
                assemble(paths[i : i + 1], losses[i : i + 1]),
            )
            for i in range(len(paths))
        ]
    early = np.arange(len(losses[0])) < len(losses[0]) / 2
    return [
        (
            assemble([paths[0].at_rows(early)], [losses[0][early]]),
            assemble([paths[0].at_rows(~early)], [losses[0][~early]]),
        )
    ]


def misses(shape: Held, fitted: Data, held: Data) -> Floats:
    """How far each block held out lies off, in standard deviations of its forecast."""
    found = fit_resampled(shape, fitted)
    paths = Paths(held.paths.paths, fitted.paths.reference)
    guesses, _ = shape.form.evaluate(paths, np.vstack([found.best, found.resamples]))
    spread = block_means(guesses[1:].std(axis=0), held)
    off = block_means(held.log_loss - guesses[0], held)
    return off / np.hypot(spread, found.scatter)


def warmup_end(curve: Curve) -> float:
    """Step of the first row at which the lr has stopped rising from the beginning."""
    still = np.diff(curve.lr) > 0
    return float(curve.step[int(np.argmin(np.append(still, False)))])


def pose(shape: Held, data: Data) -> Problem[Held]:
    """What is minimised."""
    last = np.flatnonzero(np.diff(np.append(data.run, -1)))
    lowest = float(data.log_loss[last].min())
    usual = [USUAL[name] for name in shape.names]
    relative = lowest * np.array([name in HEIGHTS for name in shape.names])
    return Problem(
        family=shape,
        features=data.paths,
        log_loss=data.log_loss,
        ridge=np.array([PULL / spread**2 for _, spread in usual]),
        towards=np.array([value for value, _ in usual]) + relative,
    )


def draw_starts(problem: Problem[Held]) -> Floats:
    """Random starts about the usual values, the first at them."""
    rng = np.random.default_rng(0)
    spread = np.sqrt(PULL / problem.ridge)
    noise = rng.normal(size=(STARTS, len(spread)))
    noise[0] = 0.0
    return problem.towards + noise * spread


def resample_blocks(data: Data, count: int) -> Floats:
    """Weights of the rows: how often their block was drawn, shape (count, n).

    Blocks are drawn within their curve, so that no resample lacks a schedule.
    """
    rng = np.random.default_rng(0)
    runs = len(data.paths.paths)
    drawn = rng.multinomial(BLOCKS, np.full(BLOCKS, 1 / BLOCKS), size=(count, runs))
    weights: Floats = drawn.reshape(count, -1)[:, data.block].astype(float)
    return weights


def block_means(values: Floats, data: Data) -> Floats:
    """Mean of the rows of each block, shape (blocks,)."""
    found: Floats = np.bincount(data.block, values) / np.bincount(data.block)
    return found


FORMS: Mapping[str, Held] = {
    "extended": Held(CURVE_FORMS["multi-power"], EXTENDED),
    "multi-power": Held(CURVE_FORMS["multi-power"], PUBLISHED),
    "annealing": Held(CURVE_FORMS["annealing"], {}),
    "power": Held(CURVE_FORMS["power-in-lr-sum"], {}),
}
"""What `plan curve fit --form` offers."""
