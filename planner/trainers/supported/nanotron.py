"""nanotron: the YAML of `run_train.py --config-file FILE`, in the keys of version 0.4.

Its scheduler samples s = k. `min_decay_lr` defaults to the peak, and `lr_decay_steps`, left out,
counts the warmup twice, so all keys are always written. Step 0 has lr 0 even without a warmup.
Its Llama has one rotary base, 10,000, and heads of hidden_size / heads; weight decay reaches norm
gains; output projections start smaller. The repository of 2026 moved `adam_*` and `name` into
`optimizer_factory` and has 1-sqrt; its LlamaConfig has `rope_theta`.

The package on PyPI cannot be imported (its config and its logging import each other), so the
tests load its own config classes and scheduler beside a stand-in for its logging.
"""

from __future__ import annotations

import math
from typing import Any

from fitting.errors import InputError
from planner.trainers.files import Files
from planner.trainers.lengths import Lengths, fit_lengths
from planner.trainers.trainer import Loss, Nearest, Trainer
from planner.trainers.values import as_float, as_int, part_of, yaml_of, yaml_text
from proxies.run.layout import Layout
from proxies.run.parametrization import Optimizer
from proxies.run.schedule import Schedule, make_schedule
from proxies.run.shape import Shape
from proxies.run.spec import RunSpec, make_run

ROPE_THETA = 10_000.0
"""The rotary base of 0.4, which its config cannot set."""


def write(run: RunSpec, head: list[str]) -> Files:
    """The YAML's text."""
    part, layout = run.optimizer, run.layout
    document = {
        "general": {"project": "plan", "run": "plan", "seed": 42},
        "parallelism": {
            "dp": layout.data,
            "tp": 1,
            "pp": 1,
            "pp_engine": "1f1b",
            "tp_mode": "REDUCE_SCATTER",
            "tp_linear_async_communication": True,
        },
        "model": {
            "model_config": model_config(run),
            "init_method": {"std": run.init_std},
            "dtype": "bfloat16",
            "make_vocab_size_divisible_by": 1,
        },
        "tokenizer": {"tokenizer_name_or_path": "TOKENIZER"},
        "tokens": {
            "sequence_length": run.seq_len,
            "train_steps": run.schedule.steps,
            "micro_batch_size": layout.micro_batch_sequences,
            "batch_accumulation_per_replica": run.accumulation,
        },
        "optimizer": {
            "zero_stage": 0,
            "weight_decay": run.weight_decay,
            "clip_grad": part.grad_clip,
            "accumulate_grad_in_fp32": True,
            "adam_eps": part.eps,
            "adam_beta1": part.beta1,
            "adam_beta2": part.beta2,
            "torch_adam_is_fused": True,
            "learning_rate_scheduler": scheduler(run),
        },
    }
    start = "Set tokenizer, data and checkpoints, then: run_train.py --config-file FILE."
    return {"": yaml_text([*head, start], document)}


def model_config(run: RunSpec) -> dict[str, Any]:
    """The exact shape as its LlamaConfig."""
    shape = run.shape
    return {
        "is_llama_config": True,
        "hidden_act": "silu",
        "hidden_size": shape.d_model,
        "intermediate_size": shape.d_ff,
        "num_hidden_layers": shape.n_layers,
        "num_attention_heads": shape.n_heads,
        "num_key_value_heads": shape.n_kv_heads,
        "max_position_embeddings": run.seq_len,
        "rms_norm_eps": shape.norm_eps,
        "tie_word_embeddings": shape.tied_embeddings,
        "vocab_size": shape.vocab_size,
    }


def scheduler(run: RunSpec) -> dict[str, Any]:
    """Every key of the scheduler; a constant lr is a decay that starts after the last step."""
    schedule = run.schedule
    decays = schedule.decay_shape is not None
    return {
        "learning_rate": run.lr,
        "lr_warmup_steps": schedule.warmup_steps,
        "lr_warmup_style": "linear",
        "lr_decay_style": schedule.decay_shape if decays else "linear",
        "lr_decay_starting_step": schedule.steps - schedule.decay_steps,
        "lr_decay_steps": schedule.decay_steps if decays else 1,
        "min_decay_lr": run.lr * schedule.final_lr_fraction,
    }


