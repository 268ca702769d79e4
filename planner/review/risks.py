"""What looks unstable or wasted in a run, in words: what, how much, what to do.

Each check is one function that returns its sentences; their order is that of weight.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fitting.units import format_count, format_small
from planner.plan.warnings.cautions import MOST_STEPS_TO_TRUST, above_critical_batch
from proxies.run.schedule import default_warmup_steps

if TYPE_CHECKING:
    from collections.abc import Callable

    from planner.plan.draft import Draft
    from planner.trainers.import_config import TrainerConfig

CLIFF = 3.0
"""lr over ours from which runs of Step Law's sweep diverged, where the law says no other."""

NEAR = 1.5
"""Factor below the cliff from which it is said; a plan's own warning has the same."""

USUAL_BETA2 = (0.9, 0.99)
"""beta2 that is not remarked on; assumed: nearly all recipes use 0.95, torch's default is 0.999."""

SHORTEST_WARMUP = 100
"""Steps below which a warmup may be short; assumed: nearly all recipes have at least 100."""

LOOSEST_CLIP = 10.0
"""Global norm above which a clip is none; assumed: recipes use 0.2 to 1."""

LARGEST_EPS = 1e-7
"""Adam's eps beside which gradients of a large model are no longer large; assumed."""

HIGHEST_FINAL = 0.5
"""Final over peak lr above which a decay is not one; assumed: recipes end at 0 to 0.1."""


def find_risks(config: TrainerConfig, ours: Draft) -> tuple[str, ...]:
    """All that looks unstable or wasted, most important first.

    Args:
        config: the run as its trainer has it.
        ours: the plan at the run's batch.
    """
    return tuple(sentence for check in CHECKS for sentence in check(config, ours))


def lr_near_the_cliff(config: TrainerConfig, ours: Draft) -> list[str]:
    """An lr so far above ours that runs of a sweep diverged there."""
    recommended = ours.numbers.lr.value
    law = ours.derivation.laws["lr"].quantities["lr"]
    ratio = config.run.lr / recommended
    cliff = law.cliff or CLIFF
    if ratio < cliff / NEAR:
        return []
    return [
        f"lr {format_small(config.run.lr)} is {ratio:.2g} times ours at this batch: sweeps "
        f"diverged from {cliff:.2g} times the best on; lower it to {format_small(recommended)}"
    ]


def warmup_missing(config: TrainerConfig, _ours: Draft) -> list[str]:
    """No warmup, one too short to count, or one that takes most of the run."""
    schedule = config.run.schedule
    warmup, steps = schedule.warmup_steps, schedule.steps
    ours = default_warmup_steps(steps)
    if warmup <= 1 < ours:
        return [f"no warmup: the first step is at the peak lr; give it {ours:,} steps"]
    if warmup < min(ours / 4, SHORTEST_WARMUP):
        return [f"a warmup of {warmup:,} steps is short for {steps:,}; ours has {ours:,}"]
    if warmup > steps / 4:
        return [
            f"the warmup takes {100 * warmup / steps:.0f}% of the run ({warmup:,} of {steps:,} "
            f"steps); ours has {ours:,}"
        ]
    return []


def clip_missing(config: TrainerConfig, _ours: Draft) -> list[str]:
    """Gradients that are not clipped."""
    clip = config.run.optimizer.grad_clip
    if clip is not None and 0 < clip <= LOOSEST_CLIP:
        return []
    norm = "none" if clip is None else f"norm {clip:g}"
    return [f"gradients are not clipped ({norm}): one bad batch can end the run; clip at 1"]


def beta2_unusual(config: TrainerConfig, _ours: Draft) -> list[str]:
    """A second moment that forgets too slowly for a spike, or too fast to be one."""
    part = config.run.optimizer
    if part.name != "adamw" or USUAL_BETA2[0] <= part.beta2 <= USUAL_BETA2[1]:
        return []
    steps = round(1 / (1 - part.beta2)) if part.beta2 < 1 else math.inf
    return [
        f"beta2 {part.beta2:g} averages squared gradients over {steps:,} steps: large models spike "
        "with it at large batches; published runs use 0.95"
    ]


def eps_large(config: TrainerConfig, _ours: Draft) -> list[str]:
    """An eps that damps the update of small gradients."""
    part = config.run.optimizer
    if part.name != "adamw" or part.eps is None or part.eps <= LARGEST_EPS:
        return []
    return [
        f"eps {part.eps:g} is near the size of a large model's gradients and damps its updates; "
        "published runs use 1e-8"
    ]


def schedule_faults(config: TrainerConfig, _ours: Draft) -> list[str]:
    """A schedule that does not end with the run."""
    return list(config.faults)


def decay_unfinished(config: TrainerConfig, _ours: Draft) -> list[str]:
    """A schedule that does not come down."""
    schedule = config.run.schedule
    if schedule.final_lr_fraction <= HIGHEST_FINAL:
        return []
    return [
        f"the lr ends at {100 * schedule.final_lr_fraction:.0f}% of its peak: the last part of the "
        "loss comes from the decay; end at 0 to 10%"
    ]


def batch_above_critical(_config: TrainerConfig, ours: Draft) -> list[str]:
    """A batch beyond the critical one wastes tokens."""
    return above_critical_batch(ours)


def few_steps(config: TrainerConfig, _ours: Draft) -> list[str]:
    """A run too short to be planned."""
    steps = config.run.schedule.steps
    if steps >= MOST_STEPS_TO_TRUST:
        return []
    return [f"{steps:,} steps in all: fewer than any sweep behind these laws ran"]


def few_tokens(config: TrainerConfig, _ours: Draft) -> list[str]:
    """A model that sees far fewer tokens than it could use."""
    run = config.run
    tokens, params = run.total_tokens, run.active.params
    if tokens >= params:
        return []
    return [
        f"{format_count(tokens)} tokens for {format_count(params)} params is "
        f"{tokens / params:.2g} a param; compute-optimal is about 20: a smaller model "
        "would be better"
    ]


CHECKS: tuple[Callable[[TrainerConfig, Draft], list[str]], ...] = (
    schedule_faults,
    lr_near_the_cliff,
    warmup_missing,
    clip_missing,
    beta2_unusual,
    eps_large,
    decay_unfinished,
    batch_above_critical,
    few_steps,
    few_tokens,
)
"""Every check, most important first."""
