"""What one training run is, and what came of it: the spec, the result, its row in a runs table.

Nothing here imports torch: a sweep plans runs and reads results without it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fitting.errors import InputError
from proxies.run.batching import Batching, count_sequences, count_steps, count_tokens
from proxies.run.groups import DEFAULT_INIT_STD, ParamGroup, param_groups
from proxies.run.parametrization import Optimizer, Parametrization
from proxies.run.shape import Shape, check_shape, count_params

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxies.run.schedule import Schedule

DTYPES = ("float32", "bfloat16")
"""Types that matrix products may be computed in; weights and optimizer are float32."""

LARGEST_SEED = 2**63
"""Seeds are below it: more than that torch does not take."""

Status = Literal["finished", "diverged", "pruned", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """Everything that the losses of a run depend on, but for its corpus and machine."""

    shape: Shape
    seq_len: int
    """Tokens of a training sequence, at least 1."""
    parametrization: Parametrization
    optimizer: Optimizer
    lr: float
    """Base peak lr, > 0."""
    weight_decay: float
    """Base weight decay, >= 0."""
    schedule: Schedule
    """Over updates; its steps are those of the run, or any number for an adaptive batch."""
    batching: Batching
    tokens: int
    """To train on, at least 1; rounded up to whole sequences."""
    decay_rule: str = "coupled"
    """A key of `groups.DECAY_RULES`: how weight decay follows width."""
    init_std: float = DEFAULT_INIT_STD
    """Base standard deviation of the initial weights, > 0."""
    grad_clip: float | None = 1.0
    """Largest norm of the whole gradient, > 0; None for no limit."""
    z_loss: float = 0.0
    """Weight of the mean squared log partition in the training loss, >= 0."""
    seed: int = 0
    """Of the initial weights, and of the data order unless that has its own."""
    order_seed: int | None = None
    """Of the data order; None for `seed`."""
    epochs: int = 1
    """How often a token may be trained on, at least 1."""
    micro_batch_sequences: int | None = None
    """Sequences of one forward and backward pass; None for the whole of a fixed or ramped batch,
    half of the first of an adaptive one."""
    noise_interval: int | None = None
    """Updates between measurements of the gradient's noise; None for never, and each update of
    an adaptive batch. It needs two micro-batches or more."""
    eval_sequences: int = 256
    """Held-out sequences that the final loss is the mean of, at least 2."""
    dtype: str = "float32"
    """One of `DTYPES`."""
    compile: bool = False
    """Whether the model goes through torch.compile."""

    @property
    def total_sequences(self) -> int:
        """Sequences that the run trains on."""
        return count_sequences(self.tokens, seq_len=self.seq_len)

    @property
    def total_tokens(self) -> int:
        """Tokens that the run trains on, those of whole sequences."""
        return self.total_sequences * self.seq_len

    @property
    def data_seed(self) -> int:
        """Seed of the data order."""
        return self.seed if self.order_seed is None else self.order_seed

    @property
    def micro_sequences(self) -> int | None:
        """Sequences of a micro-batch; None for the whole batch."""
        if self.micro_batch_sequences is None and self.batching.adaptive:
            return max(1, self.batching.sequences // 2)
        return self.micro_batch_sequences

    def make_groups(self) -> list[ParamGroup]:
        """Absolute optimizer settings of every parameter group.

        Raises:
            InputError: lr, weight decay or init out of range.
        """
        return param_groups(
            self.parametrization,
            optimizer=self.optimizer,
            lr=self.lr,
            weight_decay=self.weight_decay,
            init_std=self.init_std,
            decay_rule=self.decay_rule,
            tied_embeddings=self.shape.tied_embeddings,
        )


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One update of a run."""

    step: int
    """Update k = 1..S."""
    tokens: int
    """Seen when it is done."""
    lr: float
    """Base lr that it was made with."""
    batch_tokens: int
    loss: float
    """Mean over its batch before the update, z-loss included, nats per token."""
    grad_norm: float
    """Norm of the whole gradient before clipping."""
    noise_scale_tokens: float | None = None
    """Smoothed gradient noise scale; None where it is not measured or not above 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What a run came to."""

    spec: RunSpec
    status: Status
    tokens: int
    """Trained on, repeats included."""
    unique_tokens: int
    """Distinct ones of them."""
    loss: float
    """Mean held-out loss, nats per token; NaN where the run diverged."""
    loss_se: float
    """Standard error of `loss` from the spread of the held-out sequences; NaN likewise."""
    bits_per_byte: float | None
    """`loss` by byte of held-out text; None for a corpus that is no text."""
    curve: tuple[CurvePoint, ...]
    """Every update, in order; the one that diverged is the last."""
    probes: Mapping[str, float]
    """Probe columns of the runs table, by name."""
    seconds: float
    """Wall time of training, evaluation and checkpoints left out."""
    corpus: str
    corpus_fingerprint: str


