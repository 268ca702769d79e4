"""How a plan is printed: a table on stdout, warnings on stderr, right at 80 columns."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from fitting.units import format_count, format_small
from planner.cli.console import make_console, plain_table
from planner.plan.document import Plan
from planner.plan.words.experts import expert_rows, sizes_in_words
from planner.plan.words.growth import growth_rows
from planner.plan.words.limited_data import data_rows

if TYPE_CHECKING:
    from fitting.laws.plateau import Span
    from planner.compute.planned import PlannedCompute
    from planner.plan.arithmetic import Topic
    from planner.recommendation.value import HalfDouble, Value

SHOWN_ALTERNATIVES = 6
"""Other laws in the table; the JSON has all."""


def show_plan(plan: Plan, explained: Sequence[Topic] = (), *, as_json: bool = False) -> None:
    """Print a plan on stdout and its warnings on stderr.

    Args:
        plan: the plan.
        explained: the arithmetic of each number, in JSON under the key `explanation`.
        as_json: print JSON in place of the tables.
    """
    if as_json:
        import json

        from planner.plan.file import plan_to_dict

        plain = plan_to_dict(plan)
        if explained:
            plain["explanation"] = {topic.title: list(topic.lines) for topic in explained}
        print(json.dumps(plain, indent=2, allow_nan=False, ensure_ascii=False))
    else:
        print_tables(plan)
        for topic in explained:
            print(f"\n{topic.title}")
            for line in topic.lines:
                print(f"  {line}")
    for warning in plan.warnings:
        print("warning:", warning, file=sys.stderr)


def print_tables(plan: Plan) -> None:
    """The plan as people read it."""
    console = make_console()
    target = plan.target
    console.print(
        Text.assemble(
            (f"{sizes_in_words(plan)} on {format_count(target.tokens)} tokens", "bold"),
            f" (non-embedding; {format_count(target.tokens_per_param)} tokens a param, "
            f"{format_small(target.flops)} FLOPs)",
        )
    )
    console.print()
    console.print(numbers_table(plan))
    console.print()
    console.print(run_table(plan))
    console.print()
    if plan.budget is not None:
        from planner.cli.plan.budget import budget_table

        console.print(budget_table(plan.budget))
        console.print()
    console.print(witnesses_table(plan))


def numbers_table(plan: Plan) -> Table:
    """The recommended numbers with their two intervals and source.

    The first interval is for the setup that the law was measured in, the second for one that
    nobody measured; with an anchor, for slopes as the law's and for slopes of another setup.
    """
    table = plain_table("", "value", "80% interval", "elsewhere", "source")
    for column in table.columns[:-1]:
        column.no_wrap = True
    plateau = plan.plateau
    rows = (
        ("peak lr", plan.lr, format_small),
        ("batch, tokens", plan.batch_tokens, format_count),
        ("weight decay", plan.weight_decay, format_small),
        ("expected loss", plan.loss, format_small),
    )
    for name, value, show in rows:
        table.add_row(
            name,
            Text(show(value.value), "bold"),
            interval(value, show),
            "" if value.elsewhere is None else roughly(value.elsewhere, show),
            source(value),
        )
    if plateau is not None:
        table.add_row("lr plateau", "", span(plateau.lr, format_small), "", "up to +0.1% loss")
        table.add_row(
            "batch plateau", "", span(plateau.batch_tokens, format_count), "", "up to +0.1% loss"
        )
    return table


def span(bounds: Span, show: Callable[[float], str]) -> str:
    """Low to high."""
    return f"{show(bounds.low)} to {show(bounds.high)}"


def roughly(bounds: Span, show: Callable[[float], str]) -> str:
    """Low to high; small numbers in two digits, which is what 80 columns hold.

    They are rounded outward, so that what is printed is never narrower than the interval beside it.
    """
    if show is not format_small:
        return span(bounds, show)
    low, high = (
        step * toward(round(value / step, 6))
        for value, toward in ((bounds.low, math.floor), (bounds.high, math.ceil))
        for step in (10.0 ** (math.floor(math.log10(value)) - 1),)
    )
    return f"{format_small(low, 2)} to {format_small(high, 2)}"


def interval(value: Value, show: Callable[[float], str]) -> str:
    """Low to high, or what stands in its place."""
    if value.law == "pinned":
        return "pinned"
    if value.low is None or value.high is None:
        return "not known"
    return f"{show(value.low)} to {show(value.high)}"


def source(value: Value) -> str:
    """The laws behind a value, with their weights where there are two."""
    if value.weights is None:
        return value.law.replace("+", " + ")
    shares = {name: round(100 * weight) for name, weight in value.weights.items()}
    return ", ".join(f"{name} {share}%" for name, share in shares.items() if share)


def run_table(plan: Plan) -> Table:
    """Steps, schedule, optimizer, model, parametrization and compute."""
    shape, schedule, counts = plan.shape, plan.schedule, plan.run.active
    table = plain_table("", "")
    table.show_header = False
    table.add_row("batch", f"{plan.batch_sequences:,} sequences of {plan.target.seq_len:,} tokens")
    table.add_row(
        "steps",
        f"{plan.steps:,} = {schedule.warmup_steps:,} warmup + {schedule.stable_steps:,} stable + "
        f"{schedule.decay_steps:,} decay",
    )
    table.add_row("schedule", describe_schedule(plan))
    table.add_row("optimizer", describe_optimizer(plan))
    table.add_row(
        "model",
        f"{shape.n_layers} layers of {shape.d_model:,}, {shape.n_heads} heads of "
        f"{shape.head_dim}, {shape.n_kv_heads} kv heads, d_ff {shape.d_ff:,}",
    )
    tied = "tied" if shape.tied_embeddings else "untied"
    table.add_row(
        "",
        f"{counts.params:,} params, {counts.total_params:,} with {tied} {shape.vocab_size:,} vocab",
    )
    for name, words in expert_rows(plan):
        table.add_row(name, words)
    if plan.error_cost is not None:
        table.add_row("being wrong", f"lr: {describe_error_cost(plan.error_cost.lr)}")
        table.add_row("", f"batch: {describe_error_cost(plan.error_cost.batch_tokens)}")
    if plan.parametrization.name != "sp":
        table.add_row("parametrization", describe_parametrization(plan))
    for group in plan.param_groups if plan.parametrization.name != "sp" else ():
        std = "" if group.init_std is None else f", init std {format_small(group.init_std)}"
        table.add_row(
            "",
            f"{group.name}: {group.optimizer} lr {format_small(group.lr)}, weight decay "
            f"{format_small(group.weight_decay)}{std}",
        )
    if plan.compute is not None:
        for name, words in describe_compute(plan.compute):
            table.add_row(name, words)
    if plan.data is not None:
        for name, words in data_rows(plan.data):
            table.add_row(name, words)
    for name, words in growth_rows(plan):
        table.add_row(name, words)
    return table


def describe_error_cost(cost: HalfDouble) -> str:
    """What a factor of two costs."""
    return f"half costs {100 * cost.half:+.2f}% of the loss, twice {100 * cost.double:+.2f}%"


def describe_schedule(plan: Plan) -> str:
    """The schedule in words."""
    schedule = plan.schedule
    if schedule.decay_shape is None:
        return f"{schedule.kind}: warmup, then the peak lr to the end"
    end = "0" if schedule.final_lr_fraction == 0 else f"{schedule.final_lr_fraction:g} of the peak"
    words = f"{schedule.kind}, decay {schedule.decay_shape} to {end}"
    if schedule.kind == "wsd-s":
        steps = ", ".join(f"{found.step:,}" for found in schedule.checkpoints)
        words += f" at each of steps {steps}"
    return words


def describe_optimizer(plan: Plan) -> str:
    """The optimizer's constants."""
    optimizer = plan.optimizer
    eps = "" if optimizer.eps is None else f", eps {format_small(optimizer.eps, 1)}"
    return (
        f"{optimizer.name}, betas {optimizer.beta1:g} {optimizer.beta2:g}{eps}, "
        f"clip {optimizer.grad_clip:g}"
    )


