"""Which shape to give a model of a certain size, where only its parameters are asked for.

Published models agree on little but this: depth and width grow together. The aspect ratio
d_model / n_layers rises slowly with size and is flat above 11B parameters:

    aspect = 107 (min(N, 1.1e10) / 1.1e10)^0.169, residuals a factor of 1.5 (one sd)

Least squares of ln aspect on ln N, with the knee free, over the 30 distinct (d_model, n_layers)
of the Pythia, LLaMA, Llama 2 to 3.2, TinyLlama, Mistral, Amber, StableLM, DeepSeek, OLMo 1 to 3,
Qwen2.5, Qwen3, SmolLM2 and SmolLM3 models (2023 and later, 1.2M to 402B non-embedding
parameters). The scatter is the message: an aspect between 70% and 150% of the rule is ordinary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from fitting.errors import InputError
from fitting.units import format_count
from proxies.run.shape import Shape, check_shape, check_size, count_params

ASPECT_ABOVE_KNEE = 107.0
"""d_model / n_layers of large models (fitted, see the module's docstring)."""
ASPECT_KNEE = 1.1e10
"""Non-embedding parameters from which the aspect no longer grows (fitted)."""
ASPECT_EXPONENT = 0.169
"""Power of N by which the aspect grows below the knee (fitted)."""
ASPECT_SCATTER = 0.40
"""Residual standard deviation of ln aspect (fitted)."""

FF_RATIO = 8 / 3
"""d_ff / d_model of a gated MLP with the parameters of an ungated one of 4 d_model (LLaMA)."""
FF_SCATTER = 0.1
"""Weight of ln (d_ff / d_model) against the aspect in the choice (assumed)."""
FF_LOW, FF_HIGH = 2.2, 3.6
"""Bounds of d_ff / d_model; published gated models lie between 2.67 and 5.83."""
COUNT_SCATTER = 0.01
"""Weight of ln (count / request) against the aspect in the choice (assumed)."""
ODD_LAYERS = 0.25
"""What an odd number of layers costs in the choice: it splits badly in two stages (assumed)."""

RUNG = 1.025
"""Ratio of neighbouring rungs of the ladder of sizes that `choose_shape` picks from."""
SMALLEST, LARGEST = 1e6, 2e12
"""Non-embedding parameters that can be asked for."""

WIDTH_STEPS = ((8192, 2048), (4096, 1024), (1024, 256), (0, 64))
"""Grid of widths: from the first, the distance to the next."""

LANDMARKS = (
    ("Pythia 14M", 1_189_888, 128 / 6),
    ("Pythia 70M", 18_915_328, 512 / 6),
    ("SmolLM2 135M", 106_203_456, 576 / 30),
    ("Pythia 410M", 302_311_424, 1024 / 24),
    ("Qwen3 0.6B", 440_467_456, 1024 / 28),
    ("TinyLlama", 968_976_384, 2048 / 22),
    ("Qwen3 1.7B", 1_409_410_048, 2048 / 28),
    ("Llama 3.2 3B", 2_818_747_392, 3072 / 28),
    ("Qwen3 8B", 6_946_075_648, 4096 / 36),
    ("OLMo-2 13B", 12_688_593_920, 5120 / 40),
    ("Qwen3 32B", 31_206_298_624, 5120 / 64),
    ("Llama 3 70B", 68_452_360_192, 8192 / 80),
    ("Llama 3.1 405B", 401_650_696_192, 16384 / 126),
)
"""Models that a reason compares with: name, non-embedding parameters, d_model / n_layers."""


@dataclass(frozen=True, slots=True)
class ChosenShape:
    """A shape, and why it is this one."""

    shape: Shape
    reason: str
    """One sentence for a person to read, without a full stop."""


@dataclass(frozen=True, slots=True)
class ShapeCandidate:
    """Width, depth and MLP of a shape under consideration."""

    d_model: int
    n_layers: int
    d_ff: int
    params: int
    """Exact non-embedding parameters."""
    cost: float
    """Squared distances to what is wanted, in units of their scatter."""


def aspect_ratio(params: float) -> float:
    """d_model / n_layers that published models of `params` parameters have on average.

    107 (min(N, 1.1e10) / 1.1e10)^0.169; see the module's docstring for the models.

    Example:
        >>> round(aspect_ratio(1e8)), round(aspect_ratio(1e9)), round(aspect_ratio(7e10))
        (48, 71, 107)
    """
    return float(ASPECT_ABOVE_KNEE * (min(params, ASPECT_KNEE) / ASPECT_KNEE) ** ASPECT_EXPONENT)


def choose_shape(params: float, *, vocab_size: int, tied_embeddings: bool) -> ChosenShape:
    """Shape of our LLaMA-like family with about `params` non-embedding parameters.

    Sizes form a ladder with one shape for each 2.5%, the one that comes closest to the aspect ratio
    of published models, to d_ff = 8/3 d_model and to the middle of its rung; the request gets the
    rung nearest to it, so that a larger request never gets a smaller model. Widths lie on the
    grid of `WIDTH_STEPS`; head dim, kv heads and d_ff as in `head_dim_of`, `kv_heads_of` and
    `ff_multiple_of`.

    Args:
        params: non-embedding parameters N, from 1e6 to 2e12.
        vocab_size: rows of the embedding, > 0; changes nothing else.
        tied_embeddings: whether the head is the embedding; changes nothing else.

    Returns:
        The shape and why; within 3% of `params` from 4M on, within 7% below.

    Raises:
        InputError: `params` or `vocab_size` out of range.

    Example:
        >>> chosen = choose_shape(7e9, vocab_size=32_000, tied_embeddings=False)
        >>> chosen.shape.d_model, chosen.shape.n_layers, chosen.shape.d_ff
        (4096, 40, 10752)
    """
    if not SMALLEST <= params <= LARGEST:
        raise InputError(
            f"--params {params:.4g}: shapes are chosen from {format_count(SMALLEST)} to "
            f"{format_count(LARGEST)} parameters; give --d-model and --layers for another"
        )
    found = nearest_candidate(params)
    head_dim = head_dim_of(found.d_model)
    shape = Shape(
        d_model=found.d_model,
        n_layers=found.n_layers,
        n_heads=found.d_model // head_dim,
        n_kv_heads=kv_heads_of(found.d_model),
        head_dim=head_dim,
        d_ff=found.d_ff,
        vocab_size=vocab_size,
        tied_embeddings=tied_embeddings,
    )
    check_shape(shape, where="--vocab")
    return ChosenShape(shape=shape, reason=explain_choice(shape, params=params))


def derive_shape(
    *,
    d_model: int,
    n_layers: int,
    n_heads: int | None = None,
    n_kv_heads: int | None = None,
    d_ff: int | None = None,
    vocab_size: int,
    tied_embeddings: bool,
) -> ChosenShape:
    """Shape of our LLaMA-like family from what was given, the rest derived.

    Args:
        d_model: width, > 0.
        n_layers: depth, > 0.
        n_heads: query heads, must divide `d_model`; None takes heads of 64 or 128 features.
        n_kv_heads: key and value heads, must divide `n_heads`; None means `n_heads`.
        d_ff: inner width of the MLP; None means 8/3 `d_model` rounded up to a multiple of 64.
        vocab_size: rows of the embedding, > 0.
        tied_embeddings: whether the head is the embedding.

    Returns:
        The shape, with a reason that says what was derived.

    Raises:
        InputError: a contradiction, by the name of the option.
    """
    given = {"--d-model": d_model, "--layers": n_layers, "--vocab": vocab_size}
    optional = {"--heads": n_heads, "--kv-heads": n_kv_heads, "--d-ff": d_ff}
    for option, value in (given | optional).items():
        if value is not None or option in given:
            check_size(value, where=option)
    heads = derive_heads(d_model) if n_heads is None else n_heads
    if d_model % heads:
        raise InputError(f"--heads {heads}: does not divide --d-model {d_model}")
    kv_heads = heads if n_kv_heads is None else n_kv_heads
    if heads % kv_heads:
        raise InputError(f"--kv-heads {kv_heads}: does not divide the {heads} heads")
    shape = Shape(
        d_model=d_model,
        n_layers=n_layers,
        n_heads=heads,
        n_kv_heads=kv_heads,
        head_dim=d_model // heads,
        d_ff=round_up(FF_RATIO * d_model, 64) if d_ff is None else d_ff,
        vocab_size=vocab_size,
        tied_embeddings=tied_embeddings,
    )
    sayings = {
        "--heads": f"{heads} heads of {shape.head_dim}",
        "--kv-heads": f"{kv_heads} kv heads, one a head",
        "--d-ff": f"d_ff {shape.d_ff:,}, 8/3 of the width rounded up to 64",
    }
    derived = [sayings[option] for option, value in optional.items() if value is None]
    reason = f"{n_layers} layers of {d_model:,} as given"
    return ChosenShape(
        shape=shape, reason=f"{reason}; derived: {', '.join(derived)}" if derived else reason
    )


def nearest_candidate(params: float) -> ShapeCandidate:
    """The rung of the ladder of sizes nearest to `params`; of two, the smaller.

    Looks one rung further than the first that has a shape: it may be nearer.
    """
    middle = round(math.log(params) / math.log(RUNG))
    found: dict[int, ShapeCandidate] = {}
    for reach in range(20):
        for rung in {middle - reach, middle + reach}:
            best = min(candidates(rung), key=lambda one: (one.cost, one.params), default=None)
            if best is not None:
                found[rung] = best
        if any(abs(rung - middle) < reach for rung in found):
            break
    return min(found.values(), key=lambda one: (abs(math.log(one.params / params)), one.params))


def candidates(rung: int) -> Iterator[ShapeCandidate]:
    """Shapes whose exact count lies within half a rung of RUNG^rung, in no order."""
    wanted = RUNG**rung
    aspect = aspect_ratio(wanted)
    # 12 L d^2 parameters and aspect = d / L: the width at which the aspect is the rule's.
    middle = (wanted * aspect / 12) ** (1 / 3)
    for d_model in widths(0.75 * middle, 1.35 * middle):
        for n_layers in depths(wanted, d_model=d_model):
            d_ff = fitting_d_ff(wanted, d_model=d_model, n_layers=n_layers)
            params = count_family(d_model=d_model, n_layers=n_layers, d_ff=d_ff)
            if abs(math.log(params / wanted)) > math.log(RUNG) / 2:
                continue
            cost = (
                (math.log(d_model / n_layers / aspect) / ASPECT_SCATTER) ** 2
                + (math.log(d_ff / d_model / FF_RATIO) / FF_SCATTER) ** 2
                + (math.log(params / wanted) / COUNT_SCATTER) ** 2
                + ODD_LAYERS * (n_layers % 2)
            )
            yield ShapeCandidate(d_model, n_layers, d_ff, params, cost)


def widths(low: float, high: float) -> Iterator[int]:
    """Widths from `low` to `high` on the grid of `WIDTH_STEPS`.

    The widths of published.md's models lie on it but for 1,600 and 6,656 (assumed for the rest:
    round widths tile well), and 8 kv heads divide the heads of all from 4,096 on.
    """
    d_model = 64
    while d_model <= high:
        if d_model >= low:
            yield d_model
        d_model += next(step for start, step in WIDTH_STEPS if d_model >= start)


def depths(wanted: float, *, d_model: int) -> range:
    """Numbers of layers that reach `wanted` with a d_ff within its bounds."""
    most = wanted / count_layer(d_model=d_model, d_ff=FF_LOW * d_model)
    fewest = wanted / count_layer(d_model=d_model, d_ff=FF_HIGH * d_model)
    return range(max(1, math.ceil(fewest)), math.floor(most) + 1)


def head_dim_of(d_model: int) -> int:
    """64 below a width of 2,048, 128 from there on, as the narrow and wide published models."""
    return 64 if d_model < 2048 else 128


def kv_heads_of(d_model: int) -> int:
    """Key and value heads: 8 from a width of 4,096 on, below that one for each head.

    The published models from 30B on since Llama 2 (2023) all have 8: the cache of a large
    model limits how it is served, and 8 splits over the GPUs of a node. A small model's cache is
    small and its loss gains from full heads.
    """
    return 8 if d_model >= 4096 else d_model // head_dim_of(d_model)


def ff_multiple_of(d_model: int) -> int:
    """What d_ff is a multiple of: 64 below a width of 1,024, else 128 (matrix tiles of a GPU)."""
    return 64 if d_model < 1024 else 128


def fitting_d_ff(wanted: float, *, d_model: int, n_layers: int) -> int:
    """The d_ff, on its grid, whose count comes closest to `wanted`."""
    without = count_family(d_model=d_model, n_layers=n_layers, d_ff=0)
    multiple = ff_multiple_of(d_model)
    return multiple * round((wanted - without) / (3 * n_layers * d_model * multiple))


def count_family(*, d_model: int, n_layers: int, d_ff: int) -> int:
    """Exact non-embedding parameters of our family, as `count_params` has them."""
    return n_layers * round(count_layer(d_model=d_model, d_ff=d_ff)) + d_model


def count_layer(*, d_model: int, d_ff: float) -> float:
    """Parameters of one layer of our family; a whole number for a whole `d_ff`."""
    kv_width = kv_heads_of(d_model) * head_dim_of(d_model)
    return d_model * (2 * d_model + 2 * kv_width + 3 * d_ff + 2)


def explain_choice(shape: Shape, *, params: float) -> str:
    """Why `shape` was chosen for a request of `params`, in one sentence."""
    off = count_params(shape).params / params - 1
    aspect = shape.d_model / shape.n_layers
    rule = aspect_ratio(params)
    smaller = [mark for mark in LANDMARKS if mark[1] <= params]
    larger = [mark for mark in LANDMARKS if mark[1] > params]
    marks = smaller[-1:] + larger[:1]
    neighbours = " and ".join(f"{name} has {ratio:.0f}" for name, _, ratio in marks)
    kv = "one kv head a head" if shape.n_kv_heads == shape.n_heads else "8 kv heads for serving"
    side = "over" if off >= 0 else "under"
    return (
        f"{shape.n_layers} layers of {shape.d_model:,}: aspect {aspect:.0f} where published models "
        f"of this size average {rule:.0f} ({neighbours}), heads of {shape.head_dim}, {kv}, "
        f"d_ff {shape.d_ff / shape.d_model:.2f} times the width; "
        f"{abs(off):.1%} {side} the request"
    )


def derive_heads(d_model: int) -> int:
    """Heads of 64 or 128 features, the usual one for the width first."""
    usual = head_dim_of(d_model)
    for head_dim in (usual, 192 - usual):
        if d_model % head_dim == 0:
            return d_model // head_dim
    raise InputError(f"--d-model {d_model}: not a multiple of 64 or 128; add --heads")


def round_up(value: float, multiple: int) -> int:
    """The smallest multiple of `multiple` that is at least `value`."""
    return multiple * math.ceil(value / multiple - 1e-9)
