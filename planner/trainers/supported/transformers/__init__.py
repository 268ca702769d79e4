"""Hugging Face transformers: a folder with `training_args.json`, `config.json` and `README.txt`.

`HfArgumentParser(TrainingArguments).parse_json_file(".../training_args.json")` and
`AutoConfig.from_pretrained(FOLDER)` load them. JSON has no comments, so what the files cannot say
stands in README.txt and under `windtunnel` in config.json, which transformers carries along.

Its scheduler samples s = k: the first step has lr 0, the last one stage before the final lr.
`min_lr_ratio` of `warmup_stable_decay` also lifts the start of the warmup, so a WSD that does not
end at 0 is exact only without a warmup. AdamW spares norm gains and biases by itself.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from fitting.errors import InputError
from planner.trainers.files import Files
from planner.trainers.lengths import Lengths, fit_lengths
from planner.trainers.supported.transformers.complete import complete
from planner.trainers.supported.transformers.folder import (
    ARGUMENTS,
    CONFIG,
    MODELS,
    README,
    json_of,
)
from planner.trainers.trainer import Loss, Nearest, Trainer, check_inverse_sqrt
from planner.trainers.values import as_float, as_int
from proxies.run.layout import Layout
from proxies.run.parametrization import Optimizer
from proxies.run.schedule import Schedule, make_schedule
from proxies.run.shape import Shape
from proxies.run.spec import RunSpec, make_run

ACTIVATIONS = {"swiglu": "silu", "geglu": "gelu_pytorch_tanh"}
"""`hidden_act` of the gated MLPs."""

OPTIMIZERS = {"adamw": "adamw_torch", "lion": "lion_32bit"}
"""`optim`; Lion needs bitsandbytes."""


def write(run: RunSpec, head: list[str]) -> Files:
    """The folder's three files."""
    arguments = {
        "max_steps": run.schedule.steps,
        "per_device_train_batch_size": run.layout.micro_batch_sequences,
        "gradient_accumulation_steps": run.accumulation,
        "learning_rate": run.lr,
        **schedule_arguments(run),
        **optimizer_arguments(run),
    }
    ours = {"data_parallel": run.layout.data, "head": head}
    config = {**model_config(run), "windtunnel": ours}
    readme = [*head, "", *launch_lines(run)]
    return {
        ARGUMENTS: json.dumps(arguments, indent=2) + "\n",
        CONFIG: json.dumps(config, indent=2) + "\n",
        README: "\n".join(readme) + "\n",
    }


def schedule_arguments(run: RunSpec) -> dict[str, Any]:
    """Arguments of the learning rate against step."""
    schedule = run.schedule
    final = schedule.final_lr_fraction
    kind, kwargs = {
        "constant": ("constant_with_warmup", {}),
        "inverse-sqrt": ("inverse_sqrt", {}),
        "cosine": ("cosine_with_min_lr", {"min_lr_rate": final}),
        "linear": ("polynomial", {"lr_end": run.lr * final, "power": 1.0}),
        "wsd": (
            "warmup_stable_decay",
            {
                "num_decay_steps": schedule.decay_steps,
                "decay_type": schedule.decay_shape,
                "min_lr_ratio": final,
            },
        ),
    }[schedule.kind]
    found: dict[str, Any] = {"lr_scheduler_type": kind, "warmup_steps": schedule.warmup_steps}
    return {**found, "lr_scheduler_kwargs": kwargs} if kwargs else found


def optimizer_arguments(run: RunSpec) -> dict[str, Any]:
    """Arguments of the optimizer; the defaults of betas and weight decay are not the plan's."""
    part = run.optimizer
    found = {
        "optim": OPTIMIZERS[part.name],
        "weight_decay": run.weight_decay,
        "adam_beta1": part.beta1,
        "adam_beta2": part.beta2,
        "max_grad_norm": part.grad_clip,
    }
    return found if part.eps is None else {**found, "adam_epsilon": part.eps}


def model_config(run: RunSpec) -> dict[str, Any]:
    """The exact shape as a configuration of llama, qwen2 or qwen3."""
    shape = run.shape
    kind = model_type(shape)
    found = {
        "model_type": kind,
        "architectures": [MODELS[kind]],
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.d_model,
        "intermediate_size": shape.d_ff,
        "num_hidden_layers": shape.n_layers,
        "num_attention_heads": shape.n_heads,
        "num_key_value_heads": shape.n_kv_heads,
        "head_dim": shape.head_dim,
        "hidden_act": ACTIVATIONS[shape.mlp],
        "max_position_embeddings": run.seq_len,
        "initializer_range": run.init_std,
        "rms_norm_eps": shape.norm_eps,
        "tie_word_embeddings": shape.tied_embeddings,
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta},
    }
    if kind == "llama" and shape.biases == "all":
        found |= {"attention_bias": True, "mlp_bias": True}
    return found


