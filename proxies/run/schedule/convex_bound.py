"""What convex theory says of a schedule: a bound on the suboptimality of the last iterate.

With lrs eta_t, gradient norms G_t and the distance R from the start to the optimum, over T steps:

    Omega = R^2 / (2 sum eta) + sum eta^2 G^2 / (2 sum eta)
            + 1/2 sum_{k<T} (eta_k / sum_{t>k} eta_t) (sum_{t>=k} eta_t^2 G_t^2 / sum_{t>=k} eta_t)

The first term falls as 1 / lr, the others grow with it, so there is one best lr for a shape. Its
value means nothing for a network, but its order of schedules and the ratio of its best lrs do:
they say how a tuned lr should move when a run gets longer or its schedule another shape.

Sources: Schaipp et al. 2025 (arXiv 2501.18965); Defazio et al. 2023 (arXiv 2310.07831), theorem
10.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fitting.errors import InputError
from proxies.run.schedule.stages import update_fractions

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from proxies.run.schedule.stages import Schedule


@dataclass(frozen=True, slots=True)
class LastIterateBound:
    """The bound of one schedule, in its two parts."""

    distance: float
    """R^2 / (2 sum eta): what is left of the way to the optimum; falls as 1 / lr."""
    noise: float
    """The other two terms: what the steps' own size costs; grows with lr."""

    @property
    def value(self) -> float:
        """Omega, the bound itself, above 0."""
        return self.distance + self.noise

    @property
    def best_scale(self) -> float:
        """Factor on every lr that makes the bound lowest: sqrt(distance / noise)."""
        return float(np.sqrt(self.distance / self.noise))

    @property
    def best_value(self) -> float:
        """The bound there: 2 sqrt(distance noise)."""
        return float(2 * np.sqrt(self.distance * self.noise))


def last_iterate_bound(
    lrs: ArrayLike, *, norms: ArrayLike = 1.0, distance: float = 1.0
) -> LastIterateBound:
    """The bound on the loss of the last iterate above the optimum, in one pass over the steps.

    Args:
        lrs: eta_t of every update t = 1..T, 0 or more, one above 0; trailing zeros are dropped,
            for they move nothing.
        norms: G_t, one or T of them, above 0.
        distance: R, above 0.

    Raises:
        InputError: lrs that are not such, or norms of another length or sign.

    Source:
        Schaipp et al. 2025 (arXiv 2501.18965), their bound Omega_T.

    Example:
        >>> two = last_iterate_bound([1.0, 0.5])
        >>> round(two.distance, 6), round(two.noise, 6), round(two.best_scale, 6)
        (0.333333, 1.25, 0.516398)
    """
    eta = np.asarray(lrs, dtype=float)
    if eta.ndim != 1 or not np.all(np.isfinite(eta)) or np.any(eta < 0) or not np.any(eta > 0):
        raise InputError("lrs: must be a list of finite numbers, 0 or more, not all of them 0")
    gradient = np.asarray(norms, dtype=float)
    fits = gradient.shape in ((), eta.shape)
    if not fits or not np.all(np.isfinite(gradient)) or np.any(gradient <= 0):
        raise InputError(f"norms: must be one number above 0 or {len(eta)} of them")
    if not 0 < distance < np.inf:
        raise InputError(f"distance {distance:g}: must be above 0")
    last = int(np.flatnonzero(eta)[-1]) + 1
    steps = (eta * gradient)[:last]
    eta = eta[:last]
    lr_left = np.cumsum(eta[::-1])[::-1]
    cost_left = np.cumsum(steps[::-1] ** 2)[::-1]
    later = (eta[:-1] / lr_left[1:]) * (cost_left[:-1] / lr_left[:-1])
    return LastIterateBound(
        distance=float(distance**2 / (2 * lr_left[0])),
        noise=float((cost_left[0] / lr_left[0] + later.sum()) / 2),
    )


def best_peak_lr(schedule: Schedule, *, norms: ArrayLike = 1.0, distance: float = 1.0) -> float:
    """The peak lr that makes the bound of a schedule lowest.

    Args:
        schedule: the schedule; its updates s = 1..S are used.
        norms: G_t, one or S of them, above 0.
        distance: R, above 0.

    Raises:
        InputError: as `last_iterate_bound`.

    Source:
        Schaipp et al. 2025 (arXiv 2501.18965): sqrt of the distance term over the others at lr 1.
    """
    return last_iterate_bound(update_fractions(schedule), norms=norms, distance=distance).best_scale


def transferred_lr(lr: float, tuned: Schedule, planned: Schedule) -> float:
    """Where a peak lr that was tuned under one schedule should go under another.

    lr times the ratio of the schedules' best peaks; norms and distance, taken as the same for
    both and constant, cancel. For one shape and twice the steps this is about 1 / sqrt(2).

    Args:
        lr: the tuned peak lr, above 0.
        tuned: the schedule it was tuned under.
        planned: the schedule to use it with: another horizon, another shape, or an extension.

    Raises:
        InputError: an lr that is not above 0.

    Source:
        Schaipp et al. 2025 (arXiv 2501.18965), lr transfer to a longer horizon.
    """
    if not 0 < lr < np.inf:
        raise InputError(f"lr {lr:g}: must be above 0")
    return lr * best_peak_lr(planned) / best_peak_lr(tuned)
