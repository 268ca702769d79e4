"""Megatron-LM: a shell file with the argument list of `pretrain_gpt.py`.

Its scheduler (`OptimizerParamScheduler`, in megatron-core too) counts samples and samples s = k.
`--lr-decay-iters` counts the warmup in; `--lr-wsd-decay-style` defaults to exponential, dropouts
to 0.1, so all are always written. The parser of the arguments is in the repository, not in the
package: the tests read the file with bash and feed megatron-core's own scheduler as
`get_optimizer_param_scheduler` of the repository does.

`--use-mup` is not what a plan means by muP: it does not scale weight decay, treats an untied head
as a matrix (lr and eps by 1/m, logits by 1/m as well) and divides the init of output projections
by sqrt(2 n_layers) too. So muP plans are refused.
"""

from __future__ import annotations

import re
import shlex
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from fitting.errors import InputError
from planner.trainers.files import Files
from planner.trainers.lengths import Lengths, fit_lengths
from planner.trainers.supported.megatron.ramp import batch_ramp, cannot_grow, read_ramp
from planner.trainers.trainer import Trainer, check_inverse_sqrt
from planner.trainers.values import as_float, as_int
from proxies.run.layout import Layout
from proxies.run.parametrization import Optimizer
from proxies.run.schedule import Schedule, make_schedule
from proxies.run.shape import Shape
from proxies.run.spec import RunSpec, make_run

if TYPE_CHECKING:
    from collections.abc import Iterable

SHAPES = {
    "linear": "linear",
    "1-sqrt": "minus_sqrt",
    "cosine": "cosine",
    "2^(1-p)-1": "exponential",
}
"""Our decay shapes and its `--lr-wsd-decay-style`."""

MLPS = {"swiglu": ["--swiglu"], "relu2": ["--squared-relu"], "gelu": []}
STYLES = {
    "wsd": "WSD",
    "linear": "linear",
    "cosine": "cosine",
    "inverse-sqrt": "inverse-square-root",
    "constant": "constant",
}
"""Our kinds and its `--lr-decay-style`."""

VALUES = {"--rampup-batch-size": 3}
"""Options of more than one value."""

NORMS = {"rmsnorm": "RMSNorm", "layernorm": "LayerNorm"}
BIASES = {
    "none": ["--disable-bias-linear"],
    "qkv": ["--disable-bias-linear", "--add-qkv-bias"],
    "all": [],
}
POSITIONS = {"rope": "rope", "learned": "learned_absolute", "none": "none"}


def write(run: RunSpec, head: list[str]) -> Files:
    """The shell file's text."""
    arguments = [
        *model_arguments(run),
        *batch_arguments(run),
        *schedule_arguments(run),
        *optimizer_arguments(run),
    ]
    lines = "\n".join(f"    {line}" for line in lines_of(arguments))
    comments = "".join(f"# {line}\n" for line in head)
    return {
        "": f"#!/usr/bin/env bash\n{comments}"
        "# Start it in the repository: bash FILE --data-path ... --tokenizer-type ... --bf16\n"
        "set -euo pipefail\n\n"
        f"DATA_PARALLEL={run.layout.data}\n\n"
        f"PLAN_ARGS=(\n{lines}\n)\n\n"
        'torchrun --nproc-per-node "${GPUS_PER_NODE:-$DATA_PARALLEL}" pretrain_gpt.py '
        '"${PLAN_ARGS[@]}" "$@"\n'
    }


def lines_of(arguments: Iterable[Any]) -> list[str]:
    """One option a line, with its value."""
    lines: list[str] = []
    for word in map(str, arguments):
        if word.startswith("--"):
            lines.append(word)
        else:
            lines[-1] += f" {word}"
    return lines


def model_arguments(run: RunSpec) -> list[Any]:
    """The exact shape; dropouts, whose default is 0.1, are off."""
    shape = run.shape
    found = [
        *("--num-layers", shape.n_layers),
        *("--hidden-size", shape.d_model),
        *("--ffn-hidden-size", shape.d_ff),
        *("--num-attention-heads", shape.n_heads),
        *("--group-query-attention", "--num-query-groups", shape.n_kv_heads),
        *("--kv-channels", shape.head_dim),
        *("--vocab-size", shape.vocab_size),
        *("--make-vocab-size-divisible-by", 1),
        *("--seq-length", run.seq_len),
        *("--max-position-embeddings", shape.n_positions or run.seq_len),
        *("--position-embedding-type", POSITIONS[shape.positions]),
        *("--normalization", NORMS[shape.norm]),
        *("--norm-epsilon", shape.norm_eps),
        *MLPS[shape.mlp],
        *BIASES[shape.biases],
        *("--init-method-std", run.init_std),
        *("--attention-dropout", 0.0),
        *("--hidden-dropout", 0.0),
    ]
    found += ["--rotary-base", f"{shape.rope_theta:.12g}"] if shape.positions == "rope" else []
    found += ["--qk-layernorm"] if shape.qk_norm == "per-head" else []
    return found + ([] if shape.tied_embeddings else ["--untie-embeddings-and-output-weights"])


