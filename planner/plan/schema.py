"""The JSON of a plan as dataclasses: what its reader checks, and its JSON schema.

They are made when a plan is read, not when one is planned. Keys are the field names, in this
order; they are a contract with users' scripts. Meanings in the schema are the docstrings under
the fields, read from their source.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from dataclasses import dataclass, is_dataclass
from typing import Any, get_args, get_type_hints

from fitting.laws.plateau import Plateau
from planner.compute.planned import PlannedCompute
from planner.plan.document import SCHEMA, KeptSurface, Provenance
from planner.recommendation.data_part import DataPart
from planner.recommendation.value import ErrorCost, Value
from planner.recommendation.witnesses import Alternative, Nearby
from planner.request.budget import BudgetPart
from planner.request.growth import BatchGrowthPart
from planner.request.request import Request
from proxies.run.experts import ExpertCounts
from proxies.run.groups import ParamGroup
from proxies.run.parametrization import Optimizer


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
class PlanFile:
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
    plateau: Plateau | None
    """The range that costs at most 0.1% of the loss; None where no surface reaches."""
    error_cost: ErrorCost | None
    """None where no surface reaches."""
    alternatives: tuple[Alternative, ...]
    parametrization: ParametrizationPart
    param_groups: tuple[ParamGroup, ...]
    """In absolute values."""
    compute: PlannedCompute | None
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
    request: Request | None = None
    """What was asked; None in a plan of before plans kept it."""
    surface: KeptSurface | None = None
    """The surface that priced the plan; None where none reaches."""


def plan_schema() -> dict[str, Any]:
    """The JSON schema of what `plan ... --json` prints, with each key's meaning.

    Keys that are not in it are allowed: `--explain` adds one, and so may a later version.
    """
    from pydantic import TypeAdapter

    found = TypeAdapter(PlanFile).json_schema()
    tables = found["$defs"]
    for part in _parts_of(PlanFile):
        table = found if part is PlanFile else tables[part.__name__]
        for name, meaning in _meanings(part).items():
            table["properties"][name]["description"] = meaning
    # A request says its pins and anchors beside its choices, as `request_to_dict` writes them.
    choices = tables["Choices"]["properties"]
    for name in ("pins", "anchors"):
        tables["Request"]["properties"][name] = choices.pop(name)
    found["properties"]["schema"] |= {"const": SCHEMA, "description": "Version of these keys."}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | found


def _parts_of(part: type) -> list[type]:
    """A dataclass and those that its fields are made of, each once."""
    found = [part]
    for kind in get_type_hints(part).values():
        for inner in _dataclasses_in(kind):
            found += [each for each in _parts_of(inner) if each not in found]
    return found


def _dataclasses_in(kind: Any) -> list[type]:
    """Dataclasses in a type: itself, or the members of a union or a container."""
    if isinstance(kind, type) and is_dataclass(kind):
        return [kind]
    return [inner for part in get_args(kind) for inner in _dataclasses_in(part)]


def _meanings(part: type) -> dict[str, str]:
    """The docstring under each field of a dataclass that has one, on one line."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(part))).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, said in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(said, ast.Expr)
            and isinstance(said.value, ast.Constant)
        ):
            found[field.target.id] = " ".join(str(said.value.value).split())
    return found
