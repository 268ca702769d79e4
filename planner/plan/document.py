"""The plan: one frozen object of what was asked, the run, its numbers and what stands behind them.

`planner.plan.file` writes and reads its JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from planner.recommendation.value import Numbers, Value
from planner.recommendation.witnesses import Alternative, Nearby, Witnesses
from proxies.run.experts import ExpertCounts, count_experts

if TYPE_CHECKING:
    from fitting.laws.plateau import Plateau
    from planner.compute.planned import PlannedCompute
    from planner.facts.anchor import Anchor
    from planner.recommendation.data_part import DataPart
    from planner.recommendation.value import ErrorCost
    from planner.request.budget import BudgetPart
    from planner.request.growth import BatchGrowthPart
    from planner.request.request import Request
    from planner.request.target import Target
    from proxies.run.groups import ParamGroup
    from proxies.run.parametrization import Optimizer, Parametrization
    from proxies.run.schedule import Schedule
    from proxies.run.shape import Shape
    from proxies.run.spec import RunSpec

SCHEMA = 1
"""Version of the JSON; a change of meaning raises it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSurface:
    """The surface that priced a plan, and how it was placed."""

    law: str
    """Name of the law that it is from."""
    sha256: str
    """Of that law's file."""
    lr_shift: float
    """The surface's lr over the plan's."""
    batch_shift: float
    """The surface's batch over the plan's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What made the plan."""

    version: str
    command: str
    laws: dict[str, str]
    """sha256 of every law file that a number came from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A complete plan for one pretraining run."""

    request: Request | None
    """What was asked; None in a plan of before plans kept it."""
    target: Target
    """The size that the laws were asked of."""
    run: RunSpec
    """What is to be trained."""
    numbers: Numbers
    surface: KeptSurface | None
    """None where none reaches, and in a plan of before plans kept it."""
    compute: PlannedCompute | None
    """None without accelerators."""
    witnesses: Witnesses
    provenance: Provenance
    warnings: tuple[str, ...]
    """Most important first."""
    anchors: tuple[Anchor, ...] = ()
    """Tuned models that fixed the level of the laws; empty where they stand as published."""
    data: DataPart | None = None
    """None where the data were not limited."""
    batch_growth: BatchGrowthPart | None = None
    """None where the batch is fixed."""
    budget: BudgetPart | None = None
    """What the target was chosen by; None where it was given."""

    @property
    def lr(self) -> Value:
        """Peak lr: the base one under muP and CompleteP."""
        return self.numbers.lr

    @property
    def batch_tokens(self) -> Value:
        """The batch in tokens."""
        return self.numbers.batch_tokens

    @property
    def weight_decay(self) -> Value:
        """Coupled to the lr, as in torch; the base value under muP and CompleteP."""
        return self.numbers.weight_decay

    @property
    def loss(self) -> Value:
        """Nats per token at the end."""
        return self.numbers.loss

    @property
    def plateau(self) -> Plateau | None:
        """What costs at most 0.1% of the loss."""
        return self.numbers.plateau

    @property
    def error_cost(self) -> ErrorCost | None:
        """What being wrong by a factor of two costs."""
        return self.numbers.error_cost

    @property
    def alternatives(self) -> tuple[Alternative, ...]:
        """What other laws say."""
        return self.witnesses.alternatives

    @property
    def nearest(self) -> tuple[Nearby, ...]:
        """Published runs near the target."""
        return self.witnesses.nearest

    @property
    def shape(self) -> Shape:
        """The model's."""
        return self.run.shape

    @property
    def schedule(self) -> Schedule:
        """The lr against steps."""
        return self.run.schedule

    @property
    def steps(self) -> int:
        """Steps of the planned batch."""
        return self.run.schedule.steps

    @property
    def warmup_steps(self) -> int:
        """Of the schedule."""
        return self.run.schedule.warmup_steps

    @property
    def batch_sequences(self) -> int:
        """Sequences of a step."""
        return self.run.batch_sequences

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer and its constants."""
        return self.run.optimizer

    @property
    def parametrization(self) -> Parametrization:
        """The rule of width and depth at the model."""
        return self.run.parametrization

    @property
    def param_groups(self) -> tuple[ParamGroup, ...]:
        """Absolute lr, weight decay, eps and init of each parameter group."""
        return self.run.groups

    @property
    def experts(self) -> ExpertCounts | None:
        """The sparse model; None for a dense one, whose shape is all of it."""
        run = self.run
        return None if run.experts is None else count_experts(run.shape, run.experts)