def batch_arguments(run: RunSpec) -> list[Any]:
    """Batch in sequences, and steps; samples where the batch grows."""
    found = [
        *("--micro-batch-size", run.layout.micro_batch_sequences),
        *("--global-batch-size", run.batch_sequences),
    ]
    if not run.growth:
        return [*found, "--train-iters", run.schedule.steps]
    ramp = batch_ramp(run)
    assert ramp is not None
    samples = run.schedule.steps * run.batch_sequences
    return [*found, "--rampup-batch-size", *ramp, "--train-samples", samples]


def schedule_arguments(run: RunSpec) -> list[Any]:
    """The learning rate against step, or against samples where the batch grows.

    `--min-lr` is absolute. A ramp is refused beside iterations, so that all lengths are samples.
    """
    schedule = run.schedule
    # What its options count, and how many of that a planned step is.
    unit, each = ("samples", run.batch_sequences) if run.growth else ("iters", 1)
    wsd = schedule.kind == "wsd"
    # Its inverse square root takes --min-lr for a floor, not for where it ends.
    ends = schedule.kind not in {"constant", "inverse-sqrt"}
    final = schedule.final_lr_fraction if ends else 0.0
    found = [
        *("--lr", run.lr),
        *("--min-lr", run.lr * final),
        *("--lr-decay-style", STYLES[schedule.kind]),
        *(f"--lr-warmup-{unit}", schedule.warmup_steps * each),
        # Megatron wants the warmup to end before the decay does, even where nothing decays.
        *(f"--lr-decay-{unit}", max(schedule.steps, schedule.warmup_steps + 1) * each),
    ]
    if wsd:
        found += ["--lr-wsd-decay-style", SHAPES[schedule.decay_shape or "linear"]]
        found += [f"--lr-wsd-decay-{unit}", schedule.decay_steps * each]
    return found


def optimizer_arguments(run: RunSpec) -> list[Any]:
    """AdamW; weight decay spares 1-D tensors and biases by itself."""
    part = run.optimizer
    return [
        *("--optimizer", "adam"),
        *("--weight-decay", run.weight_decay),
        *("--adam-beta1", part.beta1),
        *("--adam-beta2", part.beta2),
        *("--adam-eps", part.eps),
        *("--clip-grad", part.grad_clip),
    ]


def read(files: Files) -> RunSpec:
    """The run of a script's arguments, with Megatron's own defaults.

    Raises:
        InputError: an argument is missing, or one that windtunnel has no words for.
    """
    found = read_arguments(files[""])
    if "--use-mup" in found:
        raise InputError("megatron: --use-mup is not the muP of a plan; see plan trainers")
    batch, micro = as_int(found, "--global-batch-size"), as_int(found, "--micro-batch-size")
    devices = as_int(found, "DATA_PARALLEL", 1)
    if batch % (micro * devices):
        raise InputError(
            f"megatron: --global-batch-size {batch} is not a multiple of --micro-batch-size "
            f"{micro} x {devices} devices"
        )
    lr = as_float(found, "--lr")
    shape = read_shape(found)
    return make_run(
        shape=shape,
        seq_len=as_int(found, "--seq-length"),
        batch_sequences=batch,
        schedule=read_schedule(found, lr, batch),
        lr=lr,
        weight_decay=as_float(found, "--weight-decay", 0.01),
        optimizer=Optimizer(
            name="adamw",
            beta1=as_float(found, "--adam-beta1", 0.9),
            beta2=as_float(found, "--adam-beta2", 0.999),
            eps=as_float(found, "--adam-eps", 1e-8),
            grad_clip=as_float(found, "--clip-grad", 1.0),
        ),
        layout=Layout(
            micro_batch_sequences=micro,
            data=devices,
        ),
        growth=read_ramp(found, batch, beta2=as_float(found, "--adam-beta2", 0.999)),
        init_std=as_float(found, "--init-method-std", 0.02),
    )


def read_arguments(text: str) -> dict[str, Any]:
    """Options by name, True for switches; numbers as numbers; DATA_PARALLEL too."""
    try:
        words = shlex.split(text.replace("\\\n", " "), comments=True)
    except ValueError as error:
        raise InputError(f"megatron: not a shell file: {error}") from error
    found: dict[str, Any] = {}
    for index, word in enumerate(words):
        if word.startswith("--"):
            values = list(takewhile(is_value, words[index + 1 :]))[: VALUES.get(word, 1)]
            found.setdefault(word, number_or_word(" ".join(values)) if values else True)
        elif setting := re.fullmatch(r"DATA_PARALLEL=(\d+)", word):
            found["DATA_PARALLEL"] = int(setting[1])
    return found


def is_value(word: str) -> bool:
    """Whether a word belongs to the option before it."""
    return not word.startswith("--") and word != ")"


