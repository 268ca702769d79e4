"""What a plan says of its experts: the table's row, the arithmetic, the warnings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fitting.laws.evaluate import evaluate_law
from fitting.units import format_count, format_small
from planner.facts.laws import SPARSE_LAW
from planner.recommendation.experts import CHECKED_RATIO
from proxies.run.shape import MLPS

if TYPE_CHECKING:
    from planner.plan.document import Plan
    from planner.plan.draft import Draft


def sizes_in_words(plan: Plan) -> str:
    """How many params: those of a token too, where the model is sparse."""
    if plan.experts is None:
        return f"{format_count(plan.target.params)} params"
    return f"{format_count(plan.experts.params)} params, {format_count(plan.target.params)} active,"


def expert_rows(plan: Plan) -> list[tuple[str, str]]:
    """The table's rows; none where the model is dense."""
    part = plan.experts
    if part is None:
        return []
    return [
        (
            "experts",
            f"{part.n_experts} of d_ff {part.d_ff_expert:,}, {part.active_experts} a token "
            f"({100 * part.activation_ratio:.1f}%)",
        ),
        (
            "",
            f"{part.params:,} params in all, {part.total_params:,} with vocab; the model above is "
            "what a token sees",
        ),
    ]


def explain_experts(draft: Draft) -> list[str]:
    """The counts, and which N each law was given."""
    found = draft.derivation
    part, shape, target = draft.experts, draft.run.shape, draft.target
    if part is None:
        return []
    idle = part.n_experts - part.active_experts
    flops, dense = found.point["model_flops"], draft.run.active.params
    lines = [
        f"all {part.params:,} = active {dense:,} + {shape.n_layers} layers x ({idle} idle "
        f"experts x {MLPS[shape.mlp]} x {shape.d_model} x {part.d_ff_expert} + router "
        f"{shape.d_model} x {part.n_experts})",
        f"laws are given N = {format_count(target.params)}, the active params, and "
        "C = 6 N D of them",
    ]
    for quantity, law in found.laws.items():
        meaning = law.range.params_meaning or "dense"
        right = law.name == SPARSE_LAW
        lines.append(
            f"{quantity}: {law.name} wants {meaning} params"
            + ("" if right else "; that of dense models, assumed at the active params")
        )
    lines.append(
        f"loss: {format_small(draft.numbers.loss.value, 4)}, the geometric mean of that law's at "
        "all params and at the active ones"
    )
    said = step_law_at_total(draft)
    if said is not None:
        lines.append(
            f"step-law's paper claims it for sparse models at all their params: lr "
            f"{format_small(said)} there"
        )
    lines.append(
        f"{SPARSE_LAW}'s best split of C = M D = {format_small(flops)}: M = 0.1915 C^0.5095 = "
        f"{format_small(0.1915 * flops**0.5095)} FLOPs a token (here "
        f"{format_small(flops / target.tokens)}), D = 5.2232 C^0.4905 = "
        f"{format_count(5.2232 * flops**0.4905)} tokens (here {format_count(target.tokens)})"
    )
    return lines


def step_law_at_total(draft: Draft) -> float | None:
    """Step Law's lr at all params of a sparse model."""
    part = draft.experts
    assert part is not None
    law = draft.book["step-law"].quantities["lr"]
    return evaluate_law(law, {**draft.derivation.point, "params": float(part.params)})


def expert_cautions(draft: Draft) -> list[str]:
    """Where a sparse plan leaves what was measured on sparse models."""
    part = draft.experts
    if part is None:
        return []
    found = []
    law = draft.derivation.laws["lr"].name
    limits = draft.book[SPARSE_LAW].range.flops
    low, high = CHECKED_RATIO
    if law == SPARSE_LAW and not low <= part.activation_ratio <= high:
        found.append(
            f"{part.active_experts} of {part.n_experts} experts are "
            f"{100 * part.activation_ratio:.1f}%; {SPARSE_LAW} was checked from {100 * low:.1f}% "
            f"to {100 * high:.1f}%"
        )
    elif law != SPARSE_LAW and limits is not None:
        said = step_law_at_total(draft)
        other = "" if said is None else f"; step-law at all params says lr {format_small(said)}"
        found.append(
            f"lr by {law}, a law of dense models taken at the active params (assumed): "
            f"{SPARSE_LAW} was measured from {format_small(limits[0])} to "
            f"{format_small(limits[1])} FLOPs with adamw{other}"
        )
    found.append(
        "the loss of a sparse model is not known: the interval goes from a dense model of all "
        "params to one of the active params"
    )
    if draft.compute is not None:
        found.append(
            "time is that of dense runs: routing, expert parallelism and its all-to-all are not "
            "planned; memory holds every expert"
        )
    return found
