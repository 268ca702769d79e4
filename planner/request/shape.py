"""What is asked of the model's shape: a known model, sizes of one's own, a whole shape, nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fitting.errors import InputError
from fitting.units import format_count
from proxies.run.defaults import AGREEMENT, VOCAB_SIZE
from proxies.run.experts import Experts
from proxies.run.shape import Shape, count_params
from proxies.run.sizing import ChosenShape, derive_shape


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeRequest:
    """What was asked of the shape, None where it was left out; nothing to have one chosen."""

    model: str | None = None
    """Name of a known model."""
    d_model: int | None = None
    n_layers: int | None = None
    n_heads: int | None = None
    n_kv_heads: int | None = None
    d_ff: int | None = None
    """Of one expert, where there are experts."""
    vocab_size: int | None = None
    """None for the model's own, or 32,000."""
    tied_embeddings: bool = False
    """Whether the head is the embedding, of a known model too."""
    whole: Shape | None = None
    """A shape with all its parts, as a config has it: then nothing else here is read. Of a sparse
    model the dense one that a token sees."""
    reason: str = ""
    """Why it is the whole one."""


def given_shape(
    asked: ShapeRequest, experts: Experts | None, seq_len: int | None
) -> tuple[ChosenShape | None, int | None]:
    """The shape of a known model or of the user's own widths, and the model's sequence length.

    Returns:
        (None, None) where the shape is to be chosen.

    Raises:
        InputError: a model and widths together, or widths without depth.
    """
    if asked.whole is not None:
        return ChosenShape(shape=asked.whole, reason=asked.reason), None
    own = {
        "--d-model": asked.d_model,
        "--layers": asked.n_layers,
        "--heads": asked.n_heads,
        "--kv-heads": asked.n_kv_heads,
        "--d-ff": asked.d_ff,
    }
    named = [option for option, value in own.items() if value is not None]
    for option, size in (("--seq-len", seq_len), ("--vocab", asked.vocab_size)):
        if size is not None and size < 1:
            raise InputError(f"{option} {size}: must be at least 1")
    if asked.model is not None:
        if named:
            raise InputError(f"{named[0]}: --model fixes the shape; leave out one of them")
        if experts is not None:
            raise InputError("--experts: --model is dense; give --params or a shape of your own")
        return _known_shape(asked, asked.model)
    if not named:
        return None, None
    if asked.d_model is None or asked.n_layers is None:
        raise InputError(f"{named[0]}: a shape of your own needs --d-model and --layers")
    # That of what a token sees.
    d_ff = asked.d_ff if experts is None or asked.d_ff is None else asked.d_ff * experts.active
    shape = derive_shape(
        d_model=asked.d_model,
        n_layers=asked.n_layers,
        n_heads=asked.n_heads,
        n_kv_heads=asked.n_kv_heads,
        d_ff=d_ff,
        vocab_size=asked.vocab_size or VOCAB_SIZE,
        tied_embeddings=asked.tied_embeddings,
    )
    return shape, None


def params_of_shape(shape: Shape, params: float | None) -> float:
    """Params of a given shape; `--params` beside it must agree within 2%.

    Raises:
        InputError: with both counts.
    """
    counted = float(count_params(shape).params)
    if params is not None and abs(params / counted - 1) > AGREEMENT:
        raise InputError(
            f"--params {format_count(params)}: the shape has {format_count(counted)} "
            "non-embedding parameters; leave --params out"
        )
    return counted if params is None else params


def _known_shape(asked: ShapeRequest, name: str) -> tuple[ChosenShape, int | None]:
    """A known model's shape, with the vocabulary and tying that were asked for instead."""
    from planner.facts.models import read_model

    model = read_model(name)
    shape = model.shape
    if asked.vocab_size is not None:
        shape = replace(shape, vocab_size=asked.vocab_size)
    if asked.tied_embeddings:
        shape = replace(shape, tied_embeddings=True)
    note = f"; {model.note}" if model.note else ""
    reason = f"that of {model.name} ({model.source}){note}"
    return ChosenShape(shape=shape, reason=reason), model.seq_len
