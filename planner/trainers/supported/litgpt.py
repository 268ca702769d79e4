"""litgpt: the YAML of `litgpt pretrain --config FILE`.

Its only schedule is a linear warmup and a cosine to `min_lr`; a constant lr is the cosine whose
`min_lr` is the peak. The lr is set at every micro-step and the last of an update counts, so with
a accumulation steps it samples s = k + (a - 1) / a. Steps follow from `max_tokens`. Weights start
as GPT-NeoX's whatever the file says, and weight decay reaches norm gains and biases.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from fitting.errors import InputError
from planner.trainers.files import Files
from planner.trainers.trainer import Loss, Nearest, Trainer
from planner.trainers.values import as_float, as_int, part_of, yaml_of, yaml_text
from proxies.run.layout import Layout
from proxies.run.parametrization import Optimizer
from proxies.run.schedule import Schedule, make_schedule
from proxies.run.shape import Shape
from proxies.run.spec import RunSpec, make_run

MLPS = {"swiglu": "LLaMAMLP", "geglu": "GemmaMLP", "gelu": "GptNeoxMLP"}
NORMS = {"rmsnorm": "RMSNorm", "layernorm": "LayerNorm"}
QK_NORMS = {"per-head": "default", "full-width": "olmo2"}


def write(run: RunSpec, head: list[str]) -> Files:
    """The YAML's text."""
    schedule, part = run.schedule, run.optimizer
    layout = run.layout
    document = {
        "model_name": "plan",
        "model_config": model_config(run),
        "train": {
            "global_batch_size": run.batch_sequences,
            "micro_batch_size": layout.micro_batch_sequences,
            "lr_warmup_steps": schedule.warmup_steps,
            "max_tokens": schedule.steps * run.batch_sequences * run.seq_len,
            "max_seq_length": run.seq_len,
            "tie_embeddings": run.shape.tied_embeddings,
            "max_norm": part.grad_clip,
            "min_lr": run.lr * schedule.final_lr_fraction,
        },
        "optimizer": {
            "class_path": "torch.optim.AdamW",
            "init_args": {
                "lr": run.lr,
                "weight_decay": run.weight_decay,
                "betas": [part.beta1, part.beta2],
                "eps": part.eps,
            },
        },
        "devices": layout.data,
        "num_nodes": 1,
    }
    start = "Start: litgpt pretrain --config FILE --data ...; devices x num_nodes is what counts."
    return {"": yaml_text([*head, start], document)}


def model_config(run: RunSpec) -> dict[str, Any]:
    """The exact shape, with no vocabulary padding of litgpt's own."""
    shape = run.shape
    found = {
        "name": "plan",
        "block_size": run.seq_len,
        "n_layer": shape.n_layers,
        "n_embd": shape.d_model,
        "n_head": shape.n_heads,
        "n_query_groups": shape.n_kv_heads,
        "head_size": shape.head_dim,
        "intermediate_size": shape.d_ff,
        "vocab_size": shape.vocab_size,
        "padded_vocab_size": shape.vocab_size,
        "norm_class_name": NORMS[shape.norm],
        "norm_eps": shape.norm_eps,
        "mlp_class_name": MLPS[shape.mlp],
        "gelu_approximate": "tanh",
        "bias": shape.biases == "all",
        "attn_bias": shape.biases != "none",
        "parallel_residual": False,
        "rotary_percentage": 1.0,
        "rope_base": int(shape.rope_theta),
        "norm_qk": shape.qk_norm != "none",
    }
    if shape.qk_norm != "none":
        found["norm_qk_type"] = QK_NORMS[shape.qk_norm]
    return found


