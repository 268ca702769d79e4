"""What commands take: apps, options and arguments, how counts and ranges are read.

An option is one line of a command's signature: its panel of the help, its name, its unit as the
metavar, its meaning. Those that several commands have are defined here once; the options of `plan`
itself follow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import typer

from fitting.errors import InputError
from fitting.units import parse_count

OUTPUT = "Output"
"""Panel of what is printed and where files go."""


class Reader(Protocol):
    """Reads the text of an option."""

    def __call__(self, text: str, *, where: str) -> Any:
        """The value; an `InputError` that begins with `where` for text that is none."""


@dataclass(frozen=True, slots=True)
class Size:
    """A size as typed, PARAMS:TOKENS."""

    params: float
    tokens: float
    text: str
    """As it was typed, to be said again."""

    @property
    def pair(self) -> tuple[float, float]:
        """Params and tokens."""
        return self.params, self.tokens


class TypedRange(NamedTuple):
    """A range as typed, LOW:HIGH."""

    low: float
    high: float


class Counts(tuple[int, ...]):
    """Several counts in one word: a class of its own, for a tuple is several words to typer."""


def make_app(**settings: Any) -> typer.Typer:
    """A group of commands, as all of ours are; `settings` are typer's."""
    return typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich", **settings
    )


def option(
    panel: str,
    name: str,
    metavar: str | None,
    meaning: str,
    *,
    short: str | None = None,
    default: object = None,
    read: Reader | None = None,
) -> Any:
    """One option: its panel, its name, its unit as the metavar, its meaning.

    Args:
        panel: of the help.
        name: with its dashes.
        metavar: the unit; None for a flag.
        meaning: in lower case; where the default comes from, unless it is one value.
        short: another name, as `-o`.
        default: where it is not typed, said after the meaning; `...` where it must be typed. Text
            where there is `read`.
        read: makes the value of the text; what it refuses is refused by the option's name.
    """
    if isinstance(default, str | float | int) and not isinstance(default, bool) and default != "":
        shown = default if isinstance(default, str) else f"{default:,.15g}"
        meaning = f"{meaning}; default {shown}"
    return typer.Option(
        default,
        *([short] if short else []),
        name,
        metavar=metavar,
        help=meaning,
        show_default=False,
        rich_help_panel=panel,
        parser=None if read is None else _parser(read, name),
    )


def argument(metavar: str, meaning: str, *, default: object = ...) -> Any:
    """One argument: its unit as the metavar, its meaning."""
    return typer.Argument(default, metavar=metavar, help=meaning, show_default=False)


def read_size(text: str, *, where: str) -> Size:
    """Params and tokens from 1B:20B.

    Raises:
        InputError: not two counts.
    """
    params, tokens = _read_pair(text, where=where, what="PARAMS:TOKENS", example="1B:20B")
    return Size(params, tokens, text)


def read_range(text: str, *, where: str) -> TypedRange:
    """A range from 10M:1B.

    Raises:
        InputError: not two numbers, or the first is above the second.
    """
    low, high = _read_pair(text, where=where, what="LOW:HIGH", example="two numbers, as 10M:1B")
    if low > high:
        raise InputError(f"{where} '{text}': the first is above the second; write LOW:HIGH")
    return TypedRange(low, high)


def read_tokens(text: str, *, where: str) -> int:
    """A whole number of tokens from 400k or 2M.

    Raises:
        InputError: not a number, or no whole one.
    """
    count = parse_count(text, where=where)
    if count != int(count):
        raise InputError(f"{where} '{text}': {count:g} is not a whole number of tokens")
    return int(count)


def read_token_list(text: str, *, where: str) -> Counts:
    """Whole numbers of tokens from 100k,200k.

    Raises:
        InputError: as `read_tokens`.
    """
    return Counts(read_tokens(part, where=where) for part in text.split(","))


def read_sizes(text: str, *, where: str) -> Counts:
    """Sizes from 64,128,256.

    Raises:
        InputError: not whole numbers above 0.
    """
    sizes = []
    for part in text.split(","):
        if not part.strip().isdecimal() or int(part) < 1:
            raise InputError(f"{where} '{text}': '{part.strip()}' is no size; write 64,128,256")
        sizes.append(int(part))
    return Counts(sizes)


def parametrization(panel: str, *, default: str = "sp") -> Any:
    """`--parametrization`."""
    return option(panel, "--parametrization", "NAME", "sp, mup, completep", default=default)


