"""`plan proxy train`: one small run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fitting.errors import InputError
from fitting.units import format_count
from planner.cli.console import counting
from planner.cli.proxies.batch_options import (
    TypedBatch,
    read_batching,
    read_budgets,
    schedule_steps,
    whole_tokens,
)
from planner.cli.proxies.coord_check import known_optimizer
from planner.cli.torch_extra import require_torch

if TYPE_CHECKING:
    from proxies.corpus import Corpus
    from proxies.run.result import CurvePoint, RunResult
    from proxies.run.shape import Shape
    from proxies.run.spec import RunSpec

HEAD_DIM = 32
"""Features a head where --heads is not given. *Assumed*: small models want several heads."""

EXAMPLES = """Examples:

plan proxy train --lr 0.004 --batch 4096 --tokens 400k --corpus my-texts/ --out runs

plan proxy train --lr 0.004 --batch 4096 --tokens 400k --budgets 100k,200k --out runs

plan proxy train --lr 0.004 --batch 4096 --tokens 400k --d-model 256 --parametrization mup
 --base-width 128 --probes all --out runs"""


def option(metavar: str | None, meaning: str, *names: str, panel: str = "Run") -> Any:
    """One option: its unit as the metavar, its meaning with the default."""
    return typer.Option(*names, metavar=metavar, help=meaning, rich_help_panel=panel)


def train(
    lr: Annotated[float, option("LR", "base peak learning rate")],
    batch: Annotated[str, option("TOKENS", "batch in tokens, whole sequences: 4096")],
    tokens: Annotated[str, option("TOKENS", "tokens to train on: 400k, 2M")],
    out: Annotated[
        Path, option("DIR", "runs.csv gains a row; curve and checkpoint in a folder a run")
    ],
    d_model: Annotated[int, option("WIDTH", "width; default 128", panel="Shape")] = 128,
    layers: Annotated[int, option("COUNT", "layers; default 4", panel="Shape")] = 4,
    heads: Annotated[
        int | None, option("COUNT", "query heads; default: heads of 32", panel="Shape")
    ] = None,
    kv_heads: Annotated[
        int | None, option("COUNT", "key and value heads; default: as many", panel="Shape")
    ] = None,
    d_ff: Annotated[
        int | None, option("WIDTH", "inner width of the MLP; default 8/3 d-model", panel="Shape")
    ] = None,
    seq_len: Annotated[int, option("TOKENS", "tokens a sequence; default 256")] = 256,
    vocab: Annotated[
        int | None, option("COUNT", "rows of the embedding; default: the corpus's", panel="Shape")
    ] = None,
    tied: Annotated[bool, option(None, "head is the embedding", "--tied", panel="Shape")] = False,
    qk_norm: Annotated[
        bool, option(None, "norm queries and keys", "--qk-norm", panel="Shape")
    ] = False,
    batching: Annotated[
        str,
        option("KIND", "fixed (default), ramp, norm-test, adadagrad, noise-scale", panel="Batch"),
    ] = "fixed",
    max_batch: Annotated[
        str | None, option("TOKENS", "most tokens of a batch that grows", panel="Batch")
    ] = None,
    ramp_tokens: Annotated[
        str | None, option("TOKENS", "ramp: tokens until the batch is largest", panel="Batch")
    ] = None,
    theta: Annotated[
        float | None,
        option("RATIO", "norm tests: noise over gradient borne; default 0.5", panel="Batch"),
    ] = None,
    micro_batch: Annotated[
        int | None, option("SEQUENCES", "of one pass; default: the batch", panel="Batch")
    ] = None,
    noise_every: Annotated[
        int | None,
        option("STEPS", "measure the gradient noise scale; needs --micro-batch", panel="Batch"),
    ] = None,
    budgets: Annotated[
        str | None,
        option("TOKENS,..", "wsd: also decay at these; the stable phase is shared"),
    ] = None,
    weight_decay: Annotated[float, option("WD", "base weight decay; default 0.1")] = 0.1,
    schedule: Annotated[
        str, option("KIND", "wsd (default), linear, cosine, constant, inverse-sqrt")
    ] = "wsd",
    warmup_steps: Annotated[
        int | None, option("STEPS", "warmup; default: min(2,000, 10%), at least 1%")
    ] = None,
    optimizer: Annotated[str, option("NAME", "adamw (default), lion, muon")] = "adamw",
    parametrization: Annotated[str, option("NAME", "sp (default), mup, completep")] = "sp",
    base_width: Annotated[int | None, option("WIDTH", "base d_model; default 256")] = None,
    base_layers: Annotated[
        int | None, option("COUNT", "base depth of completep; default: --layers")
    ] = None,
    base_head_dim: Annotated[
        int | None, option("WIDTH", "base head dim of mup; default: the model's")
    ] = None,
    decay_rule: Annotated[
        str, option("RULE", "weight decay over width: coupled (default), layerwise")
    ] = "coupled",
    corpus: Annotated[
        str,
        option(
            "NAME",
            "python (default), a .txt, .jsonl or .parquet file, a folder of them, hf:NAME, zipf:",
            panel="Data",
        ),
    ] = "python",
    tokenizer: Annotated[
        str, option("NAME", "bytes (default) or bpe:SIZE", panel="Data")
    ] = "bytes",
    epochs: Annotated[int, option("COUNT", "times a token may come; default 1", panel="Data")] = 1,
    seed: Annotated[int, option("SEED", "of weights and data order; default 0")] = 0,
    z_loss: Annotated[float, option("WEIGHT", "of the squared log-partition; default 0")] = 0.0,
    dtype: Annotated[
        str, option("TYPE", "float32 (default) or bfloat16", panel="Machine")
    ] = "float32",
    compiled: Annotated[
        bool, option(None, "through torch.compile", "--compile", panel="Machine")
    ] = False,
    device: Annotated[str, option("NAME", "cpu (default), cuda, cuda:N", panel="Machine")] = "cpu",
    probes: Annotated[
        str | None, option("NAME,...", "columns to measure at the end, or all; default: none")
    ] = None,
    as_json: Annotated[bool, option(None, "print the row as JSON", "--json", panel="Output")] = (
        False
    ),
) -> None:
    """Train one small model and add it to a runs table.

    Prints its held-out loss and where its files are. The same command again goes on from the last
    checkpoint of a killed run, a minute old at most.
    """
    require_torch()
    from proxies.checks.probes import choose_probes
    from proxies.corpus import open_corpus
    from proxies.run.options import TrainOptions
    from proxies.run.parametrization import OPTIMIZERS, make_parametrization
    from proxies.run.schedule import make_schedule
    from proxies.run.spec import RunSpec

    chosen = choose_probes(probes.split(",") if probes else [])
    optimizer = known_optimizer(optimizer)
    found = open_corpus(corpus, tokenizer=tokenizer, progress=say)
    shape = make_shape(
        d_model=d_model,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        d_ff=d_ff,
        vocab=found.vocab_size if vocab is None else vocab,
        parts=(tied, "per-head" if qk_norm else "none"),
    )
    rule = make_parametrization(
        parametrization,
        d_model=shape.d_model,
        n_layers=shape.n_layers,
        head_dim=shape.head_dim,
        base_d_model=base_width,
        base_n_layers=base_layers,
        base_head_dim=base_head_dim,
    )
    count = whole_tokens(tokens, "--tokens")
    typed = TypedBatch(
        batch=batch,
        batching=batching,
        max_batch=max_batch,
        ramp_tokens=ramp_tokens,
        theta=theta,
    )
    growth = read_batching(typed, seq_len=seq_len, tokens=count)
    steps = schedule_steps(growth, tokens=count, seq_len=seq_len)
    spec = RunSpec(
        shape=shape,
        seq_len=seq_len,
        parametrization=rule,
        optimizer=OPTIMIZERS[optimizer],
        lr=lr,
        weight_decay=weight_decay,
        schedule=make_schedule(schedule, steps=steps, warmup_steps=warmup_steps),
        batching=growth,
        tokens=count,
        decay_rule=decay_rule,
        z_loss=z_loss,
        options=TrainOptions(
            seed=seed,
            epochs=epochs,
            micro_batch_sequences=micro_batch,
            noise_interval=noise_every,
            dtype=dtype,
            compile=compiled,
        ),
    )
    rows = run(
        spec,
        found,
        budgets=read_budgets(budgets, tokens=count),
        out=out,
        device=device,
        probes=chosen,
    )
    if as_json:
        clean = [{k: None if v != v else v for k, v in row.items()} for _, row in rows]
        print(json.dumps(clean if budgets else clean[0], indent=1))
    else:
        print("\n\n".join(say_result(result, row, out=out) for result, row in rows))


def run(
    spec: RunSpec,
    corpus: Corpus,
    *,
    budgets: list[int],
    out: Path,
    device: str,
    probes: list[Any],
) -> list[tuple[RunResult, dict[str, Any]]]:
    """Train with a bar on stderr; each result's row is in `out`/runs.csv afterwards."""
    from proxies.run.result import runs_row
    from proxies.train.branches import branch_specs, train_branches
    from proxies.train.folder import add_run, name_run
    from proxies.train.loop import train_run

    folder = out / name_run(spec, corpus_fingerprint=corpus.fingerprint)
    decays = [each.schedule.decay_steps for each in branch_specs(spec, budgets)] if budgets else []
    branched = sum(decays[:-1]) * spec.batching.sequences * spec.seq_len
    with counting("tokens", spec.total_tokens + branched) as advance:
        seen = 0

        def on_step(point: CurvePoint) -> bool:
            nonlocal seen
            if not seen and point.step > 1:
                say(f"goes on after step {point.step - 1:,} of {spec.schedule.steps:,}")
            # What was done before a kill counts at once.
            advance(point.batch_tokens if seen else point.tokens, f"loss {point.loss:.3f}")
            seen = point.tokens
            return True

        if budgets:
            results = train_branches(
                spec,
                corpus,
                budgets,
                directory=folder,
                device=device,
                probes=probes,
                on_step=on_step,
            )
        else:
            results = [
                train_run(
                    spec, corpus, directory=folder, device=device, probes=probes, on_step=on_step
                )
            ]
    if not seen:
        say("was trained before: measured again, not trained again")
    rows: list[tuple[RunResult, dict[str, Any]]] = []
    for result in results:
        name = name_run(result.spec, corpus_fingerprint=corpus.fingerprint)
        rows.append((result, {"run_id": name, **runs_row(result)}))
        add_run(rows[-1][1], out / "runs.csv")
    return rows


