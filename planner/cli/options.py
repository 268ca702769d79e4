"""The options of `plan`, by panel: name, unit, meaning, default and where it comes from."""

from __future__ import annotations

from typing import Any

import typer


def option(
    panel: str, name: str, metavar: str | None, meaning: str, *, default: object = None
) -> Any:
    """One option: its panel, its name, its unit as the metavar, its meaning."""
    return typer.Option(
        default, name, metavar=metavar, help=meaning, show_default=False, rich_help_panel=panel
    )


_TARGET = "Target: two of these, or --flops alone"
PARAMS = option(_TARGET, "--params", "PARAMS", "non-embedding parameters: 1B, 300M")
TOKENS = option(_TARGET, "--tokens", "TOKENS", "training tokens: 20B, 2.5T")
FLOPS = option(_TARGET, "--flops", "FLOPS", "6 N D, as 3e21; alone: split for the lowest loss")
RATIO = option(_TARGET, "--tokens-per-param", "RATIO", "tokens a parameter, D / N")

_SHAPE = "Shape: a known one, your own, or chosen for --params"
MODEL = option(_SHAPE, "--model", "NAME", "a known model's, as llama-3-8b or gpt2-xl")
D_MODEL = option(_SHAPE, "--d-model", "WIDTH", "width; with --layers a shape of your own")
LAYERS = option(_SHAPE, "--layers", "COUNT", "transformer blocks")
HEADS = option(_SHAPE, "--heads", "COUNT", "query heads; default: heads of 64 or 128")
KV_HEADS = option(_SHAPE, "--kv-heads", "COUNT", "key and value heads; default: as many as heads")
D_FF = option(_SHAPE, "--d-ff", "WIDTH", "inner width of the MLP; default: 8/3 of --d-model")
EXPERTS = option(_SHAPE, "--experts", "COUNT", "experts a layer; --params then counts them all")
ACTIVE = option(_SHAPE, "--active", "COUNT", "experts a token sees; --d-ff is that of one")
SEQ_LEN = option(_SHAPE, "--seq-len", "TOKENS", "tokens a sequence; default 2,048 or the model's")
VOCAB = option(_SHAPE, "--vocab", "COUNT", "vocabulary; default 32,000 or the model's")
TIED = option(_SHAPE, "--tied", None, "share embedding and output head", default=False)

_LAWS = "Laws"
LAW = option(_LAWS, "--law", "NAME", "take from this law what it has (plan laws lists them)")
LAW_FILES = option(_LAWS, "--laws", "FILE", "your own law file, before the defaults; repeatable")

ANCHORS = option(
    _LAWS,
    "--anchor",
    "ANCHOR",
    "a model you tuned: key=value text, runs.csv, plan.json, TRAINER:FILE; repeatable",
)

_PINS = "Pins: what you fix; the rest moves and the price is said"
BATCH = option(_PINS, "--batch", "TOKENS", "batch in tokens, as 1M")
LR = option(_PINS, "--lr", "LR", "peak learning rate")
WEIGHT_DECAY = option(_PINS, "--weight-decay", "WD", "weight decay, coupled to lr as in torch")
STEPS = option(_PINS, "--steps", "STEPS", "optimizer steps; the batch follows")
WARMUP = option(_PINS, "--warmup", "STEPS", "warmup; default: min(2,000, 10%), at least 1%")

_TRAINING = "Training"
OPTIMIZER = option(_TRAINING, "--optimizer", "NAME", "adamw (default), lion, muon", default="adamw")
PARAMETRIZATION = option(
    _TRAINING, "--parametrization", "NAME", "sp (default), mup, completep", default="sp"
)
BASE_WIDTH = option(_TRAINING, "--base-width", "WIDTH", "base d_model of muP; default 256")
BASE_LAYERS = option(_TRAINING, "--base-layers", "COUNT", "base depth of CompleteP")
BASE_HEAD_DIM = option(_TRAINING, "--base-head-dim", "WIDTH", "base head dim of muP")
SCHEDULE = option(
    _TRAINING,
    "--schedule",
    "KIND",
    "wsd (default), linear, cosine, wsd-s, constant, inverse-sqrt",
)
CURVE = option(_TRAINING, "--curve", "FILE", "curve law that chooses --schedule best")
CHECKPOINTS = option(_TRAINING, "--checkpoints", "TOKENS,..", "budgets of wsd-s: 5B,10B,20B")
ROUND_BATCH = option(
    _TRAINING, "--round-batch", "HOW", "none (default): whole sequences; pow2", default="none"
)
UNIQUE_TOKENS = option(_TRAINING, "--unique-tokens", "TOKENS", "distinct tokens of your data")
BATCH_GROWTH = option(
    _TRAINING,
    "--batch-growth",
    "HOW",
    "noise-scale or ramp, with from= to= over= fraction= lr= beta2= noise=RUNS",
)
GPUS = option(_TRAINING, "--gpus", "[Nx]NAME", "accelerators, as 8xH100: time and memory")

FROM = option("From a plan", "--from", "PLAN.json", "a plan to change: what you type wins over it")
_BUDGET = "Budget: chooses params and tokens"
DAYS = option(_BUDGET, "--days", "DAYS", "wall time on --gpus")
COST = option(_BUDGET, "--cost", "MONEY", "money for GPU-hours at --price")
PRICE = option(_BUDGET, "--price", "MONEY", "price of one GPU-hour, in any currency")
INFERENCE_TOKENS = option(
    _BUDGET, "--inference-tokens", "TOKENS", "tokens to serve, out of the same budget"
)
MAX_PARAMS = option(_BUDGET, "--max-params", "PARAMS", "no larger model")
MAX_TOKENS = option(_BUDGET, "--max-tokens", "TOKENS", "no more training tokens")

_OUTPUT = "Output"
JSON = option(_OUTPUT, "--json", None, "print the plan as JSON", default=False)
EXPLAIN = option(
    _OUTPUT, "--explain", None, "the arithmetic and source of each number", default=False
)
EXPORT = option(_OUTPUT, "--export", "TRAINER", "also write a trainer's config; plan trainers")
OUT = typer.Option(
    None, "-o", "--out", metavar="FILE", help="where --export writes", rich_help_panel=_OUTPUT
)
LOSSY = option(_OUTPUT, "--lossy", None, "with --export: write the nearest", default=False)
FORCE = option(_OUTPUT, "--force", None, "with --export: overwrite FILE", default=False)
VERSION = option(_OUTPUT, "--version", None, "print the version", default=False)
