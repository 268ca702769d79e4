"""What a sweep is: the tables of SPEC.toml as frozen dataclasses, in the runs table's names.

pydantic reads a file straight into these (`proxies.sweep.spec_file`), so each field's type is also
its check and its line in the JSON schema. What one field alone cannot say is checked there too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from fitting.errors import InputError
from fitting.units import parse_count

CONFIG: dict[str, Any] = {"extra": "forbid", "use_attribute_docstrings": True}
"""pydantic's reading: unknown keys are refused, docstrings become the schema's descriptions."""

STEP = 2**0.5
"""Factor between neighbours of a range where none is given: half an octave."""


def read_count(value: object) -> object:
    """A count given as text, "20M" or "1e9"; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return parse_count(value, where="count")
    except InputError as error:
        raise ValueError(str(error)) from error


def read_tokens(value: object) -> object:
    """A count of tokens: whole numbers given as float64 become integers."""
    count = read_count(value)
    return int(count) if isinstance(count, float) and count.is_integer() else count


def read_seconds(value: object) -> object:
    """A time given as text, "90s", "15m", "2h" or "1d", in seconds; anything else as it is."""
    if not isinstance(value, str):
        return value
    seconds = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
    try:
        return float(value[:-1]) * seconds[value[-1]]
    except (ValueError, LookupError):
        raise ValueError("write seconds, 90s, 15m, 2h or 1d") from None


def kind_of_axis(value: object) -> str:
    """Which of the three ways to give an axis a value is meant for."""
    if isinstance(value, AxisRange | dict):
        return "range"
    return "list" if isinstance(value, list | tuple) else "value"


