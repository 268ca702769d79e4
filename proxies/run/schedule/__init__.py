"""The learning rate of a run against its steps: one continuous function, made and read here.

A schedule is lr(s) of progress s in [0, S], S the total steps. Update s = 1..S uses lr(s), so the
first update trains and the last is at the final lr. Trainers sample the same function elsewhere.

Rooms, none of which imports torch: `stages` (what a schedule is, and its value at some s),
`request` (what is asked, and how stages are put together), `kinds` (the schedules by name),
`extend` (extending a finished run, joining two), `from_file` (any CSV), `refined` (from gradient
norms) and `convex_bound` (the loss that convex theory gives a schedule). This face loads no array
library; the last three do.
"""

from proxies.run.schedule.kinds import KINDS, NOT_FOR_PLANS, build_schedule, make_schedule
from proxies.run.schedule.request import ScheduleRequest, default_warmup_steps
from proxies.run.schedule.stages import (
    SHAPES,
    Checkpoint,
    Schedule,
    Stage,
    lr_fraction,
    lr_fractions,
    share_of_peak,
    update_fractions,
)

__all__ = [
    "KINDS",
    "NOT_FOR_PLANS",
    "SHAPES",
    "Checkpoint",
    "Schedule",
    "ScheduleRequest",
    "Stage",
    "build_schedule",
    "default_warmup_steps",
    "lr_fraction",
    "lr_fractions",
    "make_schedule",
    "share_of_peak",
    "update_fractions",
]