def number_or_word(word: str) -> Any:
    """A number where it is one."""
    try:
        return float(word)
    except ValueError:
        return word


def read_shape(found: dict[str, Any]) -> Shape:
    """The shape of the model's arguments."""
    d_model, heads = as_int(found, "--hidden-size"), as_int(found, "--num-attention-heads")
    positions = {name: key for key, name in POSITIONS.items()}[
        str(found.get("--position-embedding-type", "learned_absolute"))
    ]
    mlp = next((name for name, words in MLPS.items() if words and words[0] in found), "gelu")
    biases = "all"
    if "--disable-bias-linear" in found:
        biases = "qkv" if "--add-qkv-bias" in found else "none"
    rows = as_int(found, "--max-position-embeddings") if positions == "learned" else None
    return Shape(
        d_model=d_model,
        n_layers=as_int(found, "--num-layers"),
        n_heads=heads,
        n_kv_heads=as_int(found, "--num-query-groups", heads),
        head_dim=as_int(found, "--kv-channels", d_model // heads),
        d_ff=as_int(found, "--ffn-hidden-size", 4 * d_model),
        vocab_size=as_int(found, "--vocab-size"),
        tied_embeddings="--untie-embeddings-and-output-weights" not in found,
        mlp=mlp,
        norm={name: key for key, name in NORMS.items()}[
            str(found.get("--normalization", "LayerNorm"))
        ],
        norm_eps=as_float(found, "--norm-epsilon", 1e-5),
        biases=biases,
        positions=positions,
        n_positions=rows,
        rope_theta=as_float(found, "--rotary-base", 10_000.0),
        qk_norm="per-head" if "--qk-layernorm" in found else "none",
    )


def read_schedule(found: dict[str, Any], lr: float, batch: int) -> Schedule:
    """The schedule, with the defaults that people forget: linear, and exponential in WSD."""
    lengths, _ = fit_lengths(read_lengths(found, batch))
    style = str(found.get("--lr-decay-style", "linear"))
    kind = {name: key for key, name in STYLES.items()}.get(style)
    if kind is None:
        raise InputError(
            f"megatron: --lr-decay-style {style} is not one of {', '.join(STYLES.values())}"
        )
    final = as_float(found, "--min-lr", 0.0) / lr
    names = {name: key for key, name in SHAPES.items()}
    wsd = kind == "wsd"
    return make_schedule(
        kind,
        steps=lengths.steps,
        warmup_steps=lengths.warmup,
        decay_steps=read_length(found, "lr-wsd-decay", batch) if wsd else None,
        decay_shape=names[str(found.get("--lr-wsd-decay-style", "exponential"))] if wsd else None,
        final_lr_fraction=None if kind in {"constant", "inverse-sqrt"} else final,
    )


def read_length(found: dict[str, Any], name: str, batch: int, default: int | None = None) -> int:
    """A length in planned steps, whichever of iterations and samples says it."""
    samples = as_int(found, f"--{name}-samples", 0) // batch
    return as_int(found, f"--{name}-iters", samples or default)


def read_lengths(found: dict[str, Any], batch: int) -> Lengths:
    """Steps, warmup and the end of the decay, which counts the warmup in."""
    steps = read_length(found, "train", batch, 0)
    return Lengths(
        steps=steps,
        warmup=read_length(found, "lr-warmup", batch, 0),
        warmup_option="--lr-warmup-iters",
        decay_start=0,
        decay_steps=read_length(found, "lr-decay", batch, steps),
        decay_option="--lr-decay-iters",
    )


def faults(files: Files) -> tuple[str, ...]:
    """A warmup or a decay that its scheduler takes in silence and no run can follow."""
    found = read_arguments(files[""])
    return fit_lengths(read_lengths(found, as_int(found, "--global-batch-size")))[1]


def sample_point(_run: RunSpec, step: int) -> float:
    """s = k: k global batches of samples were counted before update k + 1."""
    return float(step)


TRAINER = Trainer(
    title="Megatron-LM (2026-08)",
    output="a shell file",
    schedules={
        "wsd": tuple(SHAPES),
        "linear": ("linear",),
        "cosine": ("cosine",),
        "inverse-sqrt": ("inverse-sqrt",),
        "constant": (),
    },
    optimizers=("adamw",),
    parametrizations=("sp",),
    parts={
        "mlp": tuple(MLPS),
        "norm": tuple(NORMS),
        "positions": tuple(POSITIONS),
        "qk_norm": ("none", "per-head"),
    },
    per_group="nothing; weight decay spares norm gains and biases",
    mup="--use-mup has no weight decay rule and takes an untied head for a matrix: not ours",
    batch_ramp="--rampup-batch-size START INCREMENT SAMPLES",
    write=write,
    read=read,
    sample_point=sample_point,
    adjust=check_inverse_sqrt,
    cannot_grow=cannot_grow,
    faults=faults,
    growth_advice='--batch-growth "ramp lr=none"',
    init="normal with the plan's std, output projections std / sqrt(2 n_layers)",
)
