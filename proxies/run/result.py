"""What came of a run: its updates, its held-out loss, its row in a runs table."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from proxies.run.batching import count_tokens
from proxies.run.shape import count_params

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxies.run.spec import RunSpec

Status = Literal["finished", "diverged", "pruned", "failed"]


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


def runs_row(result: RunResult) -> dict[str, float | str]:
    """The run's row of a runs table, with its corpus and batch trajectory as further columns.

    `tokens` are the spec's, so that a run that diverged stands in the cell it was meant for;
    `tokens_seen` are those that it got to. `batch_tokens` of a batch that changes is the mean over
    updates; `batch_trajectory` has each change as TOKENS_SEEN:BATCH_TOKENS. Unknown numbers are
    NaN.
    """
    spec, curve = result.spec, result.curve
    count, rule = count_params(spec.shape), spec.parametrization
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
        "parametrization": rule.name,
        "base_d_model": float(rule.base_d_model),
        "base_n_layers": float(rule.base_n_layers),
        "base_head_dim": float(rule.base_head_dim),
        "init_std": spec.init_std,
        "head_init_std": math.nan if spec.head_init_std is None else spec.head_init_std,
        "embedding_multiplier": rule.embedding_multiplier,
        "d_model": float(spec.shape.d_model),
        "n_layers": float(spec.shape.n_layers),
        "d_ff": float(spec.shape.d_ff),
        "vocab_size": float(spec.shape.vocab_size),
        "seq_len": float(spec.seq_len),
        "flops": 6.0 * count.params * spec.total_tokens,
        "unique_tokens": float(result.unique_tokens),
        "total_params": float(count.total_params),
        "seed": float(spec.options.seed),
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
