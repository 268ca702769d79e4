"""One schedule read at many points: at an array of them, and at every update.

Every value is `stage_fraction` of the same stage at the same progress, so all of them agree to
the last bit with `lr_fraction`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fitting.errors import InputError
from proxies.run.schedule.stages import Schedule, stage_fraction

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray


def lr_fractions(schedule: Schedule, points: ArrayLike) -> NDArray[np.float64]:
    """lr(s) / peak at every s of an array.

    Args:
        schedule: the schedule.
        points: progress s in [0, S], of any shape.

    Returns:
        The fractions, in [0, 1], in the shape of the points.

    Raises:
        InputError: a point outside [0, S].
    """
    # Imported here because a plan reads schedules without arrays.
    import numpy as np

    s = np.asarray(points, dtype=float)
    outside = s[~((s >= 0) & (s <= schedule.steps))]
    if outside.size:
        raise InputError(
            f"schedule {schedule.kind}: step {outside.flat[0]:g} is outside 0..{schedule.steps}"
        )
    flat = s.ravel()
    lengths = np.array([stage.steps for stage in schedule.stages])
    begins = np.array(schedule.ends) - lengths
    stage_of = np.searchsorted(schedule.ends, flat, side="left")
    progress = (flat - begins[stage_of]) / lengths[stage_of]
    # One by one, for numpy's cosine and powers differ from math's in the last bit.
    fractions = [
        stage_fraction(schedule.stages[number], p)
        for number, p in zip(stage_of.tolist(), progress.tolist(), strict=True)
    ]
    return np.array(fractions, dtype=float).reshape(s.shape)


def update_fractions(schedule: Schedule) -> NDArray[np.float64]:
    """lr / peak of every update s = 1..S, as the proxies and the plan use it."""
    import numpy as np

    return lr_fractions(schedule, np.arange(1, schedule.steps + 1))
