"""torchtitan: a module with a function `plan` that returns its `Trainer.Config`.

`torchrun -m torchtitan.train --module MODULE --config plan` loads it, where MODULE.py is on the
path. The model is torchtitan's Llama 3, or its Qwen 3 where queries and keys have norms.

Its scheduler samples s = k + 1 in the warmup and s = k in the decay, which it starts at
S + 1 - d ("virtual last step"). `decay_ratio` is rounded to steps; d / S gives d exactly. Groups
of parameters have lr, weight decay and eps of their own, but no multiplier on logits, attention
or residual branches exists, so muP and CompleteP are refused. DistMuon is not written: it needs
the compute layout of each matrix.
"""

from __future__ import annotations

from pprint import pformat
from typing import Any

from fitting.errors import InputError
from planner.trainers.files import Files
from planner.trainers.python_source import parse, read_calls, read_constants
from planner.trainers.trainer import Trainer
from planner.trainers.values import as_float, as_int
from proxies.run.layout import Layout
from proxies.run.parametrization import Optimizer
from proxies.run.schedule import Schedule, make_schedule
from proxies.run.shape import Shape
from proxies.run.spec import RunSpec, make_run

SHAPES = {"linear": "linear", "1-sqrt": "sqrt", "cosine": "cosine"}
"""Our decay shapes and its `decay_type`."""

MODELS = {"none": ("llama3", "Llama3", "llama"), "per-head": ("qwen3", "Qwen3", "qwen3")}
"""Module, class prefix and parallelize suffix of the model with each qk-norm."""

VECTORS = r"norm\.weight$"
"""Pattern of the parameters that do not decay: every norm gain."""

TEMPLATE = """
from functools import partial

from torch import nn
from torchtitan.components.loss import CrossEntropyLoss
from torchtitan.components.optimizer import (
    LRSchedulersContainer,
    OptimizersContainer,
    ParamGroupConfig,
)
from torchtitan.config import ParallelismConfig, TrainingConfig
from torchtitan.distributed.pipeline_parallel import pipeline_llm
from torchtitan.models.common import CosSinRoPE, Embedding, Linear, RMSNorm
from torchtitan.models.common.config_utils import (
    get_attention_config,
    make_ffn_config,
    make_gqa_config,
)
from torchtitan.models.common.param_init import skip_param_init
from torchtitan.models.{module} import parallelize_{suffix}
from torchtitan.models.{module}.model import {prefix}Model, {prefix}TransformerBlock
from torchtitan.models.{module}.state_dict_adapter import {prefix}StateDictAdapter
from torchtitan.protocols.model_spec import ModelSpec
from torchtitan.trainer import Trainer

{constants}

WEIGHTS = {{"weight": partial(nn.init.normal_, std=INIT_STD), "bias": nn.init.zeros_}}
GAINS = {{"weight": nn.init.ones_}}


def norm(width: int) -> RMSNorm.Config:
    return RMSNorm.Config(normalized_shape=width, eps=NORM_EPS, param_init=GAINS)


def block() -> {prefix}TransformerBlock.Config:
    return {prefix}TransformerBlock.Config(
        attention_norm=norm(D_MODEL),
        ffn_norm=norm(D_MODEL),
        attention=make_gqa_config(
            dim=D_MODEL,
            n_heads=N_HEADS,
            n_kv_heads=N_KV_HEADS,
            head_dim=HEAD_DIM,
            wqkv_param_init=WEIGHTS,
            wo_param_init=WEIGHTS,
            inner_attention=get_attention_config("flex"),
            rope=CosSinRoPE.Config(dim=HEAD_DIM, max_seq_len=SEQ_LEN, theta=ROPE_THETA),
            qk_norm={qk_norm},
        ),
        feed_forward=make_ffn_config(
            dim=D_MODEL, hidden_dim=D_FF, w1_param_init=WEIGHTS, w2w3_param_init=WEIGHTS
        ),
    )


def model() -> {prefix}Model.Config:
    return {prefix}Model.Config(
        dim=D_MODEL,
        vocab_size=VOCAB_SIZE,
        enable_weight_tying=TIED_EMBEDDINGS,
        tok_embeddings=Embedding.Config(
            num_embeddings=VOCAB_SIZE,
            embedding_dim=D_MODEL,
            param_init={{"weight": skip_param_init}} if TIED_EMBEDDINGS else WEIGHTS,
        ),
        norm=norm(D_MODEL),
        lm_head=Linear.Config(in_features=D_MODEL, out_features=VOCAB_SIZE, param_init=WEIGHTS),
        layers=[block() for _ in range(N_LAYERS)],
    )


def adamw(pattern: str, weight_decay: float) -> ParamGroupConfig:
    return ParamGroupConfig(
        pattern=pattern,
        optimizer_name="AdamW",
        optimizer_kwargs={{"lr": LR, "weight_decay": weight_decay, "betas": BETAS, "eps": EPS}},
    )


def plan() -> Trainer.Config:
    return Trainer.Config(
        model_spec=ModelSpec(
            name="{module}",
            flavor="plan",
            model=model(),
            parallelize_fn=parallelize_{suffix},
            pipelining_fn=pipeline_llm,
            post_optimizer_build_fn=None,
            state_dict_adapter={prefix}StateDictAdapter,
        ),
        loss=CrossEntropyLoss.Config(global_vocab_size=VOCAB_SIZE),
        optimizer=OptimizersContainer.Config(
            param_groups=[adamw(VECTORS, 0.0), adamw(".*", WEIGHT_DECAY)]
        ),
        lr_scheduler=LRSchedulersContainer.Config(
            warmup_steps={warmup_steps},
            decay_ratio={decay_ratio},
            decay_type={decay_type},
            min_lr_factor={min_lr_factor},
        ),
        training=TrainingConfig(
            local_batch_size={local_batch_size},
            global_batch_size={global_batch_size},
            seq_len=SEQ_LEN,
            max_norm={max_norm},
            steps={steps},
        ),
        parallelism=ParallelismConfig(data_parallel_shard_degree={data_parallel}),
        # Set dataloader, hf_assets_path and checkpoint for your data.
    )
"""