def read(files: Files) -> RunSpec:
    """The run of a pretrain YAML, with litgpt's own defaults.

    Raises:
        InputError: a key is missing, or a model or optimizer that windtunnel has no words for.
    """
    document = yaml_of(files, "litgpt")
    train, model = part_of(document, "train"), part_of(document, "model_config")
    constants, name = read_optimizer(document)
    lr = as_float(constants, "lr", 1e-3)
    shape = read_shape(model, tied=bool(train.get("tie_embeddings")))
    batch = as_int(train, "global_batch_size", 512)
    devices = as_int(document, "devices", 1) * as_int(document, "num_nodes", 1)
    micro = as_int(train, "micro_batch_size", 4)
    if batch % (micro * devices):
        raise InputError(
            f"litgpt: global_batch_size {batch} is not a multiple of micro_batch_size {micro} x "
            f"{devices} devices; litgpt would train on a smaller batch"
        )
    seq_len = as_int(train, "max_seq_length", as_int(model, "block_size", 4096))
    return make_run(
        shape=shape,
        seq_len=seq_len,
        batch_sequences=batch,
        schedule=read_schedule(train, lr, steps=as_int(train, "max_tokens") // (batch * seq_len)),
        lr=lr,
        weight_decay=as_float(constants, "weight_decay", 0.01),
        optimizer=Optimizer(
            name=name,
            beta1=float(constants.get("betas", (0.9, 0.999))[0]),
            beta2=float(constants.get("betas", (0.9, 0.999))[1]),
            eps=as_float(constants, "eps", 1e-8),
            grad_clip=as_float(train, "max_norm", 1.0),
        ),
        layout=Layout(
            micro_batch_sequences=micro,
            data=devices,
        ),
    )


def read_optimizer(document: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The optimizer's constants and its name in a plan."""
    given = document.get("optimizer", "AdamW")
    if isinstance(given, str):
        given = {"class_path": given, "init_args": {}}
    if str(given.get("class_path", "")).rsplit(".", 1)[-1] != "AdamW":
        raise InputError(f"litgpt: optimizer {given.get('class_path')!r} is not AdamW")
    return given.get("init_args") or {}, "adamw"


def read_shape(model: dict[str, Any], *, tied: bool) -> Shape:
    """The shape of a `model_config`, with the defaults of `litgpt.Config`."""
    d_model, heads = as_int(model, "n_embd", 4096), as_int(model, "n_head", 32)
    vocab = as_int(model, "vocab_size", 50254)
    multiple = as_int(model, "padding_multiple", 512)
    words = {
        "mlp": ({name: key for key, name in MLPS.items()}, "mlp_class_name", "GptNeoxMLP"),
        "norm": ({name: key for key, name in NORMS.items()}, "norm_class_name", "LayerNorm"),
        "qk_norm": ({name: key for key, name in QK_NORMS.items()}, "norm_qk_type", "default"),
    }
    parts = {}
    for part, (known, key, default) in words.items():
        value = model.get(key, default)
        if value not in known:
            raise InputError(f"litgpt: {key} {value!r} is not one of {', '.join(known)}")
        parts[part] = known[value]
    if not model.get("norm_qk"):
        parts["qk_norm"] = "none"
    biases = "qkv" if model.get("attn_bias") else "none"
    return Shape(
        d_model=d_model,
        n_layers=as_int(model, "n_layer", 16),
        n_heads=heads,
        n_kv_heads=as_int(model, "n_query_groups", heads),
        head_dim=as_int(model, "head_size", d_model // heads),
        d_ff=as_int(model, "intermediate_size", 4 * d_model),
        vocab_size=as_int(model, "padded_vocab_size", math.ceil(vocab / multiple) * multiple),
        tied_embeddings=tied,
        norm_eps=as_float(model, "norm_eps", 1e-5),
        biases="all" if model.get("bias", True) else biases,
        rope_theta=as_float(model, "rope_base", 10_000.0),
        mlp=parts["mlp"],
        norm=parts["norm"],
        qk_norm=parts["qk_norm"],
    )


def read_schedule(train: dict[str, Any], lr: float, *, steps: int) -> Schedule:
    """A cosine, or a constant lr where `min_lr` is the peak."""
    final = as_float(train, "min_lr", 4e-5) / lr
    warmup = as_int(train, "lr_warmup_steps", 2000)
    if math.isclose(final, 1.0):
        return make_schedule("constant", steps=steps, warmup_steps=warmup)
    return make_schedule("cosine", steps=steps, warmup_steps=warmup, final_lr_fraction=final)


def sample_point(run: RunSpec, step: int) -> float:
    """s = k + (a - 1) / a: the lr of an update's last micro-step."""
    accumulation = run.accumulation
    return step + (accumulation - 1) / accumulation


def adjust(run: RunSpec) -> Nearest:
    """A rotary base must be a whole number."""
    shape = run.shape
    if shape.rope_theta == int(shape.rope_theta):
        return run, ()
    theta = float(round(shape.rope_theta))
    loss = Loss("rope_theta", f"{shape.rope_theta}", f"{theta:g}")
    return replace(run, shape=replace(shape, rope_theta=theta)), (loss,)


TRAINER = Trainer(
    title="litgpt 0.5.13",
    output="a YAML file",
    schedules={"cosine": ("cosine",), "constant": ()},
    optimizers=("adamw",),
    parametrizations=("sp",),
    parts={
        "mlp": tuple(MLPS),
        "norm": tuple(NORMS),
        "positions": ("rope",),
    },
    per_group="nothing",
    mup="",
    batch_ramp="",
    write=write,
    read=read,
    sample_point=sample_point,
    adjust=adjust,
    init="normal, std sqrt(2 / (5 d_model)), output projections 1 / (sqrt(d_model) n_layers)",
    decays_vectors=True,
)
