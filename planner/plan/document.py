"""The plan: one frozen object, its JSON, read and written here only.

Keys of the JSON are the field names, in this order; they are a contract with users' scripts.
Counts are floats where they may exceed what trainers hold in integers, ints where they are steps
or sequences.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any

from fitting.errors import InputError
from planner.recommendation.data_part import DataPart
from planner.request.budget import BudgetPart
from planner.request.growth import BatchGrowthPart
from proxies.run.experts import ExpertCounts
from proxies.run.groups import ParamGroup
from proxies.run.parametrization import Optimizer

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = 1
"""Version of the JSON; a change of meaning raises it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """A range of one quantity."""

    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One recommended number with its 80% interval and its source."""

    value: float
    low: float | None
    """Lower end of the 80% interval; None where none is known."""
    high: float | None
    law: str
    """The law's name, `pinned`, or two sources joined by `+`."""
    weights: dict[str, float] | None = None
    """Weight of each source in log, where two are mixed."""
    elsewhere: Bounds | None = None
    """80% interval for a setup that nobody measured; None where it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetPart:
    """What is to be trained."""

    params: float
    tokens: float
    tokens_per_param: float
    flops: float
    seq_len: int
    vocab_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapePart:
    """The model's shape and its exact counts."""

    d_model: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    d_ff: int
    vocab_size: int
    tied_embeddings: bool
    params: int
    total_params: int
    flops_per_token: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPart:
    """What the model is made of, beside its shape."""

    mlp: str
    norm: str
    norm_eps: float
    biases: str
    positions: str
    rope_theta: float | None
    qk_norm: str
    z_loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointPart:
    """One budget of WSD-S: a decayed model, from which the next stable phase starts."""

    step: int
    decay_steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulePart:
    """The learning rate against step: warmup + stable + decay = steps."""

    kind: str
    warmup_steps: int
    stable_steps: int
    decay_steps: int
    decay_shape: str | None
    """None where nothing decays."""
    final_lr_fraction: float
    checkpoints: tuple[CheckpointPart, ...] = ()
    """Budgets of WSD-S; empty for the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlateauPart:
    """The range that costs at most 0.1% of the loss."""

    lr: Bounds
    batch_tokens: Bounds


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfDouble:
    """Share of the loss that half and twice a number cost, all else as planned."""

    half: float
    double: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorCostPart:
    """What being wrong by a factor of two costs, by the measured surface."""

    lr: HalfDouble
    batch_tokens: HalfDouble


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """What another law says of the same target; None where it is silent."""

    law: str
    lr: float | None
    batch_tokens: float | None
    weight_decay: float | None
    loss: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ParametrizationPart:
    """Base shape and forward multipliers."""

    name: str
    base_d_model: int | None
    base_n_layers: int | None
    base_head_dim: int | None
    embedding_multiplier: float
    attention_scale: float
    residual_multiplier: float
    logits_multiplier: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPart:
    """Bytes a GPU."""

    weights: float
    gradients: float
    optimizer: float
    activations: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputePart:
    """Time and memory on the given GPUs."""

    gpus: str
    micro_batch_sequences: int
    accumulation: int
    data_parallel: int
    mfu: float | None
    hours: float | None
    memory_bytes: MemoryPart
    hours_low: float | None = None
    """80% of published whole runs would take between low and high."""
    hours_high: float | None = None
    tokens_per_second: float | None = None
    """Of all GPUs together."""
    mfu_low: float | None = None
    """80% of published whole runs would have between low and high."""
    mfu_high: float | None = None
    uptime: float | None = None
    """Whole-run throughput over steady throughput."""
    gpu_hours: float | None = None
    """Of all GPUs, idle ones included."""
    energy_kwh: float | None = None
    """At the rated power: an upper bound."""
    cost: float | None = None
    """In the unit of the price; None without one."""
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    sharded: bool | None = None
    """Whether the state is divided over the data-parallel GPUs."""
    recompute: bool | None = None
    """Whether the backward pass recomputes each block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearby:
    """A published run near the target."""

    run: str
    params: float
    tokens: float
    lr: float
    batch_tokens: float | None
    """None where its source does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorPart:
    """A tuned model that fixed the level of the laws; None where it says nothing."""

    params: float
    tokens: float
    lr: float
    batch_tokens: float | None
    weight_decay: float | None
    loss: float | None
    parametrization: str | None
    """None for the plan's."""


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

    schema: int
    target: TargetPart
    shape: ShapePart
    model: ModelPart
    lr: Value
    batch_tokens: Value
    weight_decay: Value
    loss: Value
    batch_sequences: int
    steps: int
    warmup_steps: int
    optimizer: Optimizer
    schedule: SchedulePart
    plateau: PlateauPart | None
    """None where no surface reaches."""
    error_cost: ErrorCostPart | None
    """None where no surface reaches."""
    alternatives: tuple[Alternative, ...]
    parametrization: ParametrizationPart
    param_groups: tuple[ParamGroup, ...]
    """In absolute values."""
    compute: ComputePart | None
    nearest: tuple[Nearby, ...]
    data: DataPart | None
    provenance: Provenance
    warnings: tuple[str, ...]
    anchors: tuple[AnchorPart, ...] = ()
    """Empty where the laws stand as published."""
    batch_growth: BatchGrowthPart | None = None
    """None where the batch is fixed."""
    budget: BudgetPart | None = None
    """The budget that the target was chosen by; None where the target was given."""
    experts: ExpertCounts | None = None
    """None for a dense model; then `shape` is all of it."""


def plan_to_dict(plan: Plan) -> dict[str, Any]:
    """The plan as plain dicts and lists, keys in the contract's order."""
    plain: dict[str, Any] = to_plain(plan)
    for name in ("lr", "batch_tokens", "weight_decay", "loss"):
        if plain[name]["weights"] is None:
            del plain[name]["weights"]
    return plain


def to_plain(part: Any) -> Any:
    """Dataclasses as dicts, tuples as lists; everything else as it is."""
    if is_dataclass(part):
        return {f.name: to_plain(getattr(part, f.name)) for f in fields(part)}
    if isinstance(part, tuple):
        return [to_plain(item) for item in part]
    return part


def plan_to_json(plan: Plan) -> str:
    """The plan's JSON text, which `load_plan` reads; NaN and infinity are refused by the encoder.

    Args:
        plan: the plan.
    """
    return json.dumps(plan_to_dict(plan), indent=2, allow_nan=False, ensure_ascii=False)


def load_plan(path: Path) -> Plan:
    """Read a plan's JSON.

    Args:
        path: what `plan ... --json` printed, or `plan_to_json` gave.

    Raises:
        InputError: unreadable, not JSON, of another schema, or a key missing or of a wrong type.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        raw = json.loads(
            path.read_text(encoding="utf-8"), parse_constant=finite, parse_float=finite
        )
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON: {error}") from error
    if not isinstance(raw, dict) or raw.get("schema") != SCHEMA:
        raise InputError(f"{path}: not a plan of schema {SCHEMA} (plan ... --json writes one)")
    try:
        return TypeAdapter(Plan).validate_python(raw)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(step) for step in first["loc"])
        raise InputError(f"{path}: {key}: {first['msg'].lower()}") from error


def finite(text: str) -> float:
    """A number of a plan's JSON: Python reads NaN and infinity, which JSON does not have.

    Raises:
        ValueError: it is one of them.
    """
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no number that a plan can have")
    return value
