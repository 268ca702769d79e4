"""OLMo-core: a module with its config objects: `model`, `train_module`, `data_loader`, `duration`.

Its scheduler is asked after the step counter was raised: s = k + 1, so the last step has the
final lr. WSD and WSDS decay linearly, a stage of `ComposableScheduler` linearly or by a cosine;
1-sqrt does not exist. WSDS has one decay for all its periods, in steps or as a fraction of each
that is rounded. `decay_fraction` has a default and excludes `decay`, so it is set to None. Batches
are in tokens.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fitting.errors import InputError
from planner.trainers.files import Files
from planner.trainers.python_source import parse, read_calls, read_constants
from planner.trainers.supported.olmo_core.schedule import (
    GROWTH_IMPORTS,
    cannot_grow,
    common_decay,
    ends_of,
    growth_source,
    only_call,
    read_growth,
    read_schedule,
    scheduler_source,
)
from planner.trainers.trainer import (
    Loss,
    Nearest,
    Trainer,
    check_inverse_sqrt,
    describe_schedule,
)
from planner.trainers.values import as_float, as_int
from proxies.run.layout import Layout
from proxies.run.parametrization import Optimizer
from proxies.run.schedule import Checkpoint, make_schedule
from proxies.run.shape import Shape
from proxies.run.spec import RunSpec, make_run

OPTIMIZERS = {"adamw": "AdamWConfig", "lion": "LionConfig"}

TEMPLATE = """
from olmo_core.data import NumpyDataLoaderConfig
from olmo_core.nn.feed_forward import FeedForwardConfig
from olmo_core.nn.transformer import TransformerConfig
from olmo_core.optim import {optimizer}, OptimGroupOverride
from olmo_core.optim.scheduler import {imports}{growth_imports}
from olmo_core.train import Duration
from olmo_core.train.train_module import TransformerTrainModuleConfig

SEQ_LEN = {seq_len}
MICRO_BATCH = {micro_batch}  # sequences a rank
DATA_PARALLEL = {data_parallel}  # ranks that the accumulation was planned for

model = TransformerConfig.llama_like(
    d_model={d_model},
    n_layers={n_layers},
    n_heads={n_heads},
    n_kv_heads={n_kv_heads},
    head_dim={head_dim},
    vocab_size={vocab_size},
    feed_forward=FeedForwardConfig(hidden_size={d_ff}, bias=False),
    qk_norm={qk_norm},
    use_head_qk_norm={use_head_qk_norm},
    layer_norm_eps={norm_eps},
    rope_theta={rope_theta},
    tie_word_embeddings={tied},
    init_std={init_std},
)

train_module = TransformerTrainModuleConfig(
    rank_microbatch_size=MICRO_BATCH * SEQ_LEN,
    max_sequence_length=SEQ_LEN,
    optim={optimizer}(
        lr={lr},
        weight_decay={weight_decay},
        betas={betas},{eps}
        group_overrides=[OptimGroupOverride(params=["*norm.weight"], opts={{"weight_decay": 0.0}})],
    ),
    max_grad_norm={grad_clip},
    z_loss_multiplier={z_loss},
    scheduler={scheduler},
)

# Add your dataset; the batch is in tokens.
data_loader = NumpyDataLoaderConfig(global_batch_size={first_batch} * SEQ_LEN, seed=0)

GLOBAL_BATCH = {batch}  # sequences
STEPS = {steps}
duration = {duration}
"""


def write(run: RunSpec, head: list[str]) -> Files:
    """The module's text."""
    shape, part = run.shape, run.optimizer
    scheduler, imports = scheduler_source(run)
    first = next(iter(run.growth), None)
    text = TEMPLATE.format(
        optimizer=OPTIMIZERS[part.name],
        imports=imports,
        seq_len=run.seq_len,
        micro_batch=run.layout.micro_batch_sequences,
        data_parallel=run.layout.data,
        d_model=shape.d_model,
        n_layers=shape.n_layers,
        n_heads=shape.n_heads,
        n_kv_heads=shape.n_kv_heads,
        head_dim=shape.head_dim,
        vocab_size=shape.vocab_size,
        d_ff=shape.d_ff,
        qk_norm=shape.qk_norm != "none",
        use_head_qk_norm=shape.qk_norm == "per-head",
        norm_eps=shape.norm_eps,
        rope_theta=int(shape.rope_theta),
        tied=shape.tied_embeddings,
        init_std=run.init_std,
        lr=run.lr * (1.0 if first is None else first.lr_factor),
        weight_decay=run.weight_decay,
        betas=(part.beta1, part.beta2),
        eps="" if part.eps is None else f"\n        eps={part.eps},",
        grad_clip=part.grad_clip,
        z_loss=run.z_loss or None,
        scheduler=scheduler,
        batch=run.batch_sequences,
        first_batch=run.batch_sequences if first is None else first.batch_sequences,
        steps=run.schedule.steps,
        duration="Duration.steps(STEPS)"
        if first is None
        else "Duration.tokens(STEPS * GLOBAL_BATCH * SEQ_LEN)",
        growth_imports="" if first is None else GROWTH_IMPORTS,
    )
    comments = "".join(f"# {line}\n" for line in head)
    return {"": comments + text + growth_source(run)}


