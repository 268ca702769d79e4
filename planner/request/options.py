"""A request by the options of `plan`: from values to a request, and back to values and a command.

A value is what an option says in numbers, under the option's own name. So `plan --from` is the
values of a plan's request with those typed now in their place.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from planner.request.budget import Budget
from planner.request.choices import Choices, Pins
from planner.request.growth import growth_text
from planner.request.request import LawFile, Request
from planner.request.shape import ShapeRequest
from planner.request.target import Scale
from proxies.run.defaults import SCHEDULE, SCHEDULE_OF_BUDGETS
from proxies.run.experts import Experts

FIELDS: Mapping[str, tuple[str, str]] = {
    "params": ("target", "params"),
    "tokens": ("target", "tokens"),
    "flops": ("target", "flops"),
    "tokens_per_param": ("target", "tokens_per_param"),
    "model": ("shape", "model"),
    "d_model": ("shape", "d_model"),
    "layers": ("shape", "n_layers"),
    "heads": ("shape", "n_heads"),
    "kv_heads": ("shape", "n_kv_heads"),
    "d_ff": ("shape", "d_ff"),
    "experts": ("choices", "experts"),
    "seq_len": ("target", "seq_len"),
    "vocab": ("shape", "vocab_size"),
    "tied": ("shape", "tied_embeddings"),
    "whole": ("shape", "whole"),
    "reason": ("shape", "reason"),
    "law": ("choices", "law"),
    "laws": ("", "laws"),
    "anchor": ("choices", "anchors"),
    "batch": ("pins", "batch_tokens"),
    "lr": ("pins", "lr"),
    "weight_decay": ("pins", "weight_decay"),
    "steps": ("pins", "steps"),
    "warmup": ("pins", "warmup_steps"),
    "optimizer": ("choices", "optimizer"),
    "parametrization": ("choices", "parametrization"),
    "base_width": ("choices", "base_d_model"),
    "base_layers": ("choices", "base_n_layers"),
    "base_head_dim": ("choices", "base_head_dim"),
    "schedule": ("choices", "schedule"),
    "curve": ("choices", "curve"),
    "checkpoints": ("choices", "checkpoint_tokens"),
    "round_batch": ("choices", "round_batch"),
    "unique_tokens": ("choices", "unique_tokens"),
    "batch_growth": ("choices", "batch_growth"),
    "gpus": ("choices", "gpus"),
    "days": ("budget", "days"),
    "cost": ("budget", "cost"),
    "price": ("choices", "price"),
    "inference_tokens": ("budget", "inference_tokens"),
    "max_params": ("budget", "max_params"),
    "max_tokens": ("budget", "max_tokens"),
}
"""Each value by its option's name: the part of a request that holds it, and its field there.
`whole` and `reason` have no option: they are of a shape that a config or Python gave."""

SHAPE = ("model", "d_model", "layers", "heads", "kv_heads", "d_ff", "whole", "reason")
REST = ("tokens", "flops", "tokens_per_param", "days", "cost")
LIMITS = ("inference_tokens", "max_params", "max_tokens")
"""What bounds the split of a budget: of no use once params or tokens are given."""

REPLACES: Mapping[str, tuple[str, ...]] = {
    "model": SHAPE,
    "params": SHAPE,
    "batch": ("steps",),
    "steps": ("batch",),
    "schedule": ("checkpoints", "curve"),
    "checkpoints": ("schedule", "curve"),
    "parametrization": ("base_width", "base_layers", "base_head_dim"),
}
"""What a typed option puts out of force beside itself."""


def request_of(values: Mapping[str, Any]) -> Request:
    """The request that values make; what is not among them is left out."""
    parts: dict[str, dict[str, Any]] = {
        part: {} for part in ("", "target", "shape", "pins", "choices", "budget")
    }
    for name, value in values.items():
        part, field = FIELDS[name]
        parts[part][field] = value
    usual = SCHEDULE_OF_BUDGETS if values.get("checkpoints") else SCHEDULE
    chosen = {"schedule": usual, **parts["choices"], "pins": Pins(**parts["pins"])}
    return Request(
        target=Scale(**parts["target"]),
        shape=ShapeRequest(**parts["shape"]),
        choices=Choices(**chosen),
        budget=Budget(**parts["budget"]) if parts["budget"] else None,
        **parts[""],
    )


def values_of(request: Request) -> dict[str, Any]:
    """What a request says, by option: all that is not as it is where nothing is said."""
    blank = Request(budget=Budget())
    found = {}
    for name, (part, field) in FIELDS.items():
        value, usual = _value(request, part, field), _value(blank, part, field)
        if value is not None and value != usual:
            found[name] = value
    return found


def merge_values(
    kept: Mapping[str, Any], typed: Mapping[str, Any], *, params: float, tokens: float
) -> dict[str, Any]:
    """Values of a plan with the typed ones in their place, and the target that both make.

    Args:
        kept: of the plan's request.
        typed: now.
        params: that the plan is for, which stand where only the rest of the target is typed.
        tokens: likewise.
    """
    if "whole" in kept and any(name in typed for name in (*SHAPE, "vocab", "tied")):
        from planner.request.spelling import spell_shape

        sizes = spell_shape(kept["whole"]).values
        kept = {**{name: value for name, value in kept.items() if name not in SHAPE}, **sizes}
    gone = {name for option in typed for name in REPLACES.get(option, ())}
    if "params" not in gone and any(name in typed for name in SHAPE[1:]):
        gone |= {"model", "params"}
    found = {name: value for name, value in kept.items() if name not in gone}
    rest = [name for name in REST if name in typed]
    if rest or any(name in typed for name in ("params", *SHAPE)):
        asked = ("params", *REST, *LIMITS)
        found = {name: value for name, value in found.items() if name not in asked}
        if not any(name in found or name in typed for name in SHAPE) and len(rest) < 2:
            found["params"] = params
    found |= typed
    if not any(name in found for name in (*REST, "checkpoints")):
        found["tokens"] = tokens
    return found


def command_of(request: Request) -> str | None:
    """The `plan` command line of a request; None where options cannot say all of it."""
    values = values_of(request)
    whole = values.pop("whole", None)
    values.pop("reason", None)
    if whole is not None:
        # Imported here, as above, because only a shape given whole needs it.
        from planner.request.spelling import spell_shape

        spelled = spell_shape(whole)
        if not spelled.exact:
            return None
        values |= spelled.values
    if any(not anchor.given for anchor in values.get("anchor", ())):
        return None
    return shlex.join(["plan", *arguments_of(values)])


def arguments_of(values: Mapping[str, Any]) -> list[str]:
    """Values as they are typed; None, false and what is the default anyway are left out.

    Example:
        >>> arguments_of({"params": 1e9, "tied": True, "lr": None, "optimizer": "adamw"})
        ['--params', '1000000000', '--tied']
    """
    defaults = {"optimizer": "adamw", "parametrization": "sp"}
    found: list[str] = []
    for name, value in values.items():
        if value is None or value is False or defaults.get(name) == value:
            continue
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, Experts):
            found += [option, str(value.n_experts), "--active", str(value.active)]
            continue
        for one in _texts(name, value):
            found += [option] if one is True else [option, one]
    return found


def words(value: object) -> str:
    """A number as it is typed: whole ones without a point."""
    if not isinstance(value, float):
        return str(value)
    return str(int(value)) if value.is_integer() else repr(value)


def _value(request: Request, part: str, field: str) -> Any:
    """A field of a request by its part."""
    if part == "pins":
        return getattr(request.choices.pins, field)
    holder = request if not part else getattr(request, part)
    return None if holder is None else getattr(holder, field)


def _texts(name: str, value: Any) -> Sequence[Any]:
    """Every text that an option is given, True for a switch."""
    if name == "checkpoints":
        return [",".join(map(words, value))]
    if name == "laws":
        return [law.path if isinstance(law, LawFile) else str(law) for law in value]
    if name == "anchor":
        return list(dict.fromkeys(anchor.given for anchor in value))
    if name == "batch_growth":
        return [growth_text(value)]
    return [value if value is True else words(value)]
