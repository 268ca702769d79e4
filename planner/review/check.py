"""A run beside what we would recommend for it: which values are off, and what each costs.

Batch first, then the lr at that batch, then the weight decay at both: each number is compared
with the plan that has the run's numbers before it, and ours is the one that `plan` gives at those
pins. So an lr that is right for a batch is not called wrong because the batch is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from planner.facts.laws import read_lawbook
from planner.plan.configs import request_of_config
from planner.plan.draft import Draft, draft_plan
from planner.plan.warnings.cautions import collect_cautions
from planner.recommendation.place import Tuning
from planner.request.choices import Pins
from planner.request.request import kept_laws
from planner.review.risks import find_risks
from proxies.run.defaults import SCHEDULE

if TYPE_CHECKING:
    from pathlib import Path

    from fitting.laws.plateau import Span
    from planner.facts.anchor import Anchor
    from planner.recommendation.value import Numbers, Value
    from planner.trainers.import_config import TrainerConfig

AS_RECOMMENDED, PLAUSIBLE, UNKNOWN, OFF = "as recommended", "plausible", "not known", "off"
"""Verdicts: in the interval, in that of a setup nobody measured, no interval, outside both."""


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
    ours: Draft
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
    run = config.run
    batch, book = float(run.batch_tokens), read_lawbook(law_files)
    laws = kept_laws(law_files, book)

    def ours(pins: Pins) -> Draft:
        request = request_of_config(config, pins, anchors=anchors, laws=laws)
        if run.schedule.decay_shape is None:
            # Ours has a decay, which we recommend.
            choices = replace(request.choices, schedule=SCHEDULE, checkpoint_tokens=())
            request = replace(request, choices=choices)
        return draft_plan(request, book)

    free, at_batch = ours(Pins()), ours(Pins(batch_tokens=batch))
    at_both = ours(Pins(batch_tokens=batch, lr=run.lr))
    ours_at_batch = price(free, at_batch.numbers.lr.value, batch)
    whole = price(free, run.lr, batch)
    of_lr = None if whole is None or ours_at_batch is None else max(whole - ours_at_batch, 0.0)
    numbers = (
        compare("batch_tokens", batch, free.numbers.batch_tokens, cost=ours_at_batch),
        compare("lr", run.lr, at_batch.numbers.lr, cost=of_lr),
        compare_decay(run.weight_decay, at_both.numbers, at_batch.numbers),
    )
    return Check(
        config=config,
        numbers=numbers,
        risks=find_risks(config, at_batch),
        cost=whole,
        ours=at_batch,
        cautions=collect_cautions(free),
    )


def compare(name: str, value: float, recommended: Value, *, cost: float | None) -> Checked:
    """A number beside ours."""
    return Checked(
        name=name,
        value=value,
        recommended=recommended,
        verdict=judge(value, recommended),
        cost=cost,
    )


def compare_decay(value: float, at_both: Numbers, at_batch: Numbers) -> Checked:
    """A weight decay beside ours; one that is right at our lr is not off because the lr is."""
    found = compare("weight_decay", value, at_both.weight_decay, cost=None)
    if found.verdict == OFF and judge(value, at_batch.weight_decay) != OFF:
        return replace(found, verdict=PLAUSIBLE)
    return found


def price(free: Draft, lr: float, batch_tokens: float) -> float | None:
    """Share of the loss that an lr and a batch cost by the surface of our free plan.

    None where no surface reaches the target or the batch lies beyond what was measured.
    """
    found = free.derivation
    if found.placed is None or free.numbers.plateau is None:
        return None
    if not found.placed.reaches(batch_tokens, about=found.recommended.batch_tokens):
        return None
    at = Tuning(lr / found.conversion.factor, batch_tokens)
    return found.placed.cost(at, over=found.recommended)


def judge(value: float, recommended: Value) -> str:
    """The verdict on a number by the two intervals of ours."""
    low, high, elsewhere = recommended.low, recommended.high, recommended.elsewhere
    if low is not None and high is not None and low <= value <= high:
        return AS_RECOMMENDED
    if elsewhere is not None:
        return PLAUSIBLE if inside(value, elsewhere) else OFF
    return UNKNOWN if low is None or high is None else OFF


def inside(value: float, bounds: Span) -> bool:
    """Whether a value lies in an interval."""
    return bounds.low <= value <= bounds.high