Whole = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[
    float,
    BeforeValidator(read_count, json_schema_input_type=float | str),
    Field(gt=0, allow_inf_nan=False),
]
Tokens = Annotated[int, BeforeValidator(read_tokens, json_schema_input_type=int | str), Field(ge=1)]
Seconds = Annotated[
    float,
    BeforeValidator(read_seconds, json_schema_input_type=float | str),
    Field(gt=0, allow_inf_nan=False),
]
ProbeName = Literal[
    "all",
    "max_attention_logit",
    "attention_entropy",
    "output_log_z",
    "grad_rms",
    "top_singular_value",
]
"""A key of `proxies.checks.probes.PROBES`, which needs torch; or all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisRange:
    """A range of one hyperparameter, searched in its logarithm."""

    __pydantic_config__: ClassVar[dict[str, Any]] = CONFIG

    low: Positive
    """Lowest value."""
    high: Positive
    """Highest value, above `low`."""
    factor: Annotated[float, Field(gt=1, allow_inf_nan=False)] = STEP
    """Between neighbours where values are picked from a lattice: the samplers grid and cells."""


Axis = Annotated[
    Annotated[Positive, Tag("value")]
    | Annotated[tuple[Positive, ...], Field(min_length=1), Tag("list")]
    | Annotated[AxisRange, Tag("range")],
    Discriminator(kind_of_axis),
]
"""One value, a list of values, or a range."""

DecayAxis = Annotated[
    Annotated[NotNegative, Tag("value")]
    | Annotated[tuple[NotNegative, ...], Field(min_length=1), Tag("list")]
    | Annotated[AxisRange, Tag("range")],
    Discriminator(kind_of_axis),
]
"""The same for weight decay, which may be 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """The family: its members' widths and depths, and what they share."""

    __pydantic_config__: ClassVar[dict[str, Any]] = CONFIG

    d_model: Annotated[tuple[Whole, ...], Field(min_length=1)]
    """Width of each member."""
    n_layers: Annotated[tuple[Whole, ...], Field(min_length=1)]
    """Depth of each member, or one for all."""
    head_dim: Whole
    """Features a head, the same in every member; divides each width."""
    n_kv_heads: Whole | None = None
    """Key and value heads of every member; None for one a head."""
    d_ff: Annotated[tuple[Whole, ...], Field(min_length=1)] | None = None
    """Inner width of each member's MLP, or one for all; None for 8/3 of the width, rounded up to a
    multiple of 64."""
    tied_embeddings: bool = False
    """Whether the output head is the embedding."""
    qk_norm: Literal["none", "per-head", "full-width"] = "none"
    """Norms on queries and keys."""
    parametrization: Literal["sp", "mup", "completep"] = "sp"
    """How lr, weight decay and init change with width and depth."""
    base_d_model: Whole | None = None
    """Width at which lr means what it says; None for 256. Not for sp."""
    base_n_layers: Whole | None = None
    """Depth at which it does; of completep, which needs it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetSpec:
    """How long each run is, and when the sweep ends."""

    __pydantic_config__: ClassVar[dict[str, Any]] = CONFIG

    tokens: Annotated[tuple[Tokens, ...], Field(min_length=1)] | None = None
    """Training tokens; every member is trained on each."""
    tokens_per_param: Annotated[tuple[Positive, ...], Field(min_length=1)] | None = None
    """The same as multiples of a member's params; one of the two is given."""
    flops: Count | None = None
    """6 params tokens, summed over runs, at which no new run starts; None for no limit."""
    wall_time: Seconds | None = None
    """Seconds, or "15m", at which no new run starts; None for no limit."""
    interval_width: Annotated[float, Field(gt=1, allow_inf_nan=False)] | None = None
    """A cell is done when the 80% intervals of its best lr and batch are narrower than this factor
    from end to end; None for when its runs are spent. With the sampler target it is the sweep that
    is done, and the intervals are those at the target. Those two samplers only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartSpec:
    """Where the best lr and batch are expected."""

    __pydantic_config__: ClassVar[dict[str, Any]] = CONFIG

    lr: Positive
    batch_tokens: Positive


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSpec:
    """The run that the sweep is for."""

    __pydantic_config__: ClassVar[dict[str, Any]] = CONFIG

    params: Count
    """Non-embedding, as 1e9 or "1B"."""
    tokens: Count
    """Training tokens, as 2e10 or "20B"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSpec:
    """What is varied in each cell, and how the next run is picked."""

    __pydantic_config__: ClassVar[dict[str, Any]] = CONFIG

    lr: Axis
    """Base peak learning rate."""
    batch_tokens: Axis
    """Batch in tokens, whole sequences."""
    weight_decay: DecayAxis = 0.1
    """Base weight decay, times lr."""
    sampler: Literal["cells", "target", "grid", "random", "tpe", "gp", "cma"] = "cells"
    """How the next run is picked: cells searches each cell for its best, target takes the run of
    any cell that tells most of `target`; the others are Optuna's."""
    target: TargetSpec | None = None
    """The model that is planned; for the sampler target, and no other."""
    runs_per_cell: Whole = 12
    """Most runs in each cell; the grid has as many as it has points."""
    law: str | None = None
    """Law whose lr and batch each cell starts from: a name that `plan laws` lists, or a file."""
    start: StartSpec | None = None
    """The same for the cheapest cell, by hand; later cells start from the runs so far."""
    pruner: Literal["none", "extrapolation", "median", "hyperband"] = "none"
    """What stops hopeless runs early; those that diverge stop at once in any case."""
    seed: int = 0
    """Of the sampler."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusSpec:
    """What is trained on."""

    __pydantic_config__: ClassVar[dict[str, Any]] = CONFIG

    source: str
    """python, a file or folder, hf:NAME or zipf:OPTIONS."""
    tokenizer: str = "bytes"
    """bytes, or bpe:SIZE."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """What every run of the sweep shares."""

    __pydantic_config__: ClassVar[dict[str, Any]] = CONFIG

    seq_len: Whole
    """Tokens of a training sequence."""
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0,)
    """Seeds of weights and data order: the grid runs every point with each, others take turns."""
    optimizer: Literal["adamw", "lion", "muon"] = "adamw"
    """Its constants are the usual ones but for beta1 and beta2 below."""
    beta1: Momentum | None = None
    """None for the optimizer's own."""
    beta2: Momentum | None = None
    """None for the optimizer's own."""
    schedule: Literal["wsd", "linear", "cosine", "constant", "inverse-sqrt"] = "wsd"
    """Shape of the learning rate."""
    warmup_fraction: Fraction | None = None
    """Share of the steps; None for 0.1 under mup and completep with adamw, else for the schedule's
    default."""
    decay_fraction: Fraction | None = None
    """Share of the steps; None for the schedule's default."""
    decay_shape: str | None = None
    """None for the schedule's default."""
    final_lr_fraction: Fraction | None = None
    """Last lr over the peak; None for the schedule's default."""
    init_std: Positive | None = None
    """Base standard deviation of the initial weights; None for 0.08 under mup and completep with
    adamw, else for 0.02."""
    head_init_std: Positive | None = None
    """That of the output head; None for `init_std`."""
    embedding_multiplier: Positive | None = None
    """On the output of the token embedding; None for 10 under mup and completep with adamw, else
    for 1."""
    grad_clip: Positive | None = 1.0
    """Largest norm of the gradient."""
    z_loss: NotNegative = 0.0
    """Weight of the squared log partition in the training loss."""
    epochs: Whole = 1
    """How often a token may be trained on."""
    eval_sequences: Annotated[int, Field(ge=2)] = 64
    """Held-out sequences that the final loss is the mean of."""
    micro_batch_sequences: Whole | None = None
    """Sequences of one forward and backward pass; None for the whole batch."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of matrix products."""
    probes: tuple[ProbeName, ...] = ()
    """Columns of the runs table measured on each trained model, as `plan stability` reads them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSpec:
    """A sweep, as SPEC.toml has it."""

    __pydantic_config__: ClassVar[dict[str, Any]] = CONFIG

    model: ModelSpec
    budget: BudgetSpec
    search: SearchSpec
    corpus: CorpusSpec
    run: RunSettings
