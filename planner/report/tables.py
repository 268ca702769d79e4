"""Tables of the page: the run, other laws and runs, laws, audit, provenance."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fitting.text import Headline, Table
from fitting.units import format_count, format_small

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fitting.fit.audit import Audit
    from fitting.laws.law import Quantity
    from fitting.laws.plateau import Span
    from planner.plan.document import Plan
    from planner.recommendation.value import ErrorCost, HalfDouble, Value
    from planner.report.evidence import Evidence

SILENT = "\N{EN DASH}"
"""Where a law says nothing."""

MAIN = (
    ("Peak lr", "lr", format_small),
    ("Batch, tokens", "batch_tokens", format_count),
    ("Weight decay", "weight_decay", format_small),
    ("Expected loss", "loss", format_small),
)
"""The four numbers of a plan: name, key, how they are written."""


def headlines(plan: Plan) -> tuple[Headline, ...]:
    """The plan's four numbers with interval and source."""
    return tuple(
        Headline(
            name=name,
            value=show(value.value),
            interval=interval(value, show),
            source=source(value),
        )
        for name, value, show in main_values(plan)
    )


def main_values(plan: Plan) -> list[tuple[str, Value, Callable[[float], str]]]:
    """The plan's four numbers by name."""
    return [(name, getattr(plan, key), show) for name, key, show in MAIN]


def interval(value: Value, show: Callable[[float], str]) -> str:
    """Low to high, or what stands in its place."""
    if value.law == "pinned":
        return "pinned"
    if value.low is None or value.high is None:
        return "not known"
    return f"{show(value.low)} to {show(value.high)}"


def span(bounds: Span | None, show: Callable[[float], str]) -> str:
    """Low to high; nothing where it is not known."""
    return "" if bounds is None else f"{show(bounds.low)} to {show(bounds.high)}"


def source(value: Value) -> str:
    """The laws behind a value, with their weights where there are two."""
    if value.weights is None:
        return value.law.replace("+", " + ")
    shares = {name: round(100 * weight) for name, weight in value.weights.items()}
    return ", ".join(f"{name} {share}%" for name, share in shares.items() if share)


def numbers_table(plan: Plan) -> Table:
    """Each number with both of its intervals, its plateau and its source."""
    around = (
        {}
        if plan.plateau is None
        else {
            "Peak lr": plan.plateau.lr,
            "Batch, tokens": plan.plateau.batch_tokens,
        }
    )
    return Table(
        caption="The plan's numbers. The 80% interval is for the setup that the law was measured "
        "in, elsewhere for one that nobody measured; within the plateau the loss rises by at most "
        "0.1%.",
        head=("", "Value", "80% interval", "Elsewhere", "Plateau", "Source"),
        rows=tuple(
            (
                name,
                show(value.value),
                interval(value, show),
                span(value.elsewhere, show),
                span(around.get(name), show),
                source(value),
            )
            for name, value, show in main_values(plan)
        ),
    )


def run_table(plan: Plan) -> Table:
    """The run in words: batch, steps, schedule, optimizer, model, compute."""
    shape, part, optimizer = plan.run.shape, plan.schedule, plan.optimizer
    counts = plan.run.active
    eps = "" if optimizer.eps is None else f", eps {format_small(optimizer.eps, 1)}"
    decay = (
        "peak lr to the end"
        if part.decay_shape is None
        else f"decay {part.decay_shape} to {part.final_lr_fraction:g} of the peak"
    )
    tied = "tied" if shape.tied_embeddings else "untied"
    rows = [
        ("Batch", f"{plan.batch_sequences:,} sequences of {plan.target.seq_len:,} tokens"),
        (
            "Steps",
            f"{plan.steps:,}: {part.warmup_steps:,} warmup, {part.stable_steps:,} stable, "
            f"{part.decay_steps:,} decay",
        ),
        ("Schedule", f"{part.kind}, {decay}"),
        (
            "Optimizer",
            f"{optimizer.name}, betas {optimizer.beta1:g} and {optimizer.beta2:g}{eps}, clip "
            f"{optimizer.grad_clip:g}",
        ),
        (
            "Model",
            f"{shape.n_layers} layers of {shape.d_model:,}, {shape.n_heads} heads of "
            f"{shape.head_dim}, {shape.n_kv_heads} kv heads, d_ff {shape.d_ff:,}",
        ),
        (
            "Params",
            f"{counts.params:,}; {counts.total_params:,} with {tied} embeddings of "
            f"{shape.vocab_size:,} tokens",
        ),
        ("Parametrization", plan.parametrization.name),
    ]
    if plan.data is not None:
        data = plan.data
        words = f"{data.epochs:.3g} epochs of {format_count(data.unique_tokens)} unique tokens"
        if data.effective_tokens is not None:
            words += f", worth {format_count(data.effective_tokens)} fresh ones"
        rows.append(("Data", words))
    rows += compute_rows(plan)
    for anchor in plan.anchors:
        size = f"{format_count(anchor.params)} params, {format_count(anchor.tokens)} tokens"
        rows.append(("Anchor", f"{size}: lr {format_small(anchor.lr)}"))
    return Table(caption="The run.", head=("", "Planned"), rows=tuple(rows))


def compute_rows(plan: Plan) -> list[tuple[str, str]]:
    """Layout, time and memory where the plan has accelerators."""
    compute = plan.compute
    if compute is None:
        return []
    memory = compute.memory_bytes
    total = memory.weights + memory.gradients + memory.optimizer + memory.activations
    rows = [
        (
            "Accelerators",
            f"{compute.gpus}: micro batch {compute.micro_batch_sequences}, accumulation "
            f"{compute.accumulation}, data parallel {compute.data_parallel}",
        ),
        ("Memory of each", f"{total / 1e9:.3g} GB"),
    ]
    if compute.hours is not None:
        around = (
            ""
            if compute.hours_low is None or compute.hours_high is None
            else f" ({format_small(compute.hours_low)} to {format_small(compute.hours_high)})"
        )
        rows.append(("Time", f"{format_small(compute.hours)} hours{around}"))
    return rows


