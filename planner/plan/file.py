"""The JSON of a plan, written and read here only.

Its keys are a contract with users' scripts (`planner.plan.schema` names them). Counts are floats
where they may exceed what trainers hold in integers, ints where they are steps or sequences. A
plan of before plans kept what was asked has neither `request` nor `surface`: its numbers are what
they are, and nothing is planned again or priced by it.
"""

from __future__ import annotations

import json
import math
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fitting.errors import InputError
from planner.plan.document import SCHEMA

if TYPE_CHECKING:
    from planner.plan.document import Plan
    from planner.request.request import Request


def plan_to_dict(plan: Plan) -> dict[str, Any]:
    """The plan as plain dicts and lists, keys in the contract's order."""
    run, target, shape = plan.run, plan.target, plan.run.shape
    schedule, rule, counts = run.schedule, run.parametrization, run.active
    numbers = to_plain(plan.numbers)
    for name in ("lr", "batch_tokens", "weight_decay", "loss"):
        if numbers[name]["weights"] is None:
            del numbers[name]["weights"]
    plain: dict[str, Any] = {
        "schema": SCHEMA,
        "target": {
            **_fields(target, "params", "tokens", "tokens_per_param", "flops"),
            **_fields(target, "seq_len", "vocab_size"),
        },
        "shape": {
            **_fields(shape, "d_model", "n_layers", "n_heads", "n_kv_heads", "head_dim", "d_ff"),
            **_fields(shape, "vocab_size", "tied_embeddings"),
            "params": counts.params,
            "total_params": counts.total_params,
            "flops_per_token": run.flops_per_token,
        },
        "model": {
            **_fields(shape, "mlp", "norm", "norm_eps", "biases", "positions"),
            "rope_theta": shape.rope_theta if shape.positions == "rope" else None,
            "qk_norm": shape.qk_norm,
            "z_loss": run.z_loss,
        },
        **{name: numbers.pop(name) for name in ("lr", "batch_tokens", "weight_decay", "loss")},
        "batch_sequences": run.batch_sequences,
        "steps": schedule.steps,
        "warmup_steps": schedule.warmup_steps,
        "optimizer": run.optimizer,
        "schedule": {
            **_fields(schedule, "kind", "warmup_steps", "stable_steps", "decay_steps"),
            **_fields(schedule, "decay_shape", "final_lr_fraction"),
            "checkpoints": schedule.checkpoints if schedule.kind == "wsd-s" else (),
        },
        **numbers,
        "alternatives": plan.alternatives,
        "parametrization": {
            **_fields(rule, "name", "base_d_model", "base_n_layers", "base_head_dim"),
            **_fields(rule, "embedding_multiplier", "attention_scale"),
            **_fields(rule, "residual_multiplier", "logits_multiplier"),
        },
        "param_groups": run.groups,
        "compute": plan.compute,
        "nearest": plan.nearest,
        "data": plan.data,
        "provenance": plan.provenance,
        "warnings": plan.warnings,
        "anchors": [
            {
                **_fields(anchor, "params", "tokens", "lr", "batch_tokens", "weight_decay"),
                **_fields(anchor, "loss", "parametrization"),
            }
            for anchor in plan.anchors
        ],
        "batch_growth": plan.batch_growth,
        "budget": plan.budget,
        "experts": plan.experts,
        "request": None if plan.request is None else request_to_dict(plan.request),
        "surface": plan.surface,
    }
    return {key: to_plain(part) for key, part in plain.items()}


def request_to_dict(request: Request) -> dict[str, Any]:
    """What was asked as plain dicts, its pins and anchors beside its choices."""
    plain: dict[str, Any] = to_plain(request)
    choices = plain["choices"]
    return {**plain, "pins": choices.pop("pins"), "anchors": choices.pop("anchors")}


def to_plain(part: Any) -> Any:
    """Dataclasses as dicts, tuples as lists, paths as text; everything else as it is."""
    if is_dataclass(part):
        return {f.name: to_plain(getattr(part, f.name)) for f in fields(part)}
    if isinstance(part, tuple | list):
        return [to_plain(item) for item in part]
    if isinstance(part, dict):
        return {key: to_plain(item) for key, item in part.items()}
    return str(part) if isinstance(part, Path) else part


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
        InputError: unreadable, not JSON, of another schema, a key missing or of a wrong type, or
            parts that contradict each other, as after an edit by hand.
    """
    try:
        raw = json.loads(
            path.read_text(encoding="utf-8"), parse_constant=_finite, parse_float=_finite
        )
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON: {error}") from error
    return plan_from_dict(raw, where=str(path))


def plan_from_dict(raw: Any, *, where: str) -> Plan:
    """The plan of plain dicts and lists.

    Args:
        raw: as `plan_to_dict` gives it; further keys are not read.
        where: the file, for a refusal.

    Raises:
        InputError: as `load_plan`.
    """
    from pydantic import TypeAdapter, ValidationError

    from planner.plan.read import plan_of
    from planner.plan.schema import PlanFile

    if not isinstance(raw, dict) or raw.get("schema") != SCHEMA:
        raise InputError(f"{where}: not a plan of schema {SCHEMA} (plan ... --json writes one)")
    asked = raw.get("request")
    if isinstance(asked, dict) and isinstance(asked.get("choices"), dict):
        beside = {key: asked[key] for key in ("pins", "anchors") if key in asked}
        raw = {**raw, "request": {**asked, "choices": {**asked["choices"], **beside}}}
    try:
        found = TypeAdapter(PlanFile).validate_python(raw)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(step) for step in first["loc"])
        raise InputError(f"{where}: {key}: {first['msg'].lower()}") from error
    try:
        return plan_of(found)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _fields(record: object, *names: str) -> dict[str, Any]:
    """Some fields of a record by name."""
    return {name: getattr(record, name) for name in names}


def _finite(text: str) -> float:
    """A number of a plan's JSON: Python reads NaN and infinity, which JSON does not have.

    Raises:
        ValueError: it is one of them.
    """
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no number that a plan can have")
    return value
