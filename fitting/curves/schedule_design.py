"""The non-increasing schedule with the lowest final loss that a multi-power law foretells.

The lr is linear between some nodes and never rises; the logs of its drops from node to node are
moved downhill from several starts. The gradient is exact, by complex steps: at the run's end the
law is an analytic function of the nodes. What comes out leans on the law where its curves said
least, so a gain of the size of the interval is no gain yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize

from fitting.curves.law import named
from fitting.curves.path import make_path
from fitting.errors import InputError
from fitting.logs.series import Curve

if TYPE_CHECKING:
    from fitting.arrays import Floats
    from fitting.curves.law import CurveLaw
    from fitting.curves.path import Path

NODES = 60
"""Most nodes of a designed schedule; closer together towards the end, where it bends most."""

LARGEST_DROP = 4.0
"""Of ln lr from one node to the next: a factor of 55."""

LOWEST_FRACTION = 1e-5
"""Of the peak, below which a lr is given as 0."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A run that a schedule is designed to go on with."""

    done: Curve
    """Its rows so far; the last row's lr, above 0, is the highest from there on."""
    warmup_steps: float = 0.0
    """Before its first row, see `fitting.curves.path.make_path`."""


def warmed_up(lr: float, warmup_steps: int) -> Begun:
    """A run that has only risen linearly to its peak.

    Args:
        lr: the peak, > 0.
        warmup_steps: 0 or more.
    """
    rows = ([0.0, float(warmup_steps)], [0.0, lr]) if warmup_steps else ([0.0], [lr])
    return Begun(Curve(name="designed", step=np.array(rows[0]), lr=np.array(rows[1]), loss=None))


def design(law: CurveLaw, begun: Begun, *, steps: int) -> Curve:
    """The non-increasing schedule of `steps` in all with the lowest final loss by the law.

    Args:
        law: of the form multi-power.
        begun: what has been done.
        steps: steps at the run's end.

    Returns:
        The rows done and the nodes that follow, at whole steps.

    Raises:
        InputError: a law of another form, an lr that is 0 already, or no steps left.
    """
    first, lr = float(begun.done.step[-1]), float(begun.done.lr[-1])
    if law.form.form != "multi-power":
        raise InputError(
            f"[curve] form {law.form.form}: designs no schedule; fit the form extended"
        )
    if steps <= first:
        raise InputError(f"--steps {steps}: must be above the {first:g} steps already done")
    if lr == 0:
        raise InputError(
            f"{begun.done.name}: ends at lr 0, which nothing can go on from; give its rows up to "
            "the decay"
        )
    node = node_steps(first, steps)
    path = make_path(begun.done, warmup_steps=begun.warmup_steps)
    problem = FinalLoss(law, path, lr, np.diff(node))
    best = min(
        (
            minimize(
                problem.value_and_slope,
                drops,
                jac=True,
                method="L-BFGS-B",
                bounds=[(0.0, LARGEST_DROP)] * len(drops),
                options={"maxiter": 300, "ftol": 1e-12},
            )
            for drops in starting_drops(node)
        ),
        key=lambda found: float(found.fun),
    )
    fraction = np.exp(-np.cumsum(best.x))
    fraction[fraction < LOWEST_FRACTION] = 0.0
    return Curve(
        name="designed",
        step=np.concatenate([begun.done.step, node[1:]]),
        lr=np.concatenate([begun.done.lr, lr * fraction]),
        loss=None,
    )


def node_steps(first: float, last: float) -> Floats:
    """Whole steps from `first` to `last`, closer together towards the end."""
    count = int(min(NODES, last - first))
    share = 1 - (1 - np.linspace(0, 1, count + 1)) ** 1.5
    return np.unique((first + (last - first) * share).round())


def starting_drops(node: Floats) -> list[Floats]:
    """Drops of ln lr of a linear decay to 5% of the peak, over the last fifth and over all."""
    share = (node - node[0]) / (node[-1] - node[0])
    return [
        np.maximum(-np.diff(np.log(1 - 0.95 * np.clip((share - begin) / (1 - begin), 0, 1))), 0.0)
        for begin in (0.8, 0.4, 0.0)
    ]


@dataclass(frozen=True, slots=True)
class FinalLoss:
    """ln loss at the end of a schedule, as a function of its drops of ln lr."""

    law: CurveLaw
    done: Path
    lr: float
    """At the first node."""
    spacing: Floats
    """Steps between nodes, shape (n,)."""

    def value_and_slope(self, drops: Floats) -> tuple[float, Floats]:
        """ln loss and its gradient in the drops."""
        found = self.log_loss(np.vstack([drops + 0j, drops + 1e-30j * np.eye(len(drops))]))
        return float(found[0].real), np.imag(found[1:]) / 1e-30

    def log_loss(self, drops: Any) -> Any:
        """ln loss of each row of drops, shape (m,) from (m, n); `forms.multi_power` at the end."""
        free, reference, done = named(self.law.form, self.law.free), self.law.reference, self.done
        alpha, beta, gamma, q, r = (
            np.exp(free[f"log_{name}"]) for name in ("alpha", "beta", "gamma", "q", "r")
        )
        end = self.lr * np.exp(-np.cumsum(drops, axis=1))
        begin = np.concatenate([np.full((len(drops), 1), self.lr), end[:, :-1]], axis=1)
        area = self.spacing * (begin + end) / 2
        later = np.cumsum(area[:, ::-1], axis=1)[:, ::-1] - area
        total = done.lr_sum[-1] + area.sum(axis=1)

        def worked(middle: Any, rest: Any) -> Any:
            speed = np.exp(free["log_speed"]) * (middle / reference.peak) ** -gamma
            return 1 - (1 + speed * rest / reference.lr_sum) ** -beta

        # Over the second half of a piece the lr sums to an eighth of its start, 3/8 of its end.
        late = worked((begin + end) / 2, later + self.spacing * (begin + 3 * end) / 8)
        early = worked((done.before + done.after) / 2, total[:, None] - done.at_sum)
        peak = max(done.peak, self.lr)
        change = ((begin / peak) ** q - (end / peak) ** q) * late
        given = change.sum(axis=1) + early @ ((done.before / peak) ** q - (done.after / peak) ** q)
        share = total / reference.lr_sum
        gain = np.exp(free["log_gain"]) * (peak / reference.peak) * share ** (r - 1) * given
        level = np.exp(free["log_level"]) * share**-alpha
        return np.log(np.exp(free["log_floor"]) + level - gain)