def groups_table(plan: Plan) -> Table:
    """Parameter groups in absolute values."""
    return Table(
        caption="Parameter groups, in absolute values.",
        head=("Group", "Pattern", "Optimizer", "lr", "Weight decay", "Init std"),
        rows=tuple(
            (
                group.name,
                group.pattern,
                group.optimizer,
                format_small(group.lr),
                format_small(group.weight_decay),
                SILENT if group.init_std is None else format_small(group.init_std),
            )
            for group in plan.param_groups
        ),
        numeric=frozenset({3, 4, 5}),
    )


def error_cost_table(cost: ErrorCost) -> Table:
    """What half and twice the plan's lr and batch cost."""

    def row(name: str, part: HalfDouble) -> tuple[str, str, str]:
        return name, percent(part.half), percent(part.double)

    return Table(
        caption="What a factor of two costs, the other number as planned, in percent of the loss.",
        head=("", "Half", "Twice"),
        rows=(row("Peak lr", cost.lr), row("Batch", cost.batch_tokens)),
        numeric=frozenset({1, 2}),
    )


def alternatives_table(plan: Plan) -> Table:
    """What other laws say of the target."""
    return Table(
        caption="Other laws of the same optimizer and parametrization at the plan's target.",
        head=("Law", "Peak lr", "Batch, tokens", "Weight decay", "Loss"),
        rows=tuple(
            (
                found.law,
                said(found.lr, format_small),
                said(found.batch_tokens, format_count),
                said(found.weight_decay, format_small),
                said(found.loss, format_small),
            )
            for found in plan.alternatives
        ),
        numeric=frozenset({1, 2, 3, 4}),
    )


def nearest_table(plan: Plan) -> Table:
    """Published runs near the target."""
    return Table(
        caption="The nearest published runs; their numbers are choices, not optima.",
        head=("Run", "Params", "Tokens", "Peak lr", "Batch, tokens"),
        rows=tuple(
            (
                run.run,
                format_count(run.params),
                format_count(run.tokens),
                format_small(run.lr),
                said(run.batch_tokens, format_count),
            )
            for run in plan.nearest
        ),
        numeric=frozenset({1, 2, 3, 4}),
    )


def said(value: float | None, show: Callable[[float], str]) -> str:
    """A number, or a dash where a law is silent."""
    return SILENT if value is None else show(value)


def percent(share: float) -> str:
    """A share of the loss in percent, with its sign."""
    return f"{100 * share:+.2f}%"


def laws_table(laws: Mapping[str, Quantity]) -> Table:
    """Coefficients of each law with one standard error where it is known."""
    rows = []
    for name, law in laws.items():
        matrix = law.covariance
        names = [] if matrix is None else matrix.names
        for key, value in law.coefficients.items():
            error = ""
            if matrix is not None and key in names:
                place = names.index(key)
                error = f"{math.sqrt(max(matrix.matrix[place][place], 0.0)):.2g}"
            rows.append((name.replace("_", " "), law.form, key, f"{value:.6g}", error))
    return Table(
        caption="± is one standard error.",
        folded="Every coefficient",
        head=("Law", "Form", "Coefficient", "Value", "±"),
        rows=tuple(rows),
        numeric=frozenset({3, 4}),
    )


def audit_table(audits: tuple[Audit, ...]) -> Table:
    """Each cell left out: what was foretold of it and whether the intervals held."""
    verdicts = {True: "held", False: "missed", None: "not judged"}

    def error(value: float | None, verdict: str) -> str:
        return SILENT if value is None else f"{100 * math.expm1(value):+.1f}%, {verdict}"

    return Table(
        caption="Cells left out of the fit. Regret is the loss at the foretold lr and batch over "
        "the best measured; errors are foretold over measured, and whether the 80% interval held.",
        head=("Left out", "Params", "Tokens", "Regret", "lr", "Batch", "Loss"),
        rows=tuple(
            (
                audit.corner,
                format_count(cell.params),
                format_count(cell.tokens),
                percent(cell.regret),
                error(cell.log_lr_error, verdicts[cell.lr_held]),
                error(cell.log_batch_error, verdicts[cell.batch_held]),
                error(cell.log_loss_error, verdicts[cell.loss_held]),
            )
            for audit in audits
            for cell in audit.cells
        ),
        numeric=frozenset({1, 2, 3, 4, 5, 6}),
    )


def provenance_tables(found: Evidence, digests: Mapping[str, str]) -> tuple[Table, ...]:
    """Law files behind the plan, files behind the page.

    Args:
        found: everything the page is made of.
        digests: sha256 of each file read.
    """
    tables = [
        Table(
            caption="Files that this page was made from.",
            head=("File", "sha256"),
            rows=tuple(digests.items()),
        )
    ]
    if found.plan is not None:
        shipped = {name: law.sha256 for name, law in found.book.items()}
        words = {True: "the same", False: "another"}
        rows = tuple(
            (
                name,
                sha256,
                words[shipped[name] == sha256] if name in shipped else "not at hand",
            )
            for name, sha256 in found.plan.provenance.laws.items()
        )
        tables.append(
            Table(
                caption="Law files behind the plan's numbers, and whether the one at hand now is "
                "the same.",
                head=("Law", "sha256", "At hand"),
                rows=rows,
            )
        )
    return tuple(tables)