def describe_parametrization(plan: Plan) -> str:
    """The base shape and the forward multipliers."""
    rule = plan.parametrization
    return (
        f"{rule.name}, base width {rule.base_d_model}, depth {rule.base_n_layers}, head dim "
        f"{rule.base_head_dim}; logits x {format_small(rule.logits_multiplier)}, residual x "
        f"{format_small(rule.residual_multiplier)}, attention scale "
        f"{format_small(rule.attention_scale)}"
    )


def describe_compute(compute: PlannedCompute) -> list[tuple[str, str]]:
    """Layout, time and memory on the given GPUs."""
    rows = [
        (
            "gpus",
            f"{compute.gpus}: micro {compute.micro_batch_sequences} x accumulation "
            f"{compute.accumulation} x data parallel {compute.data_parallel}, "
            f"{'sharded' if compute.sharded else 'replicated'}",
        )
    ]
    if compute.tensor_parallel * compute.pipeline_parallel > 1:
        split = f"tensor {compute.tensor_parallel} x pipeline {compute.pipeline_parallel}"
        rows.append(("", f"each model over {split} GPUs"))
    if compute.hours is not None and compute.tokens_per_second is not None:
        assert compute.mfu is not None
        span = ""
        if compute.hours_low is not None and compute.hours_high is not None:
            span = f" ({format_small(compute.hours_low)} to {format_small(compute.hours_high)})"
        days = f", {compute.hours / 24:.3g} days" if compute.hours > 48 else ""
        rows.append(("time", f"{format_small(compute.hours)} hours{span}{days}"))
        rows.append(
            (
                "",
                f"{format_count(compute.tokens_per_second)} tokens a second at "
                f"{100 * compute.mfu:.0f}% utilisation, that of published runs",
            )
        )
        rows += describe_bill(compute)
    memory = compute.memory_bytes
    total = memory.weights + memory.gradients + memory.optimizer + memory.activations
    rows.append(("memory a GPU", f"{total / 1e9:.3g} GB"))
    rows.append(
        (
            "",
            f"{memory.weights / 1e9:.3g} weights, {memory.gradients / 1e9:.3g} gradients, "
            f"{memory.optimizer / 1e9:.3g} optimizer, {memory.activations / 1e9:.3g} activations",
        )
    )
    return rows