def adjust(run: RunSpec) -> Nearest:
    """One decay for all periods of WSD-S, and a rotary base that is a whole number."""
    run, found = check_inverse_sqrt(run)
    lost = list(found)
    shape, schedule = run.shape, run.schedule
    if shape.rope_theta != int(shape.rope_theta):
        theta = float(round(shape.rope_theta))
        lost.append(Loss("rope_theta", f"{shape.rope_theta}", f"{theta:g}"))
        shape = replace(shape, rope_theta=theta)
    if schedule.kind == "wsd-s" and common_decay(schedule) == (None, None):
        shortest = min(point.decay_steps or 1 for point in schedule.checkpoints)
        even = make_schedule(
            "wsd-s",
            steps=schedule.steps,
            warmup_steps=schedule.warmup_steps,
            decay_shape=schedule.decay_shape,
            final_lr_fraction=schedule.final_lr_fraction,
            checkpoints=[Checkpoint(step, shortest) for step in ends_of(schedule)],
        )
        lost.append(Loss("schedule", describe_schedule(schedule), describe_schedule(even)))
        schedule = even
    return replace(run, shape=shape, schedule=schedule), tuple(lost)


def read(files: Files) -> RunSpec:
    """The run of an exported module.

    Raises:
        InputError: a constant or a call is missing, as in a config that was not exported.
    """
    tree = parse(files[""], "olmo_core")
    found = read_constants(tree)
    model = only_call(tree, "TransformerConfig.llama_like")
    module = only_call(tree, "TransformerTrainModuleConfig")
    name = next((key for key, word in OPTIMIZERS.items() if read_calls(tree, word)), None)
    if name is None:
        raise InputError(f"olmo_core: none of {', '.join(OPTIMIZERS.values())} in the module")
    optim = only_call(tree, OPTIMIZERS[name])
    batch, micro = as_int(found, "GLOBAL_BATCH"), as_int(found, "MICRO_BATCH")
    devices = as_int(found, "DATA_PARALLEL")
    beta1, beta2 = optim.get("betas", (0.9, 0.999))
    growth = read_growth(found, batch, beta2=beta2)
    lr = as_float(optim, "lr") / (growth[0].lr_factor if growth else 1.0)
    seq_len = as_int(found, "SEQ_LEN")
    d_ff = as_int(only_call(tree, "FeedForwardConfig"), "hidden_size")
    shape = read_shape(model, d_ff)
    return make_run(
        shape=shape,
        seq_len=seq_len,
        batch_sequences=batch,
        schedule=read_schedule(
            tree, lr, as_int(found, "STEPS"), unit=batch * seq_len if growth else 1
        ),
        lr=lr,
        weight_decay=as_float(optim, "weight_decay"),
        optimizer=Optimizer(
            name=name,
            beta1=beta1,
            beta2=beta2,
            eps=as_float(optim, "eps", 1e-8) if name == "adamw" else None,
            grad_clip=as_float(module, "max_grad_norm"),
        ),
        z_loss=as_float(module, "z_loss_multiplier", 0.0),
        layout=Layout(
            micro_batch_sequences=micro,
            data=devices,
        ),
        growth=growth,
        init_std=as_float(model, "init_std", 0.02),
    )


def read_shape(model: dict[str, Any], d_ff: int) -> Shape:
    """The shape of a `llama_like` model, with its own defaults."""
    d_model, heads = as_int(model, "d_model"), as_int(model, "n_heads")
    normed = "per-head" if model.get("use_head_qk_norm") else "full-width"
    return Shape(
        d_model=d_model,
        n_layers=as_int(model, "n_layers"),
        n_heads=heads,
        n_kv_heads=as_int(model, "n_kv_heads", heads),
        head_dim=as_int(model, "head_dim", d_model // heads),
        d_ff=d_ff,
        vocab_size=as_int(model, "vocab_size"),
        tied_embeddings=bool(model.get("tie_word_embeddings")),
        norm_eps=as_float(model, "layer_norm_eps", 1e-5),
        rope_theta=as_float(model, "rope_theta", 500_000.0),
        qk_norm=normed if model.get("qk_norm") else "none",
    )


def sample_point(_run: RunSpec, step: int) -> float:
    """s = k + 1: the counter is raised before the optimizer steps."""
    return float(step + 1)


TRAINER = Trainer(
    title="OLMo-core 3.0.0",
    output="a Python module",
    schedules={
        "wsd": ("linear", "cosine"),
        "wsd-s": ("linear",),
        "linear": ("linear",),
        "cosine": ("cosine",),
        "inverse-sqrt": ("inverse-sqrt",),
        "constant": (),
    },
    optimizers=("adamw", "lion"),
    parametrizations=("sp",),
    parts={
        "mlp": ("swiglu",),
        "norm": ("rmsnorm",),
        "biases": ("none",),
        "positions": ("rope",),
    },
    per_group="lr, weight decay, betas, eps; not init",
    mup="",
    batch_ramp="BatchSizeSchedulerCallback",
    write=write,
    read=read,
    sample_point=sample_point,
    adjust=adjust,
    cannot_grow=cannot_grow,
    growth_advice="--batch-growth noise-scale",
    z_loss=True,
)