def write(run: RunSpec, head: list[str]) -> Files:
    """The module's text."""
    schedule, layout, shape = run.schedule, run.layout, run.shape
    module, prefix, suffix = MODELS[shape.qk_norm]
    constants = "\n".join(f"{name} = {value!r}" for name, value in constants_of(run).items())
    text = TEMPLATE.format(
        module=module,
        prefix=prefix,
        suffix=suffix,
        constants=constants,
        qk_norm="norm(HEAD_DIM)" if shape.qk_norm == "per-head" else None,
        warmup_steps=schedule.warmup_steps,
        decay_ratio=pformat(schedule.decay_steps / schedule.steps),
        decay_type=repr(SHAPES[schedule.decay_shape or "linear"]),
        min_lr_factor=schedule.final_lr_fraction if schedule.decay_shape else 0.0,
        local_batch_size=layout.micro_batch_sequences,
        global_batch_size=run.batch_sequences,
        max_norm=run.optimizer.grad_clip,
        steps=schedule.steps,
        data_parallel=layout.data,
    )
    return {"": "".join(f"# {line}\n" for line in head) + text}


def constants_of(run: RunSpec) -> dict[str, Any]:
    """The module's constants by name."""
    shape, part = run.shape, run.optimizer
    return {
        "D_MODEL": shape.d_model,
        "N_LAYERS": shape.n_layers,
        "N_HEADS": shape.n_heads,
        "N_KV_HEADS": shape.n_kv_heads,
        "HEAD_DIM": shape.head_dim,
        "D_FF": shape.d_ff,
        "VOCAB_SIZE": shape.vocab_size,
        "TIED_EMBEDDINGS": shape.tied_embeddings,
        "NORM_EPS": shape.norm_eps,
        "ROPE_THETA": shape.rope_theta,
        "SEQ_LEN": run.seq_len,
        "INIT_STD": run.init_std,
        "LR": run.lr,
        "WEIGHT_DECAY": run.weight_decay,
        "BETAS": (part.beta1, part.beta2),
        "EPS": part.eps,
        "VECTORS": VECTORS,
    }