def describe_bill(compute: PlannedCompute) -> list[tuple[str, str]]:
    """GPU-hours, energy and cost."""
    parts = []
    if compute.gpu_hours is not None:
        parts.append(f"{format_small(compute.gpu_hours)} GPU-hours")
    if compute.energy_kwh is not None:
        parts.append(f"at most {format_small(compute.energy_kwh)} kWh")
    if compute.cost is not None:
        parts.append(f"cost {compute.cost:,.0f}")
    return [("", ", ".join(parts))] if parts else []


def witnesses_table(plan: Plan) -> Table:
    """Other laws that give an lr, and the nearest published runs."""
    table = plain_table("what others say", "params", "tokens", "lr", "batch", right=(1, 2, 3, 4))
    here = (format_count(plan.target.params), format_count(plan.target.tokens))
    said = [found for found in plan.alternatives if found.lr is not None]
    for found in said[:SHOWN_ALTERNATIVES]:
        table.add_row(f"law {found.law}", *here, cell(found.lr), count_cell(found.batch_tokens))
    for run in plan.nearest:
        table.add_row(
            f"run {run.run}",
            format_count(run.params),
            format_count(run.tokens),
            format_small(run.lr),
            count_cell(run.batch_tokens),
        )
    return table


def cell(value: float | None) -> str:
    """A small number, or a dash where a law is silent."""
    return "-" if value is None else format_small(value)


def count_cell(value: float | None) -> str:
    """A count, or a dash where a law is silent."""
    return "-" if value is None else format_count(value)
