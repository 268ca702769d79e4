"""`plan` itself: the plan for a target."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fitting.errors import InputError
from planner.cli import options as given
from planner.cli.commands import LazyGroup
from planner.cli.plan.table import show_plan
from planner.plan.make import VERSION, prepare
from planner.request.budget import Budget
from planner.request.choices import Choices, Pins
from planner.request.growth import read_growth
from planner.request.request import Request, Typed, optional_count, read_request
from proxies.run.experts import read_experts

if TYPE_CHECKING:
    from planner.facts.anchor import Anchor
    from planner.request.budget import BudgetPart

EXAMPLES = """Examples:

plan --params 1B --tokens 20B

plan --model llama-3.2-1b --tokens 100B --batch 1M --gpus 8xH100 --explain

plan --params 1B --tokens 20B --anchor "params=134M tokens=2.7B lr=8e-3 batch=0.5M" """

app = typer.Typer(
    cls=LazyGroup,
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog=EXAMPLES,
)


@app.callback()
def plan(
    context: typer.Context,
    params: str | None = given.PARAMS,
    tokens: str | None = given.TOKENS,
    flops: str | None = given.FLOPS,
    tokens_per_param: str | None = given.RATIO,
    model: str | None = given.MODEL,
    d_model: int | None = given.D_MODEL,
    layers: int | None = given.LAYERS,
    heads: int | None = given.HEADS,
    kv_heads: int | None = given.KV_HEADS,
    d_ff: int | None = given.D_FF,
    experts: int | None = given.EXPERTS,
    active: int | None = given.ACTIVE,
    seq_len: int | None = given.SEQ_LEN,
    vocab: int | None = given.VOCAB,
    tied: bool = given.TIED,
    law: str | None = given.LAW,
    laws: list[Path] | None = given.LAW_FILES,
    anchor: list[str] | None = given.ANCHORS,
    batch: str | None = given.BATCH,
    lr: float | None = given.LR,
    weight_decay: float | None = given.WEIGHT_DECAY,
    steps: int | None = given.STEPS,
    warmup: int | None = given.WARMUP,
    optimizer: str = given.OPTIMIZER,
    parametrization: str = given.PARAMETRIZATION,
    base_width: int | None = given.BASE_WIDTH,
    base_layers: int | None = given.BASE_LAYERS,
    base_head_dim: int | None = given.BASE_HEAD_DIM,
    schedule: str | None = given.SCHEDULE,
    curve: Path | None = given.CURVE,
    checkpoints: str | None = given.CHECKPOINTS,
    round_batch: str = given.ROUND_BATCH,
    unique_tokens: str | None = given.UNIQUE_TOKENS,
    batch_growth: str | None = given.BATCH_GROWTH,
    gpus: str | None = given.GPUS,
    from_plan: Path | None = given.FROM,
    days: float | None = given.DAYS,
    cost: float | None = given.COST,
    price: float | None = given.PRICE,
    inference_tokens: str | None = given.INFERENCE_TOKENS,
    max_params: str | None = given.MAX_PARAMS,
    max_tokens: str | None = given.MAX_TOKENS,
    as_json: bool = given.JSON,
    explain: bool = given.EXPLAIN,
    export: str | None = given.EXPORT,
    out: Path | None = given.OUT,
    lossy: bool = given.LOSSY,
    force: bool = given.FORCE,
    version: bool = given.VERSION,
) -> None:
    """Plan a pretraining run: peak lr, batch, weight decay, schedule, shape, loss.

    Prints the plan on stdout and its warnings on stderr; writes a file only with --export.
    The 80% interval holds in the setup that the law was measured in, elsewhere in any other.
    """
    if context.invoked_subcommand is not None:
        return
    if version:
        print(f"windtunnel {VERSION}")
        return
    if from_plan is not None:
        from planner.cli.plan.again import context_again

        context = context_again(context, from_plan)
        return plan(context, **context.params)
    typed = Typed(
        params=params,
        tokens=tokens,
        flops=flops,
        tokens_per_param=tokens_per_param,
        model=model,
        d_model=d_model,
        n_layers=layers,
        n_heads=heads,
        n_kv_heads=kv_heads,
        d_ff=d_ff,
        experts=read_experts(experts, active),
        seq_len=seq_len,
        vocab_size=vocab,
        tied=tied,
        schedule=schedule,
        checkpoints=checkpoints,
        law=law,
    )
    pins = Pins(
        lr=lr,
        batch_tokens=optional_count(batch, "--batch"),
        weight_decay=weight_decay,
        steps=steps,
        warmup_steps=warmup,
    )
    budget = Budget(
        days=days,
        cost=cost,
        price=price,
        inference_tokens=optional_count(inference_tokens, "--inference-tokens"),
        max_params=optional_count(max_params, "--max-params"),
        max_tokens=optional_count(max_tokens, "--max-tokens"),
    )

    def choose(request: Request) -> Choices:
        return Choices(
            pins=pins,
            law=law,
            round_batch=round_batch,
            optimizer=optimizer,
            parametrization=parametrization,
            base_d_model=base_width,
            base_n_layers=base_layers,
            base_head_dim=base_head_dim,
            schedule=request.schedule,
            curve=curve,
            checkpoint_tokens=request.checkpoint_tokens,
            gpus=gpus,
            experts=typed.experts,
            price=price,
            unique_tokens=optional_count(unique_tokens, "--unique-tokens"),
            anchors=anchors_of(anchor, request.target.seq_len),
            batch_growth=None if batch_growth is None else read_growth(batch_growth),
        )

    typed, spent = settled(typed, budget, tuple(laws or ()), choose)
    request = read_request(typed, tuple(laws or ()))
    choices = replace(choose(request), budget=spent)
    prepared = prepare(
        request.target,
        request.chosen,
        choices,
        book=request.book,
        user_laws=request.user_laws,
        command=shlex.join(["plan", *context.obj.arguments]),
    )
    if export is not None:
        from planner.cli.trainers.export import write_export

        write_export(prepared.plan, export, out, lossy=lossy, force=force)
    elif out is not None or lossy or force:
        raise InputError(
            "-o, --lossy and --force: belong to --export TRAINER; add it or leave them out"
        )
    show_plan(prepared, as_json=as_json, explain=explain)
    if context.obj.before is not None and not as_json:
        from planner.cli.plan.again import show_moves

        show_moves(context.obj.before, prepared.plan)


def settled(
    typed: Typed, budget: Budget, law_files: tuple[Path, ...], choose: Callable[[Request], Choices]
) -> tuple[Typed, BudgetPart | None]:
    """What was typed, its target chosen by the budget where there is one."""
    if budget.is_empty:
        return typed, None
    from planner.cli.plan.budget import settle_budget

    return settle_budget(typed, budget, law_files, choose)


def anchors_of(texts: list[str] | None, seq_len: int) -> tuple[Anchor, ...]:
    """The anchors that were typed; their reader is loaded only where there are any."""
    if not texts:
        return ()
    from planner.request.anchor_text import read_anchors

    return read_anchors(texts, seq_len=seq_len)