def model_type(shape: Shape) -> str:
    """The one of `MODELS` that has the shape's parts."""
    if shape.qk_norm == "per-head":
        return "qwen3"
    return "qwen2" if shape.biases == "qkv" else "llama"


def launch_lines(run: RunSpec) -> list[str]:
    """How to load the files and start, so that the global batch is the plan's."""
    layout = run.layout
    return [
        f"Global batch: {run.batch_sequences} sequences of {run.seq_len} tokens = "
        f"per_device_train_batch_size {layout.micro_batch_sequences} x "
        f"gradient_accumulation_steps {run.accumulation} x {layout.data} devices.",
        f"Start it on {layout.data} devices, as with torchrun; add bf16=True where they have it.",
        "",
        "from transformers import AutoConfig, AutoModelForCausalLM, HfArgumentParser",
        "from transformers import Trainer, TrainingArguments",
        "",
        f'(args,) = HfArgumentParser(TrainingArguments).parse_json_file("{ARGUMENTS}")',
        'model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained("."))',
        "Trainer(model=model, args=args, train_dataset=...).train()",
    ]


def read(files: Files) -> RunSpec:
    """The run of a folder, or of one JSON file that holds both sets of keys.

    Raises:
        InputError: a file or a key is missing.
    """
    arguments, config = json_of(files, ARGUMENTS), json_of(files, CONFIG)
    shape = read_shape(config)
    optimizers = {name: key for key, name in OPTIMIZERS.items()}
    name = optimizers.get(str(arguments.get("optim", "adamw_torch_fused")).removesuffix("_fused"))
    if name is None:
        raise InputError(f"{ARGUMENTS}: optim {arguments['optim']!r} is not one of adamw, lion")
    accumulation = as_int(arguments, "gradient_accumulation_steps", 1)
    layout = Layout(
        micro_batch_sequences=as_int(arguments, "per_device_train_batch_size", 8),
        data=as_int(config.get("windtunnel", {}), "data_parallel", 1),
    )
    lr = as_float(arguments, "learning_rate", 5e-5)
    return make_run(
        shape=shape,
        seq_len=as_int(config, "max_position_embeddings"),
        batch_sequences=layout.micro_batch_sequences * layout.data * accumulation,
        schedule=read_schedule(arguments, lr),
        lr=lr,
        weight_decay=as_float(arguments, "weight_decay", 0.0),
        optimizer=Optimizer(
            name=name,
            beta1=as_float(arguments, "adam_beta1", 0.9),
            beta2=as_float(arguments, "adam_beta2", 0.999),
            eps=as_float(arguments, "adam_epsilon", 1e-8) if name == "adamw" else None,
            grad_clip=as_float(arguments, "max_grad_norm", 1.0),
        ),
        layout=layout,
        init_std=as_float(config, "initializer_range", 0.02),
    )


