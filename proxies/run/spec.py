"""What one training run is, from a proxy of a second to a target of months.

A trainer's file says a run, a plan recommends one, `proxies.train` makes one. Nothing here imports
torch or anything else of the packages.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from fitting.errors import InputError
from proxies.run.batching import Batching, GrowthStage, count_sequences, count_steps
from proxies.run.experts import Experts, count_experts
from proxies.run.groups import DEFAULT_INIT_STD, ParamGroup, param_groups, with_head_init
from proxies.run.layout import Layout
from proxies.run.options import TrainOptions, check_options
from proxies.run.parametrization import Optimizer, Parametrization, make_parametrization
from proxies.run.schedule import Schedule
from proxies.run.shape import ParamCount, Shape, check_shape, count_params, flops_per_token


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """Everything that the losses of a run depend on, but for its corpus and machine."""

    shape: Shape
    """Of a sparse model the dense one that a token sees, see `experts`."""
    seq_len: int
    """Tokens of a training sequence, at least 1."""
    parametrization: Parametrization
    optimizer: Optimizer
    lr: float
    """Base peak lr, > 0: that of a group whose multiplier is 1."""
    weight_decay: float
    """Base weight decay, coupled to the lr as in torch's AdamW, >= 0."""
    schedule: Schedule
    """Over updates; its steps are those of the run, or any number for an adaptive batch. Under
    `growth` they stay those of the planned batch: an update's place is the tokens seen over it."""
    batching: Batching
    tokens: int
    """To train on, at least 1; rounded up to whole sequences."""
    growth: tuple[GrowthStage, ...] = ()
    """Stages of a batch that grows as planned, which trainers are told; empty for none."""
    experts: Experts | None = None
    """None for a dense model."""
    own_groups: tuple[ParamGroup, ...] | None = None
    """Parameter groups that somebody edited; None for those that the values here give."""
    decay_rule: str = "coupled"
    """A key of `groups.DECAY_RULES`: how weight decay follows width."""
    init_std: float = DEFAULT_INIT_STD
    """Base standard deviation of the initial weights, > 0."""
    head_init_std: float | None = None
    """That of an output head which is not the embedding, > 0; None for `init_std`."""
    z_loss: float = 0.0
    """Weight of the mean squared log partition in the training loss, >= 0."""
    layout: Layout = field(default_factory=Layout)
    """One sequence at a time on one device where none was planned."""
    options: TrainOptions = field(default_factory=TrainOptions)
    """How `proxies.train` makes it; a plan and a trainer's file say nothing of these."""

    @property
    def batch_sequences(self) -> int:
        """Sequences of an update: of every one, of the planned one, or of the first."""
        return self.batching.sequences

    @property
    def batch_tokens(self) -> int:
        """The same in tokens."""
        return self.batching.sequences * self.seq_len

    @property
    def accumulation(self) -> int:
        """Micro-batches of a device that make one update."""
        return self.layout.accumulation(self.batching.sequences)

    @property
    def total_sequences(self) -> int:
        """Sequences that the run trains on."""
        return count_sequences(self.tokens, seq_len=self.seq_len)

    @property
    def total_tokens(self) -> int:
        """Tokens that the run trains on, those of whole sequences."""
        return self.total_sequences * self.seq_len

    @property
    def micro_sequences(self) -> int | None:
        """Sequences of a micro-batch here; None for the whole batch."""
        if self.options.micro_batch_sequences is None and self.batching.adaptive:
            return max(1, self.batching.sequences // 2)
        return self.options.micro_batch_sequences

    @property
    def active(self) -> ParamCount:
        """Parameters that a token sees, routers left out."""
        return count_params(self.shape)

    @property
    def counts(self) -> ParamCount:
        """Parameters that are held: every expert, though a token sees few of them."""
        if self.experts is None:
            return count_params(self.shape)
        part = count_experts(self.shape, self.experts)
        return ParamCount(params=part.params, total_params=part.total_params)

    @property
    def flops_per_token(self) -> float:
        """Of training, forward and backward, for time and utilisation only."""
        return flops_per_token(self.shape, seq_len=self.seq_len)

    @property
    def groups(self) -> tuple[ParamGroup, ...]:
        """Absolute optimizer settings of every parameter group.

        Raises:
            InputError: lr, weight decay or init out of range, or an init for a tied head.
        """
        return self.rule_groups if self.own_groups is None else self.own_groups

    @property
    def rule_groups(self) -> tuple[ParamGroup, ...]:
        """The groups that lr, weight decay, init and parametrization give.

        Raises:
            InputError: as `groups`.
        """
        groups = param_groups(
            self.parametrization,
            optimizer=self.optimizer,
            lr=self.lr,
            weight_decay=self.weight_decay,
            init_std=self.init_std,
            decay_rule=self.decay_rule,
            tied_embeddings=self.shape.tied_embeddings,
        )
        if self.head_init_std is not None:
            groups = with_head_init(groups, init_std=self.head_init_std)
        return tuple(groups)

    def group_named(self, name: str) -> ParamGroup:
        """A parameter group by its name; a tied head's is the embedding's."""
        found = {group.name: group for group in self.groups}
        return found["embedding"] if name == "head" and name not in found else found[name]


def make_run(  # noqa: PLR0913  # fields of a run, all by name
    *,
    shape: Shape,
    seq_len: int,
    batch_sequences: int,
    schedule: Schedule,
    optimizer: Optimizer,
    lr: float,
    weight_decay: float,
    parametrization: Parametrization | None = None,
    layout: Layout | None = None,
    growth: tuple[GrowthStage, ...] = (),
    experts: Experts | None = None,
    groups: tuple[ParamGroup, ...] | None = None,
    init_std: float = DEFAULT_INIT_STD,
    z_loss: float = 0.0,
) -> RunSpec:
    """The run of whole steps of one batch: as a trainer's file and a plan say it.

    Args:
        shape: the model.
        seq_len: tokens of a sequence.
        batch_sequences: sequences of a step, the planned one's where the batch grows.
        schedule: with the number of steps.
        optimizer: with its constants.
        lr: base peak lr.
        weight_decay: base weight decay.
        parametrization: None for SP.
        layout: None for one sequence at a time on one device.
        growth: stages of a growing batch.
        experts: of a sparse model.
        groups: as they were found; None for those that the other values give.
        init_std: base std of the initial weights.
        z_loss: weight of the squared log partition.

    Raises:
        InputError: a batch that is none, or values that no parameter group can have.
    """
    run = RunSpec(
        shape=shape,
        seq_len=seq_len,
        parametrization=plain_rule(shape) if parametrization is None else parametrization,
        optimizer=optimizer,
        lr=lr,
        weight_decay=weight_decay,
        schedule=schedule,
        batching=Batching(sequences=batch_sequences),
        tokens=schedule.steps * batch_sequences * seq_len,
        growth=growth,
        experts=experts,
        own_groups=groups,
        init_std=init_std,
        z_loss=z_loss,
        layout=layout or Layout(),
    )
    return with_rule_groups(run) if groups == run.rule_groups else run


def with_rule_groups(run: RunSpec, **changes: object) -> RunSpec:
    """The same run with what is given, and the groups that its values then give."""
    return replace(run, own_groups=None, **changes)  # type: ignore[arg-type]  # fields by name


def base_std(groups: tuple[ParamGroup, ...]) -> float:
    """The init that no multiplier changes: that of the embedding."""
    found = next((group.init_std for group in groups if group.name == "embedding"), None)
    return DEFAULT_INIT_STD if found is None else found


def plain_rule(shape: Shape) -> Parametrization:
    """SP: one lr, one weight decay, no multipliers."""
    return make_parametrization(
        "sp", d_model=shape.d_model, n_layers=shape.n_layers, head_dim=shape.head_dim
    )


def check_spec(spec: RunSpec) -> None:
    """Refuse a run that `proxies.train` cannot make.

    Raises:
        InputError: a value out of range, a schedule of other steps than the batch gives, gradient
            noise from a single micro-batch, or what only a trainer's own run can have.
    """
    check_shape(spec.shape)
    check_options(spec.options)
    for name, value in (("seq_len", spec.seq_len), ("tokens", spec.tokens)):
        if value < 1:
            raise InputError(f"run: {name} {value}; at least 1")
    clip = spec.optimizer.grad_clip
    if clip is not None and not 0 < clip < math.inf:
        raise InputError(f"run: grad_clip {clip}; a number above 0, or none")
    if not 0 <= spec.z_loss < math.inf:
        raise InputError(f"run: z_loss {spec.z_loss}; a number of 0 or more")
    for name, there in (
        ("experts", spec.experts is not None),
        ("stages of a growing batch", bool(spec.growth)),
        ("edited parameter groups", spec.own_groups is not None),
    ):
        if there:
            raise InputError(f"run: {name}; proxies are trained without")
    _check_steps(spec)
    _check_noise(spec)
    _ = spec.groups


def _check_steps(spec: RunSpec) -> None:
    """Refuse a batch above the run, and a schedule of other steps than a batch known ahead."""
    if spec.batching.sequences > spec.total_sequences:
        raise InputError(
            f"run: batch of {spec.batching.sequences} sequences, but {spec.tokens} tokens are "
            f"{spec.total_sequences} of {spec.seq_len}; take a smaller batch or more tokens"
        )
    if spec.batching.adaptive:
        return
    steps = count_steps(spec.batching, tokens=spec.tokens, seq_len=spec.seq_len)
    if spec.schedule.steps != steps:
        raise InputError(
            f"run: schedule of {spec.schedule.steps} steps, but {spec.tokens} tokens in batches "
            f"of {spec.batching.sequences} x {spec.seq_len} are {steps} ({spec.batching.kind})"
        )


def _check_noise(spec: RunSpec) -> None:
    """Refuse to measure noise where the smallest batch is one micro-batch."""
    if spec.options.noise_interval is None and not spec.batching.adaptive:
        return
    micro, first = spec.micro_sequences, spec.batching.sequences
    if micro is None or micro >= first:
        raise InputError(
            f"run: gradient noise from one micro-batch of {first} sequences; "
            "give micro_batch_sequences of at most half the batch"
        )
    if spec.batching.preconditioned and spec.optimizer.name != "adamw":
        raise InputError(
            f"run: batching adadagrad with {spec.optimizer.name}, which has no second moment of "
            "every weight; use norm-test or adamw"
        )