def read(files: Files) -> RunSpec:
    """The run of a YAML, with nanotron's own defaults; `optimizer_factory` is read too.

    Raises:
        InputError: a key is missing, or a model that windtunnel has no words for.
    """
    document = yaml_of(files, "nanotron")
    tokens, optimizer = part_of(document, "tokens"), part_of(document, "optimizer")
    constants = {**optimizer, **(optimizer.get("optimizer_factory") or {})}
    if str(constants.get("name", "adamW")).lower() != "adamw":
        raise InputError(f"nanotron: optimizer {constants['name']!r} is not adamW")
    rate = part_of(optimizer, "learning_rate_scheduler")
    accumulation = as_int(tokens, "batch_accumulation_per_replica")
    layout = Layout(
        micro_batch_sequences=as_int(tokens, "micro_batch_size"),
        data=as_int(part_of(document, "parallelism"), "dp"),
    )
    model = part_of(document, "model")
    shape = read_shape(part_of(model, "model_config"))
    lr = as_float(rate, "learning_rate")
    return make_run(
        shape=shape,
        seq_len=as_int(tokens, "sequence_length"),
        batch_sequences=layout.micro_batch_sequences * layout.data * accumulation,
        schedule=read_schedule(rate, lr, as_int(tokens, "train_steps")),
        lr=lr,
        weight_decay=as_float(optimizer, "weight_decay"),
        optimizer=Optimizer(
            name="adamw",
            beta1=as_float(constants, "adam_beta1"),
            beta2=as_float(constants, "adam_beta2"),
            eps=as_float(constants, "adam_eps"),
            grad_clip=as_float(optimizer, "clip_grad"),
        ),
        layout=layout,
        init_std=as_float(part_of(model, "init_method"), "std", 0.02),
    )


def read_shape(config: dict[str, Any]) -> Shape:
    """The shape of a LlamaConfig."""
    if not config.get("is_llama_config"):
        raise InputError("nanotron: model_config is not a Llama's (is_llama_config: true)")
    d_model, heads = as_int(config, "hidden_size"), as_int(config, "num_attention_heads")
    return Shape(
        d_model=d_model,
        n_layers=as_int(config, "num_hidden_layers"),
        n_heads=heads,
        n_kv_heads=as_int(config, "num_key_value_heads", heads),
        head_dim=d_model // heads,
        d_ff=as_int(config, "intermediate_size"),
        vocab_size=as_int(config, "vocab_size"),
        tied_embeddings=bool(config.get("tie_word_embeddings", False)),
        norm_eps=as_float(config, "rms_norm_eps", 1e-6),
        rope_theta=as_float(config, "rope_theta", ROPE_THETA),
    )


def read_schedule(rate: dict[str, Any], lr: float, steps: int) -> Schedule:
    """The schedule as its scheduler builds it, defaults included."""
    lengths, _ = fit_lengths(read_lengths(rate, steps))
    warmup, start = lengths.warmup, lengths.start
    final = as_float(rate, "min_decay_lr", lr) / lr
    if start >= steps or math.isclose(final, 1.0):
        return make_schedule("constant", steps=steps, warmup_steps=warmup)
    shape = str(rate.get("lr_decay_style", "linear"))
    return make_schedule(
        shape if start == warmup and shape in {"linear", "cosine"} else "wsd",
        steps=steps,
        warmup_steps=warmup,
        decay_steps=steps - start,
        decay_shape=shape,
        final_lr_fraction=final,
    )


def read_lengths(rate: dict[str, Any], steps: int) -> Lengths:
    """Steps, warmup, where the decay begins and how long it is.

    A decay without a length is as long as if it began with the end of the warmup, wherever it does.
    """
    warmup = as_int(rate, "lr_warmup_steps", 0)
    start, decay = (
        None if rate.get(key) is None else as_int(rate, key)
        for key in ("lr_decay_starting_step", "lr_decay_steps")
    )
    if decay is None and start is not None and rate.get("min_decay_lr") is not None:
        decay = steps - warmup
    return Lengths(
        steps=steps,
        warmup=warmup,
        warmup_option="lr_warmup_steps",
        decay_start=start,
        decay_steps=decay,
        decay_option="lr_decay_steps",
    )


def faults(files: Files) -> tuple[str, ...]:
    """A warmup or a decay that its scheduler takes in silence and no run can follow."""
    document = yaml_of(files, "nanotron")
    rate = part_of(part_of(document, "optimizer"), "learning_rate_scheduler")
    return fit_lengths(read_lengths(rate, as_int(part_of(document, "tokens"), "train_steps")))[1]


def sample_point(_run: RunSpec, step: int) -> float:
    """s = k: torch's LambdaLR asks for step k before update k + 1."""
    return float(step)


def adjust(run: RunSpec) -> Nearest:
    """Without a warmup its first step has lr 0 all the same."""
    if run.schedule.warmup_steps:
        return run, ()
    return run, (Loss("lr of the first step", "the peak (no warmup)", "0"),)


TRAINER = Trainer(
    title="nanotron 0.4",
    output="a YAML file",
    schedules={
        "wsd": ("linear", "cosine"),
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
        "qk_norm": ("none",),
        "rope_theta": (ROPE_THETA,),
    },
    per_group="nothing",
    mup="init_method spectral_mup, whose rule is not ours",
    batch_ramp="",
    write=write,
    read=read,
    sample_point=sample_point,
    adjust=adjust,
    free_head_dim=False,
    faults=faults,
    init="normal with the plan's std, output projections std / sqrt(2 n_layers)",
    decays_vectors=True,
)
