"""`plan proxy train`: one small run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fitting.errors import InputError
from fitting.units import format_count
from planner.cli.console import counting, emit, require_torch, say
from planner.cli.options import (
    AS_JSON,
    Counts,
    corpus,
    device,
    optimizer,
    option,
    parametrization,
    read_token_list,
    read_tokens,
    tokenizer,
)
from planner.cli.proxies.batch_options import TypedBatch, make_batching, schedule_steps, with_last
from planner.cli.proxies.coord_check import known_optimizer

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


_RUN = "Run"
_SHAPE = "Shape"
_BATCH = "Batch"
_DATA = "Data"
_MACHINE = "Machine"


def train(
    lr: float = option(_RUN, "--lr", "LR", "base peak learning rate", default=...),
    batch: int = option(
        _RUN,
        "--batch",
        "TOKENS",
        "batch in tokens, whole sequences: 4096",
        default=...,
        read=read_tokens,
    ),
    tokens: int = option(
        _RUN, "--tokens", "TOKENS", "tokens to train on: 400k, 2M", default=..., read=read_tokens
    ),
    out: Path = option(
        _RUN,
        "--out",
        "DIR",
        "runs.csv gains a row; curve and checkpoint in a folder a run",
        default=...,
    ),
    d_model: int = option(_SHAPE, "--d-model", "WIDTH", "width", default=128),
    layers: int = option(_SHAPE, "--layers", "COUNT", "layers", default=4),
    heads: int | None = option(_SHAPE, "--heads", "COUNT", "query heads; default: heads of 32"),
    kv_heads: int | None = option(
        _SHAPE, "--kv-heads", "COUNT", "key and value heads; default: as many"
    ),
    d_ff: int | None = option(
        _SHAPE, "--d-ff", "WIDTH", "inner width of the MLP; default 8/3 d-model"
    ),
    seq_len: int = option(_RUN, "--seq-len", "TOKENS", "tokens a sequence", default=256),
    vocab: int | None = option(
        _SHAPE, "--vocab", "COUNT", "rows of the embedding; default: the corpus's"
    ),
    tied: bool = option(_SHAPE, "--tied", None, "head is the embedding", default=False),
    qk_norm: bool = option(_SHAPE, "--qk-norm", None, "norm queries and keys", default=False),
    batching: str = option(
        _BATCH,
        "--batching",
        "KIND",
        "fixed, ramp, norm-test, adadagrad, noise-scale",
        default="fixed",
    ),
    max_batch: int | None = option(
        _BATCH, "--max-batch", "TOKENS", "most tokens of a batch that grows", read=read_tokens
    ),
    ramp_tokens: int | None = option(
        _BATCH,
        "--ramp-tokens",
        "TOKENS",
        "ramp: tokens until the batch is largest",
        read=read_tokens,
    ),
    theta: float | None = option(
        _BATCH, "--theta", "RATIO", "norm tests: noise over gradient borne; default 0.5"
    ),
    micro_batch: int | None = option(
        _BATCH, "--micro-batch", "SEQUENCES", "of one pass; default: the batch"
    ),
    noise_every: int | None = option(
        _BATCH, "--noise-every", "STEPS", "measure the gradient noise scale; needs --micro-batch"
    ),
    budgets: Counts | None = option(
        _RUN,
        "--budgets",
        "TOKENS,..",
        "wsd: also decay at these; the stable phase is shared",
        read=read_token_list,
    ),
    weight_decay: float = option(_RUN, "--weight-decay", "WD", "base weight decay", default=0.1),
    schedule: str = option(
        _RUN, "--schedule", "KIND", "wsd, linear, cosine, constant, inverse-sqrt", default="wsd"
    ),
    warmup_steps: int | None = option(
        _RUN,
        "--warmup-steps",
        "STEPS",
        "warmup; default: 10% under mup, else min(2,000, 10%), at least 1%",
    ),
    optimizer: str = optimizer(_RUN),
    parametrization: str = parametrization(_RUN),
    base_width: int | None = option(_RUN, "--base-width", "WIDTH", "base d_model; default 256"),
    base_layers: int | None = option(
        _RUN, "--base-layers", "COUNT", "base depth of completep, which needs it"
    ),
    base_head_dim: int | None = option(
        _RUN, "--base-head-dim", "WIDTH", "base head dim of mup; default: the model's"
    ),
    init_std: float | None = option(
        _RUN,
        "--init-std",
        "STD",
        "base std of the weights; default: 0.08 under mup with adamw, else 0.02",
    ),
    head_init_std: float | None = option(
        _RUN, "--head-init-std", "STD", "that of the output head; default: --init-std"
    ),
    embedding_multiplier: float | None = option(
        _RUN,
        "--embedding-multiplier",
        "FACTOR",
        "on the embedding; default: 10 under mup with adamw, else 1",
    ),
    decay_rule: str = option(
        _RUN,
        "--decay-rule",
        "RULE",
        "weight decay over width: coupled, layerwise",
        default="coupled",
    ),
    corpus: str = corpus(_DATA),
    tokenizer: str = tokenizer(_DATA),
    epochs: int = option(_DATA, "--epochs", "COUNT", "times a token may come", default=1),
    seed: int = option(_RUN, "--seed", "SEED", "of weights and data order", default=0),
    z_loss: float = option(_RUN, "--z-loss", "WEIGHT", "of the squared log-partition", default=0.0),
    dtype: str = option(_MACHINE, "--dtype", "TYPE", "float32 or bfloat16", default="float32"),
    compiled: bool = option(_MACHINE, "--compile", None, "through torch.compile", default=False),
    device: str = device(_MACHINE),
    probes: str | None = option(
        _RUN, "--probes", "NAME,...", "columns to measure at the end, or all; default: none"
    ),
    as_json: bool = AS_JSON,
) -> None:
    """Train one small model and add it to a runs table.

    Prints its held-out loss and where its files are. The same command again goes on from the last
    checkpoint of a killed run, a minute old at most.
    """
    require_torch()
    from proxies.checks.probes import choose_probes
    from proxies.corpus import open_corpus
    from proxies.run.groups import base_settings
    from proxies.run.options import TrainOptions
    from proxies.run.parametrization import (
        OPTIMIZERS,
        make_parametrization,
        with_embedding_multiplier,
    )
    from proxies.run.schedule import make_schedule
    from proxies.run.spec import RunSpec

    chosen = choose_probes(probes.split(",") if probes else [])
    optimizer = known_optimizer(optimizer)
    found = open_corpus(corpus, tokenizer=tokenizer, progress=say)
    shape = _make_shape(
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
    base = base_settings(parametrization, optimizer=optimizer)
    rule = with_embedding_multiplier(
        rule, base.embedding_multiplier if embedding_multiplier is None else embedding_multiplier
    )
    typed = TypedBatch(
        batch=batch,
        batching=batching,
        max_batch=max_batch,
        ramp_tokens=ramp_tokens,
        theta=theta,
    )
    growth = make_batching(typed, seq_len=seq_len, tokens=tokens)
    steps = schedule_steps(growth, tokens=tokens, seq_len=seq_len)
    if warmup_steps is None and base.warmup_fraction is not None:
        warmup_steps = max(1, round(base.warmup_fraction * steps))
    spec = RunSpec(
        shape=shape,
        seq_len=seq_len,
        parametrization=rule,
        optimizer=OPTIMIZERS[optimizer],
        lr=lr,
        weight_decay=weight_decay,
        schedule=make_schedule(schedule, steps=steps, warmup_steps=warmup_steps),
        batching=growth,
        tokens=tokens,
        decay_rule=decay_rule,
        init_std=base.init_std if init_std is None else init_std,
        head_init_std=head_init_std,
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
    rows = _run(
        spec,
        found,
        budgets=with_last(budgets, tokens=tokens),
        out=out,
        device=device,
        probes=chosen,
    )
    plain = [row for _, row in rows]
    text = "\n\n".join(_say_result(result, row, out=out) for result, row in rows)
    emit(plain if budgets else plain[0], text, as_json=as_json)


def _run(
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


def _make_shape(
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


def _say_result(result: RunResult, row: dict[str, Any], *, out: Path) -> str:
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