def make_shape(
    *,
    d_model: int,
    layers: int,
    heads: int | None,
    kv_heads: int | None,
    d_ff: int | None,
    vocab: int,
    parts: tuple[bool, str],
) -> Shape:
    """The model's shape; `parts` are tied embeddings and the norm of queries and keys.

    Raises:
        InputError: heads that do not divide the width, or what no shape can be.
    """
    from proxies.run.shape import Shape, check_shape, check_size

    check_size(d_model, where="--d-model")
    count = d_model // HEAD_DIM if heads is None else heads
    if count < 1 or d_model % count or (heads is None and d_model % HEAD_DIM):
        said = f"heads of {HEAD_DIM}" if heads is None else f"{heads} heads"
        raise InputError(f"--d-model {d_model}: is no multiple of {said}; give --heads")
    shape = Shape(
        d_model=d_model,
        n_layers=layers,
        n_heads=count,
        n_kv_heads=count if kv_heads is None else kv_heads,
        head_dim=d_model // count,
        d_ff=d_model * 8 // 3 if d_ff is None else d_ff,
        vocab_size=vocab,
        tied_embeddings=parts[0],
        qk_norm=parts[1],
    )
    check_shape(shape)
    return shape


def say(message: str) -> None:
    """Tell what is being done, on stderr."""
    print(f"plan: {message}", file=sys.stderr)


def say_result(result: RunResult, row: dict[str, Any], *, out: Path) -> str:
    """The result as lines of name and value."""
    lines = [("run", row["run_id"]), ("status", result.status)]
    if result.status == "finished":
        lines.append(("loss", f"{result.loss:.4f} ± {result.loss_se:.4f} nats a token, held out"))
    if result.bits_per_byte is not None and result.status == "finished":
        lines.append(("bits per byte", f"{result.bits_per_byte:.4f}"))
    lines += [
        ("params", f"{format_count(row['params'])} non-embedding"),
        ("tokens", f"{result.tokens:,} in {len(result.curve):,} steps"),
        ("seconds", f"{result.seconds:.1f}"),
        ("corpus", f"{result.corpus} ({result.corpus_fingerprint[:12]})"),
        *((name, f"{value:.4g}") for name, value in result.probes.items()),
        ("written", f"a row of {out / 'runs.csv'}, and {out / row['run_id'] / 'curve.csv'}"),
    ]
    return "\n".join(f"{name:20} {value}" for name, value in lines)