def check_spec(spec: RunSpec) -> None:
    """Refuse a run that cannot be made.

    Raises:
        InputError: a value out of range, a schedule of other steps than the batch gives, or
            gradient noise from a single micro-batch.
    """
    check_shape(spec.shape)
    for name, value, least in (
        ("seq_len", spec.seq_len, 1),
        ("tokens", spec.tokens, 1),
        ("epochs", spec.epochs, 1),
        ("eval_sequences", spec.eval_sequences, 2),
        ("micro_batch_sequences", spec.micro_batch_sequences or 1, 1),
        ("noise_interval", spec.noise_interval or 1, 1),
    ):
        if value < least:
            raise InputError(f"run: {name} {value}; at least {least}")
    for name, seed in (("seed", spec.seed), ("order_seed", spec.data_seed)):
        if not 0 <= seed < LARGEST_SEED:
            raise InputError(f"run: {name} {seed}; from 0 to 2^63 - 1")
    if spec.grad_clip is not None and not 0 < spec.grad_clip < math.inf:
        raise InputError(f"run: grad_clip {spec.grad_clip}; a number above 0, or none")
    if not 0 <= spec.z_loss < math.inf:
        raise InputError(f"run: z_loss {spec.z_loss}; a number of 0 or more")
    if spec.dtype not in DTYPES:
        raise InputError(f"run: dtype '{spec.dtype}'; one of {', '.join(DTYPES)}")
    _check_steps(spec)
    _check_noise(spec)
    spec.make_groups()


def runs_row(result: RunResult) -> dict[str, float | str]:
    """The run's row of a runs table, with its corpus and batch trajectory as further columns.

    `tokens` are the spec's, so that a run that diverged stands in the cell it was meant for;
    `tokens_seen` are those that it got to. `batch_tokens` of a batch that changes is the mean over
    updates; `batch_trajectory` has each change as TOKENS_SEEN:BATCH_TOKENS. Unknown numbers are
    NaN.
    """
    spec, curve = result.spec, result.curve
    count = count_params(spec.shape)
    row: dict[str, float | str] = {
        "params": float(count.params),
        "tokens": float(spec.total_tokens),
        "loss": result.loss,
        "lr": spec.lr,
        "batch_tokens": _mean_batch(result),
        "weight_decay": spec.weight_decay,
        "warmup_tokens": float(_warmup_tokens(spec)),
        "schedule": spec.schedule.kind,
        "optimizer": spec.optimizer.name,
        "beta1": spec.optimizer.beta1,
        "beta2": spec.optimizer.beta2,
        "parametrization": spec.parametrization.name,
        "base_d_model": float(spec.parametrization.base_d_model),
        "d_model": float(spec.shape.d_model),
        "n_layers": float(spec.shape.n_layers),
        "d_ff": float(spec.shape.d_ff),
        "vocab_size": float(spec.shape.vocab_size),
        "seq_len": float(spec.seq_len),
        "flops": 6.0 * count.params * spec.total_tokens,
        "unique_tokens": float(result.unique_tokens),
        "total_params": float(count.total_params),
        "seed": float(spec.seed),
        "loss_se": result.loss_se,
        "status": result.status,
        # With z-loss the first training loss is more than the model's.
        "loss_at_init": curve[0].loss if curve and not spec.z_loss else math.nan,
    }
    scales = [point.noise_scale_tokens for point in curve if point.noise_scale_tokens is not None]
    if scales:
        row["noise_scale_tokens"] = scales[-1]
    return (
        row
        | dict(result.probes)
        | {
            "bits_per_byte": math.nan if result.bits_per_byte is None else result.bits_per_byte,
            "tokens_seen": float(result.tokens),
            "batching": spec.batching.kind,
            "batch_trajectory": batch_trajectory(result),
            "seconds": result.seconds,
            "corpus": result.corpus,
            "corpus_fingerprint": result.corpus_fingerprint,
        }
    )


def batch_trajectory(result: RunResult) -> str:
    """Where the batch changed: TOKENS_SEEN:BATCH_TOKENS, joined by blanks."""
    changes, before = [], None
    for point in result.curve:
        if point.batch_tokens != before:
            changes.append(f"{point.tokens - point.batch_tokens}:{point.batch_tokens}")
            before = point.batch_tokens
    return " ".join(changes)


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
    if spec.noise_interval is None and not spec.batching.adaptive:
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


def _mean_batch(result: RunResult) -> float:
    """The batch of a fixed run, and the mean of one that changes, in tokens."""
    spec = result.spec
    if spec.batching.kind == "fixed" or not result.curve:
        return float(spec.batching.sequences * spec.seq_len)
    return result.tokens / len(result.curve)


def _warmup_tokens(spec: RunSpec) -> float:
    """Tokens of the warmup; with an adaptive batch the warmup's share of them."""
    warmup = spec.schedule.warmup_steps
    if spec.batching.adaptive:
        return warmup / spec.schedule.steps * spec.total_tokens
    return count_tokens(spec.batching, steps=warmup, seq_len=spec.seq_len)
