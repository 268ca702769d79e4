"""A run beside what we would recommend for it: which values are off, and what each costs.

Batch first, then the lr at that batch, then the weight decay at both: each number is compared
with the plan that has the run's numbers before it. So an lr that is right for a batch is not
called wrong because the batch is. A weight decay is off only where it is so at the run's lr and
at ours: where the lr alone is wrong, a weight decay that suits ours is not to be changed too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from planner.plan.assembly import lie_of
from planner.plan.pinned import plan_of
from planner.recommendation.place import BATCH_REACH
from planner.request.choices import Pins
from planner.review.risks import find_risks

if TYPE_CHECKING:
    from pathlib import Path

    from planner.facts.anchor import Anchor
    from planner.plan.document import Bounds, Value
    from planner.plan.make import Prepared
    from planner.trainers.import_config import TrainerConfig

AS_RECOMMENDED, PLAUSIBLE, UNKNOWN, OFF = "as recommended", "plausible", "not known", "off"
"""Verdicts: in the interval, in that of a setup nobody measured, no interval, outside both."""

VERDICTS = (AS_RECOMMENDED, PLAUSIBLE, UNKNOWN, OFF)
"""Best first."""

NEGLIGIBLE = 5e-4
"""Share of the loss below which a cost is not printed: the noise of one run is larger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One number of the run beside ours."""

    name: str
    """lr, batch_tokens or weight_decay."""
    value: float
    """The run's."""
    recommended: Value
    """Ours, where the numbers before it are the run's."""
    verdict: str
    cost: float | None
    """Share of the loss over that of our number; None where it is not known."""

    @property
    def factor(self) -> float | None:
        """The run's number over ours; None where either is 0."""
        ours = self.recommended.value
        return self.value / ours if self.value and ours else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A run, ours beside it, and what may go wrong."""

    config: TrainerConfig
    numbers: tuple[Checked, ...]
    """In the order of dependence."""
    risks: tuple[str, ...]
    """What looks unstable or wasted, most important first."""
    cost: float | None
    """Share of the loss that lr and batch together cost; None where it is not known."""
    ours: Prepared
    """The plan at the run's batch; with a decay where the run has none."""
    cautions: tuple[str, ...]
    """What the plan without the run's numbers warns of."""

    @property
    def verdict(self) -> str:
        """One line: sound, or what is off."""
        off = [number for number in self.numbers if number.verdict == OFF]
        parts = [said_of(number) for number in off]
        if self.risks:
            parts.append(f"{len(self.risks)} warning{'s' if len(self.risks) > 1 else ''}")
        cost = cost_of(self.cost)
        if not parts:
            unknown = [number.name for number in self.numbers if number.verdict == UNKNOWN]
            but = f" (no interval is known for {', '.join(unknown)})" if unknown else ""
            return f"sound{but}; {cost}"
        return f"{'off' if off else 'sound, with warnings'}: {'; '.join(parts)}; {cost}"


def cost_of(cost: float | None) -> str:
    """What lr and batch cost together, in words."""
    if cost is None:
        return "what lr and batch cost is not known this far from the measured surface"
    if cost < NEGLIGIBLE:
        return "lr and batch cost less than 0.05% of the loss"
    return f"lr and batch cost about {100 * cost:.2g}% of the loss"


def said_of(number: Checked) -> str:
    """`lr 5.2 times below ours`."""
    name, factor = number.name.replace("_tokens", "").replace("_", " "), number.factor
    if factor is None:
        return f"{name} {number.value:g}"
    times = max(factor, 1 / factor)
    return f"{name} {times:.2g} times {'above' if factor > 1 else 'below'} ours"


def check_run(
    config: TrainerConfig, *, anchors: tuple[Anchor, ...] = (), law_files: tuple[Path, ...] = ()
) -> Check:
    """A run beside what we would recommend for its model and tokens.

    Args:
        config: as its trainer has it.
        anchors: models tuned in the same setup, which fix the level of the laws.
        law_files: law files of the user's own, which come before the defaults.

    Raises:
        InputError: laws or anchors that say nothing of the target.
    """
    own = config.run
    batch = float(own.batch_tokens)
    free, at_batch, at_both = (
        plan_of(
            config,
            pins,
            anchors=anchors,
            law_files=law_files,
            schedule=None if own.schedule.decay_shape else "wsd",
        )
        for pins in (
            Pins(),
            Pins(batch_tokens=batch),
            Pins(batch_tokens=batch, lr=own.lr),
        )
    )
    ours_at_batch = price(free, at_batch.plan.lr.value, batch)
    whole = price(free, own.lr, batch)
    of_lr = None if whole is None or ours_at_batch is None else max(whole - ours_at_batch, 0.0)
    numbers = (
        compare("batch_tokens", batch, [free], cost=ours_at_batch),
        compare("lr", own.lr, [at_batch], cost=of_lr),
        compare("weight_decay", own.weight_decay, [at_both, at_batch], cost=None),
    )
    return Check(
        config=config,
        numbers=numbers,
        risks=find_risks(config, at_batch),
        cost=whole,
        ours=at_batch,
        cautions=free.plan.warnings,
    )


def compare(name: str, value: float, plans: list[Prepared], *, cost: float | None) -> Checked:
    """A number beside that of the first of the plans by which it looks best."""
    ours: list[Value] = [getattr(found.plan, name) for found in plans]
    best = min(ours, key=lambda recommended: VERDICTS.index(judge(value, recommended)))
    return Checked(name=name, value=value, recommended=best, verdict=judge(value, best), cost=cost)


def price(free: Prepared, lr: float, batch_tokens: float) -> float | None:
    """Share of the loss that an lr and a batch cost by the measured surface.

    None where no surface reaches the target or the batch lies beyond what was measured.
    """
    lie = lie_of(free.numbers, free.choices, free.target)
    if lie is None:
        return None
    lr, found = lr / lie.factor, lie.landscape
    reach = math.log(BATCH_REACH)
    if abs(math.log(batch_tokens / found.batch_tokens)) > reach:
        return None
    return found.cost(lr=lr, batch_tokens=batch_tokens)


def judge(value: float, recommended: Value) -> str:
    """The verdict on a number by the two intervals of ours."""
    low, high, elsewhere = recommended.low, recommended.high, recommended.elsewhere
    if low is not None and high is not None and low <= value <= high:
        return AS_RECOMMENDED
    if elsewhere is not None:
        return PLAUSIBLE if inside(value, elsewhere) else OFF
    return UNKNOWN if low is None or high is None else OFF


def inside(value: float, bounds: Bounds) -> bool:
    """Whether a value lies in an interval."""
    return bounds.low <= value <= bounds.high