def optimizer(panel: str) -> Any:
    """`--optimizer`."""
    return option(panel, "--optimizer", "NAME", "adamw, lion, muon", default="adamw")


def device(panel: str) -> Any:
    """`--device`."""
    return option(panel, "--device", "NAME", "cpu, cuda, cuda:N", default="cpu")


def corpus(panel: str, *, default: str = "python") -> Any:
    """`--corpus`."""
    meaning = "python, a .txt, .jsonl or .parquet file, a folder of them, hf:NAME, zipf:"
    return option(panel, "--corpus", "NAME", meaning, default=default)


def tokenizer(panel: str) -> Any:
    """`--tokenizer`."""
    return option(panel, "--tokenizer", "NAME", "bytes, bpe:SIZE", default="bytes")


def executor(panel: str) -> Any:
    """`--executor`."""
    meaning = "auto (the fastest in a short timing), sequential, processes, ensemble, ray"
    return option(panel, "--executor", "NAME", meaning, default="auto")


def workers(panel: str) -> Any:
    """`--workers`."""
    return option(panel, "--workers", "RUNS", "at once; default: one a core, 4 a GPU, 8 a stack")


def address(panel: str) -> Any:
    """`--address`."""
    meaning = "Ray cluster; default: RAY_ADDRESS, this machine"
    return option(panel, "--address", "HOST:PORT", meaning)


def target(panel: str, meaning: str, *, default: object = None) -> Any:
    """`--target`, a `Size`."""
    return option(panel, "--target", "PARAMS:TOKENS", meaning, default=default, read=read_size)


def _parser(read: Reader, name: str) -> Callable[[str], Any]:
    """What typer calls with a text: the reader, told which option it reads."""

    def parse(text: str) -> Any:
        return read(text, where=name)

    return parse


def _read_pair(text: str, *, where: str, what: str, example: str) -> tuple[float, float]:
    """Two counts parted by a colon.

    Raises:
        InputError: not two counts.
    """
    parts = text.split(":")
    if len(parts) != 2:
        raise InputError(f"{where} '{text}': is not {what}; write {example}")
    return parse_count(parts[0], where=where), parse_count(parts[1], where=where)


AS_JSON = option(OUTPUT, "--json", None, "print JSON", default=False)
REPLACE = option(OUTPUT, "--force", None, "replace files that exist", default=False)
PRIOR = option(
    "Laws",
    "--prior",
    "NAME|none",
    "law of lr and batch beside the runs; default: step-law for few runs or sizes, else none",
)
PRIOR_FILES = option("Laws", "--laws", "FILE", "law file of your own, for --prior; repeatable")
RUN_TABLES = argument("RUNS...", "CSV or Parquet tables")

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
OPTIMIZER = optimizer(_TRAINING)
PARAMETRIZATION = parametrization(_TRAINING)
BASE_WIDTH = option(_TRAINING, "--base-width", "WIDTH", "base d_model of muP; default 256")
BASE_LAYERS = option(_TRAINING, "--base-layers", "COUNT", "base depth of CompleteP")
BASE_HEAD_DIM = option(_TRAINING, "--base-head-dim", "WIDTH", "base head dim of muP")
SCHEDULE = option(
    _TRAINING,
    "--schedule",
    "KIND",
    "wsd, linear, cosine, wsd-s, constant, inverse-sqrt; default wsd",
)
CURVE = option(_TRAINING, "--curve", "FILE", "curve law that chooses --schedule best")
CHECKPOINTS = option(_TRAINING, "--checkpoints", "TOKENS,..", "budgets of wsd-s: 5B,10B,20B")
ROUND_BATCH = option(
    _TRAINING, "--round-batch", "HOW", "none: whole sequences; pow2", default="none"
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

JSON = option(OUTPUT, "--json", None, "print the plan as JSON", default=False)
EXPLAIN = option(
    OUTPUT, "--explain", None, "the arithmetic and source of each number", default=False
)
EXPORT = option(OUTPUT, "--export", "TRAINER", "also write a trainer's config; plan trainers")
OUT = option(OUTPUT, "--out", "FILE", "where --export writes", short="-o")
LOSSY = option(OUTPUT, "--lossy", None, "with --export: write the nearest", default=False)
FORCE = option(OUTPUT, "--force", None, "with --export: overwrite FILE", default=False)
VERSION = option(OUTPUT, "--version", None, "print the version", default=False)
