"""`plan --from PLAN.json`: a plan's own options with what is typed now, and what moved.

A plan's provenance holds its command line. Its options stand again unless one typed now replaces
them, so that what was pinned stays pinned; the plan's own params and tokens stand where only
some of the target is typed.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fitting.errors import InputError
from planner.cli import COMMANDS, CommandLine
from planner.cli.plans.diff import difference_lines
from planner.plan.document import load_plan
from planner.plan.reuse import arguments_of, options_of
from planner.review.diff import compare_plans

if TYPE_CHECKING:
    import typer

    from planner.plan.document import Plan

OUTPUT = ("as_json", "explain", "export", "out", "lossy", "force", "version", "from_plan")
"""Parameters that say what is done with a plan, not what it is: never taken from one."""

SHAPE = ("model", "d_model", "layers", "heads", "kv_heads", "d_ff")
REST = ("tokens", "flops", "tokens_per_param", "days", "cost")
LIMITS = ("inference_tokens", "max_params", "max_tokens")
"""What bounds the split of a budget: of no use once params or tokens are given."""

REPLACES = {
    "model": SHAPE,
    "params": SHAPE,
    "batch": ("steps",),
    "steps": ("batch",),
    "schedule": ("checkpoints", "curve"),
    "checkpoints": ("schedule", "curve"),
    "parametrization": ("base_width", "base_layers", "base_head_dim"),
}
"""What a typed option puts out of force beside itself."""


def context_again(context: typer.Context, path: Path) -> typer.Context:
    """The context of a whole `plan` command line: the plan's options and those typed now.

    Raises:
        InputError: not a plan, or one whose options cannot be read back.
    """
    before = load_plan(path)
    kept = {
        name: value
        for name, value in said_by(context, command_line(before, path), path).items()
        if name not in OUTPUT
    }
    typed = {name: value for name, value in said(context).items() if name != "from_plan"}
    spelling = {parameter.name: parameter.opts[-1] for parameter in context.command.params}
    chosen = merge(kept, typed, before)
    line = arguments_of({spelling[name]: value for name, value in chosen.items()})
    again = context.command.make_context("plan", list(line))
    again.obj = CommandLine(tuple(line), before)
    return again  # type: ignore[return-value]  # typer's own context is one of the same class


def merge(kept: Mapping[str, Any], typed: Mapping[str, Any], before: Plan) -> dict[str, Any]:
    """Options of a plan with the typed ones in their place, and the target that both make."""
    gone = {name for option in typed for name in REPLACES.get(option, ())}
    if "params" not in gone and any(name in typed for name in SHAPE[1:]):
        gone |= {"model", "params"}
    found = {name: value for name, value in kept.items() if name not in gone}
    rest = [name for name in REST if name in typed]
    if rest or any(name in typed for name in ("params", *SHAPE)):
        asked = ("params", *REST, *LIMITS)
        found = {name: value for name, value in found.items() if name not in asked}
        if not any(name in found or name in typed for name in SHAPE) and len(rest) < 2:
            found["params"] = before.target.params
    found |= typed
    if not any(name in found for name in (*REST, "checkpoints")):
        found["tokens"] = before.target.tokens
    return found


def command_line(plan: Plan, path: Path) -> list[str]:
    """What was typed after `plan` to make a plan; where that is not known, options that make it.

    Raises:
        InputError: a plan without a command whose anchors no option can say.
    """
    words = shlex.split(plan.provenance.command)
    if words[:1] == ["plan"] and not (words[1:2] and words[1] in COMMANDS):
        return words[1:]
    if plan.anchors:
        raise InputError(
            f"--from {path}: was not made by the plan command, and its anchors are not whole in "
            "it; give its options and every --anchor again"
        )
    return arguments_of(options_of(plan))


def said_by(context: typer.Context, arguments: Sequence[str], path: Path) -> dict[str, Any]:
    """Options of another command line, read as this one's are.

    Raises:
        InputError: an option that there is not, as in the plan of another version.
    """
    try:
        return said(context.command.make_context("plan", list(arguments)))
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        raise InputError(
            f"--from {path}: its provenance.command is not one of this version: "
            f"{error.format_message()}"
        ) from error


def said(context: Any) -> dict[str, Any]:
    """Parameters that were typed, by name, in the order of the help."""
    return {
        parameter.name: context.params[parameter.name]
        for parameter in context.command.params
        if getattr(context.get_parameter_source(parameter.name), "name", "") == "COMMANDLINE"
    }


def show_moves(before: Plan, after: Plan) -> None:
    """Print what the new plan says that the old one did not."""
    print("\nmoved from the plan given")
    for line in difference_lines(compare_plans(before, after)):
        print(f"  {line}".rstrip())
