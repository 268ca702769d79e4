"""What was typed after `plan`, as a request; with `--from`, in the place of a plan's own."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fitting.errors import InputError
from fitting.units import parse_count
from planner.facts.laws import read_lawbook
from planner.request.growth import read_growth
from planner.request.options import arguments_of, command_of, merge_values, request_of, values_of
from planner.request.request import Request, kept_laws, sequence_length
from proxies.run.experts import read_experts

if TYPE_CHECKING:
    import typer

    from fitting.laws.law import Law
    from planner.facts.anchor import Anchor
    from planner.plan.document import Plan

OUTPUT = ("as_json", "explain", "export", "out", "lossy", "force", "version", "from_plan")
"""Parameters that say what is done with a plan, not what it is: never taken from one."""

COUNTS = (
    *("batch", "inference_tokens", "max_params", "max_tokens", "unique_tokens"),
    *("params", "tokens", "flops", "tokens_per_param"),
)
"""Parameters that are typed as a count: 1B, 300M."""


def read_request(context: typer.Context) -> tuple[Request, dict[str, Law], str, Plan | None]:
    """The request that was typed, the law book, the command line, and the plan of `--from`.

    Raises:
        InputError: naming the option.
    """
    typed = {name: context.params[name] for name in context.params if name not in OUTPUT}
    path = context.params["from_plan"]
    if path is None:
        book = read_lawbook(typed["laws"] or ())
        values = read_values(typed)
        command = context.obj.text
        request = with_anchors(request_of(values), typed["anchor"], typed["laws"], book)
        return request, book, command, None
    return changed_request(context, path)


def changed_request(
    context: typer.Context, path: Path
) -> tuple[Request, dict[str, Law], str, Plan | None]:
    """The request of a plan with what was typed in its place.

    Raises:
        InputError: not a plan, one of before plans kept their requests, or as `read_request`.
    """
    from planner.plan.file import load_plan
    from planner.plan.reuse import asked_of

    before = load_plan(path)
    said = {
        name: value
        for name, value in context.params.items()
        if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    }
    typed = {name: value for name, value in said.items() if name not in OUTPUT}
    kept = values_of(asked_of(before, str(path)))
    if "experts" in kept and ("experts" in typed or "active" in typed):
        typed = {"experts": kept["experts"].n_experts, "active": kept["experts"].active, **typed}
    values = merge_values(
        kept, read_values(typed), params=before.target.params, tokens=before.target.tokens
    )
    paths = typed.get("laws") or [Path(law.path) for law in values.get("laws", ())]
    book = read_lawbook(paths)
    request = with_anchors(request_of(values), typed.get("anchor"), paths, book)
    output = {name: value for name, value in said.items() if name in OUTPUT}
    command = command_of(request)
    if command is None:
        return request, book, context.obj.text, before
    del output["from_plan"]
    output = {{"as_json": "json"}.get(name, name): value for name, value in output.items()}
    command = " ".join([command, *map(shlex.quote, arguments_of(output))])
    return request, book, command, before


def read_values(typed: Mapping[str, Any]) -> dict[str, Any]:
    """What was typed, in numbers; anchors and law files left out.

    Raises:
        InputError: naming the option.
    """
    values = {
        name: value
        for name, value in typed.items()
        if value is not None and value is not False and name not in ("laws", "anchor", "active")
    }
    experts = read_experts(typed.get("experts"), typed.get("active"))
    if experts is not None:
        values["experts"] = experts
    for name in COUNTS:
        if name in values:
            values[name] = parse_count(values[name], where=f"--{name.replace('_', '-')}")
    if "checkpoints" in values:
        values["checkpoints"] = read_checkpoints(values["checkpoints"], typed.get("schedule"))
    if "batch_growth" in values:
        values["batch_growth"] = read_growth(values["batch_growth"])
    return values


def read_checkpoints(text: str, schedule: str | None) -> tuple[float, ...]:
    """Budgets of WSD-S in tokens, rising.

    Raises:
        InputError: not rising, or asked of another schedule.
    """
    if schedule not in (None, "wsd-s"):
        raise InputError(
            f"--checkpoints {text}: schedule {schedule} has one budget; use --schedule wsd-s"
        )
    found = tuple(parse_count(part, where="--checkpoints") for part in text.split(","))
    if any(low >= high for low, high in pairwise(found)):
        raise InputError(f"--checkpoints {text}: budgets must rise, as 5B,10B,20B")
    return found


def with_anchors(
    request: Request, texts: list[str] | None, laws: list[Path] | None, book: Mapping[str, Law]
) -> Request:
    """The request with the anchors and law files that were typed; without any its own stand."""
    request = replace(request, laws=kept_laws(laws or (), book))
    if not texts:
        return request
    anchors = anchors_of(texts, sequence_length(request))
    return replace(request, choices=replace(request.choices, anchors=anchors))


def anchors_of(texts: list[str] | None, seq_len: int) -> tuple[Anchor, ...]:
    """The anchors that were typed; their reader is loaded only where there are any."""
    if not texts:
        return ()
    from planner.plan.anchor_text import read_anchors

    return read_anchors(texts, seq_len=seq_len)