def read_shape(config: dict[str, Any]) -> Shape:
    """The shape of a llama-like configuration, with transformers' own defaults."""
    kind = config.get("model_type")
    if kind not in MODELS:
        raise InputError(f"{CONFIG}: model_type {kind!r} is not one of {', '.join(MODELS)}")
    mlps = {name: key for key, name in ACTIVATIONS.items()}
    activation = config.get("hidden_act", "silu")
    if activation not in mlps:
        raise InputError(f"{CONFIG}: hidden_act {activation!r} is not one of {', '.join(mlps)}")
    d_model, heads = as_int(config, "hidden_size"), as_int(config, "num_attention_heads")
    rope = config.get("rope_parameters") or {}
    biases = "all" if config.get("attention_bias") else "none"
    return Shape(
        d_model=d_model,
        n_layers=as_int(config, "num_hidden_layers"),
        n_heads=heads,
        n_kv_heads=as_int(config, "num_key_value_heads", heads),
        head_dim=as_int(config, "head_dim", 128 if kind == "qwen3" else d_model // heads),
        d_ff=as_int(config, "intermediate_size"),
        vocab_size=as_int(config, "vocab_size"),
        tied_embeddings=bool(config.get("tie_word_embeddings", False)),
        mlp=mlps[activation],
        norm_eps=as_float(config, "rms_norm_eps", 1e-6),
        biases="qkv" if kind == "qwen2" else biases,
        rope_theta=as_float(rope, "rope_theta", as_float(config, "rope_theta", 10_000.0)),
        qk_norm="per-head" if kind == "qwen3" else "none",
    )


def read_schedule(arguments: dict[str, Any], lr: float) -> Schedule:
    """The schedule of the training arguments."""
    kwargs = arguments.get("lr_scheduler_kwargs") or {}
    kind, final = {
        "constant": ("constant", None),
        "constant_with_warmup": ("constant", None),
        "inverse_sqrt": ("inverse-sqrt", None),
        "cosine": ("cosine", 0.0),
        "cosine_with_min_lr": (
            "cosine",
            as_float(kwargs, "min_lr_rate", as_float(kwargs, "min_lr", 0.0) / lr),
        ),
        "linear": ("linear", 0.0),
        "polynomial": ("linear", as_float(kwargs, "lr_end", 1e-7) / lr),
        "warmup_stable_decay": ("wsd", as_float(kwargs, "min_lr_ratio", 0.0)),
    }.get(str(arguments.get("lr_scheduler_type", "linear")), (None, None))
    if kind is None:
        raise InputError(f"{ARGUMENTS}: lr_scheduler_type is not one that windtunnel reads")
    wsd = kind == "wsd"
    lengths, _ = fit_lengths(read_lengths(arguments))
    return make_schedule(
        kind,
        steps=lengths.steps,
        warmup_steps=lengths.warmup,
        decay_steps=as_int(kwargs, "num_decay_steps") if wsd else None,
        decay_shape=str(kwargs.get("decay_type", "cosine")) if wsd else None,
        final_lr_fraction=final,
    )


def read_lengths(arguments: dict[str, Any]) -> Lengths:
    """Steps and warmup; its decays end with the run anyway."""
    return Lengths(
        steps=as_int(arguments, "max_steps"),
        warmup=as_int(arguments, "warmup_steps", 0),
        warmup_option="warmup_steps",
    )


def faults(files: Files) -> tuple[str, ...]:
    """A warmup that its scheduler takes in silence and the run does not outlive."""
    return fit_lengths(read_lengths(json_of(files, ARGUMENTS)))[1]


def sample_point(_run: RunSpec, step: int) -> float:
    """s = k: torch's LambdaLR asks for step k before update k + 1."""
    return float(step)


def adjust(run: RunSpec) -> Nearest:
    """The warmup of a WSD that ends above 0 starts at that fraction, not at 0."""
    run, found = check_inverse_sqrt(run)
    schedule, lost = run.schedule, list(found)
    if schedule.kind == "wsd" and schedule.final_lr_fraction and schedule.warmup_steps:
        lost.append(
            Loss(
                "warmup",
                f"linear from 0 over {schedule.warmup_steps} steps",
                f"linear from {schedule.final_lr_fraction:g} of the peak (min_lr_ratio)",
            )
        )
    shape = run.shape
    if shape.biases != "none" and shape.qk_norm == "per-head":
        lost.append(Loss("biases", shape.biases, "none: qwen3, which has qk-norm, has no biases"))
        run = replace(run, shape=replace(shape, biases="none"))
    return run, tuple(lost)


TRAINER = Trainer(
    title="Hugging Face transformers 5.23.0",
    output=f"a folder with {ARGUMENTS}, {CONFIG} and {README}",
    schedules={
        "wsd": ("linear", "cosine", "1-sqrt"),
        "linear": ("linear",),
        "cosine": ("cosine",),
        "inverse-sqrt": ("inverse-sqrt",),
        "constant": (),
    },
    optimizers=("adamw", "lion"),
    parametrizations=("sp",),
    parts={
        "mlp": ("swiglu", "geglu"),
        "norm": ("rmsnorm",),
        "biases": ("none", "qkv", "all"),
        "positions": ("rope",),
        "qk_norm": ("none", "per-head"),
    },
    per_group="nothing; weight decay spares norm gains and biases",
    mup="",
    batch_ramp="",
    write=write,
    read=read,
    sample_point=sample_point,
    adjust=adjust,
    complete=complete,
    faults=faults,
)