def read(files: Files) -> RunSpec:
    """The run of an exported module.

    Raises:
        InputError: a constant or a call is missing, as in a config that was not exported.
    """
    tree = parse(files[""], "torchtitan")
    found = read_constants(tree)
    if "D_MODEL" not in found:
        raise InputError("torchtitan: no D_MODEL; the model is read from exported modules only")
    (training,) = read_calls(tree, "TrainingConfig") or [{}]
    (scheduler,) = read_calls(tree, "LRSchedulersContainer.Config") or [{}]
    (parallel,) = read_calls(tree, "ParallelismConfig") or [{}]
    steps = as_int(training, "steps", 10_000)
    layout = layout_from(training, as_int(parallel, "data_parallel_shard_degree", 1))
    shape = Shape(
        d_model=as_int(found, "D_MODEL"),
        n_layers=as_int(found, "N_LAYERS"),
        n_heads=as_int(found, "N_HEADS"),
        n_kv_heads=as_int(found, "N_KV_HEADS"),
        head_dim=as_int(found, "HEAD_DIM"),
        d_ff=as_int(found, "D_FF"),
        vocab_size=as_int(found, "VOCAB_SIZE"),
        tied_embeddings=bool(found["TIED_EMBEDDINGS"]),
        norm_eps=as_float(found, "NORM_EPS"),
        rope_theta=as_float(found, "ROPE_THETA"),
        qk_norm="per-head" if read_calls(tree, "Qwen3Model.Config") else "none",
    )
    beta1, beta2 = found["BETAS"]
    return make_run(
        shape=shape,
        seq_len=as_int(found, "SEQ_LEN"),
        batch_sequences=as_int(training, "global_batch_size"),
        schedule=read_schedule(scheduler, steps),
        lr=as_float(found, "LR"),
        weight_decay=as_float(found, "WEIGHT_DECAY"),
        optimizer=Optimizer(
            name="adamw",
            beta1=beta1,
            beta2=beta2,
            eps=as_float(found, "EPS"),
            grad_clip=as_float(training, "max_norm", 1.0),
        ),
        layout=layout,
        init_std=as_float(found, "INIT_STD"),
    )


def layout_from(training: dict[str, Any], devices: int) -> Layout:
    """The layout whose accumulation torchtitan works out from the other numbers.

    Raises:
        InputError: the global batch is not a multiple of them, which torchtitan refuses too.
    """
    batch = as_int(training, "global_batch_size")
    micro = as_int(training, "local_batch_size", 8)
    if batch % (micro * devices):
        raise InputError(
            f"torchtitan: global_batch_size {batch} is not a multiple of local_batch_size "
            f"{micro} x {devices} devices"
        )
    return Layout(micro_batch_sequences=micro, data=devices)


def read_schedule(scheduler: dict[str, Any], steps: int) -> Schedule:
    """The schedule of `LRSchedulersContainer.Config`; a decay all the way keeps its short name."""
    warmup = as_int(scheduler, "warmup_steps", 200)
    ratio = scheduler.get("decay_ratio")
    decay = steps - warmup if ratio is None else round(steps * ratio)
    if decay == 0:
        return make_schedule("constant", steps=steps, warmup_steps=warmup)
    names = {name: key for key, name in SHAPES.items()}
    shape = names[str(scheduler.get("decay_type", "linear"))]
    whole = warmup + decay == steps and shape in {"linear", "cosine"}
    return make_schedule(
        shape if whole else "wsd",
        steps=steps,
        warmup_steps=warmup,
        decay_steps=decay,
        decay_shape=shape,
        final_lr_fraction=as_float(scheduler, "min_lr_factor", 0.0),
    )


def sample_point(run: RunSpec, step: int) -> float:
    """s = k + 1 in the warmup, s = k after it."""
    return float(step + 1 if step < run.schedule.warmup_steps else step)


TRAINER = Trainer(
    title="torchtitan 0.3.0",
    output="a Python module",
    schedules={
        "wsd": ("linear", "1-sqrt", "cosine"),
        "linear": ("linear",),
        "cosine": ("cosine",),
        "constant": (),
    },
    optimizers=("adamw",),
    parametrizations=("sp",),
    parts={
        "mlp": ("swiglu",),
        "norm": ("rmsnorm",),
        "biases": ("none",),
        "positions": ("rope",),
        "qk_norm": tuple(MODELS),
    },
    per_group="lr, weight decay, eps, init",
    mup="",
    batch_ramp="",
    write=write,
    read=read,
    sample_point=sample_point,
)
