"""`plan` itself: the plan for a target."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fitting.errors import InputError
from planner.cli import options as given
from planner.cli.commands import LazyGroup
from planner.cli.plan.asked import read_request
from planner.cli.plan.table import show_plan
from planner.plan.draft import draft_plan
from planner.plan.make import VERSION, finish_plan

if TYPE_CHECKING:
    from planner.plan.arithmetic import Topic

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
    request, book, command, before = read_request(context)
    draft = draft_plan(request, book)
    made = finish_plan(draft, command=command)
    if export is not None:
        from planner.cli.trainers.export import write_export

        write_export(made, export, out, lossy=lossy, force=force)
    elif out is not None or lossy or force:
        raise InputError(
            "-o, --lossy and --force: belong to --export TRAINER; add it or leave them out"
        )
    topics: list[Topic] = []
    if explain:
        from planner.plan.arithmetic import explain_plan

        topics = explain_plan(draft)
    show_plan(made, topics, as_json=as_json)
    if before is not None and not as_json:
        from planner.review.diff import compare_plans
        from planner.review.diff_text import difference_lines

        print("\nmoved from the plan given")
        for line in difference_lines(compare_plans(before, made, book)):
            print(f"  {line}".rstrip())
