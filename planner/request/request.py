"""What was typed, as a target, a shape and a schedule; every refusal names its option."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from fitting.errors import InputError
from fitting.laws.evaluate import speaks_of
from fitting.laws.law import Law
from fitting.units import format_count, parse_count
from planner.facts.laws import DEFAULT_LAWS, find_law, read_lawbook
from planner.request.target import AGREEMENT, Target, resolve_scale
from proxies.run.experts import Experts, sparse_shape
from proxies.run.shape import Shape, count_params
from proxies.run.sizing import ChosenShape, choose_shape, derive_shape

DEFAULT_SEQ_LEN = 2048
DEFAULT_VOCAB = 32_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """Options of the target and the shape as typed; None where left out."""

    params: str | None
    tokens: str | None
    flops: str | None
    tokens_per_param: str | None
    model: str | None
    d_model: int | None
    n_layers: int | None
    n_heads: int | None
    n_kv_heads: int | None
    d_ff: int | None
    """Of one expert, where there are experts."""
    experts: Experts | None
    seq_len: int | None
    vocab_size: int | None
    tied: bool
    schedule: str | None
    checkpoints: str | None
    law: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A target with its shape, schedule and law book."""

    target: Target
    chosen: ChosenShape
    schedule: str
    checkpoint_tokens: tuple[float, ...]
    book: dict[str, Law]
    user_laws: tuple[str, ...]
    """Names of the user's own files in the book."""


def read_request(typed: Typed, law_files: tuple[Path, ...]) -> Request:
    """The target, shape and schedule that were asked for.

    Raises:
        InputError: naming the option.
    """
    book = read_lawbook(law_files)
    shape, model_seq_len = given_shape(typed)
    seq_len = typed.seq_len or model_seq_len or DEFAULT_SEQ_LEN
    params = optional_count(typed.params, "--params")
    if typed.experts is not None:
        shape = sparse_shape(
            typed.experts,
            shape,
            params,
            vocab_size=typed.vocab_size or DEFAULT_VOCAB,
            tied=typed.tied,
        )
        params = float(count_params(shape.shape).params)
    elif shape is not None:
        params = params_of_shape(shape.shape, params)
    checkpoint_tokens = read_checkpoints(typed)
    tokens = optional_count(typed.tokens, "--tokens")
    if tokens is None and checkpoint_tokens:
        tokens = checkpoint_tokens[-1]
    params, tokens = resolve_scale(
        params=params,
        tokens=tokens,
        flops=optional_count(typed.flops, "--flops"),
        tokens_per_param=optional_count(typed.tokens_per_param, "--tokens-per-param"),
        loss_law=loss_law_of(typed, book, law_files),
    )
    chosen = shape or choose_shape(
        params, vocab_size=typed.vocab_size or DEFAULT_VOCAB, tied_embeddings=typed.tied
    )
    if checkpoint_tokens and checkpoint_tokens[-1] != tokens:
        raise InputError(
            f"--checkpoints {typed.checkpoints}: ends at {format_count(checkpoint_tokens[-1])}, "
            f"the run at {format_count(tokens)} tokens; the last budget is the run's"
        )
    return Request(
        target=Target(
            params=params, tokens=tokens, seq_len=seq_len, vocab_size=chosen.shape.vocab_size
        ),
        chosen=chosen,
        schedule=typed.schedule or ("wsd-s" if checkpoint_tokens else "wsd"),
        checkpoint_tokens=checkpoint_tokens,
        book=book,
        user_laws=tuple(path.stem for path in law_files),
    )


def loss_law_of(typed: Typed, book: dict[str, Law], law_files: tuple[Path, ...]) -> Law:
    """The loss law that splits FLOPs: the one asked for, a user's own, else the default."""
    names = [typed.law, *(path.stem for path in reversed(law_files)), DEFAULT_LAWS["loss"]]
    laws = [find_law(book, name) for name in names if name is not None]
    return next(law for law in laws if speaks_of(law, "loss"))


def optional_count(text: str | None, option: str) -> float | None:
    """A count as typed, or None where the option was left out.

    Raises:
        InputError: not a count.
    """
    return None if text is None else parse_count(text, where=option)


def given_shape(typed: Typed) -> tuple[ChosenShape | None, int | None]:
    """The shape of a known model or of the user's own widths, and the model's sequence length.

    Returns:
        (None, None) where the shape is to be chosen.

    Raises:
        InputError: a model and widths together, or widths without depth.
    """
    own = {
        "--d-model": typed.d_model,
        "--layers": typed.n_layers,
        "--heads": typed.n_heads,
        "--kv-heads": typed.n_kv_heads,
        "--d-ff": typed.d_ff,
    }
    named = [option for option, value in own.items() if value is not None]
    for option, size in (("--seq-len", typed.seq_len), ("--vocab", typed.vocab_size)):
        if size is not None and size < 1:
            raise InputError(f"{option} {size}: must be at least 1")
    if typed.model is not None:
        if named:
            raise InputError(f"{named[0]}: --model fixes the shape; leave out one of them")
        if typed.experts is not None:
            raise InputError("--experts: --model is dense; give --params or a shape of your own")
        return known_shape(typed, typed.model)
    if not named:
        return None, None
    if typed.d_model is None or typed.n_layers is None:
        raise InputError(f"{named[0]}: a shape of your own needs --d-model and --layers")
    shape = derive_shape(
        d_model=typed.d_model,
        n_layers=typed.n_layers,
        n_heads=typed.n_heads,
        n_kv_heads=typed.n_kv_heads,
        d_ff=active_width(typed),
        vocab_size=typed.vocab_size or DEFAULT_VOCAB,
        tied_embeddings=typed.tied,
    )
    return shape, None


def active_width(typed: Typed) -> int | None:
    """d_ff of what a token sees: as typed, times the active experts where there are experts."""
    if typed.d_ff is None or typed.experts is None:
        return typed.d_ff
    return typed.d_ff * typed.experts.active


def known_shape(typed: Typed, name: str) -> tuple[ChosenShape, int | None]:
    """A known model's shape, with the vocabulary and tying that were asked for instead."""
    from planner.facts.models import read_model

    model = read_model(name)
    shape = model.shape
    if typed.vocab_size is not None:
        shape = replace(shape, vocab_size=typed.vocab_size)
    if typed.tied:
        shape = replace(shape, tied_embeddings=True)
    note = f"; {model.note}" if model.note else ""
    reason = f"that of {model.name} ({model.source}){note}"
    return ChosenShape(shape=shape, reason=reason), model.seq_len


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


def read_checkpoints(typed: Typed) -> tuple[float, ...]:
    """Budgets of WSD-S in tokens, rising.

    Raises:
        InputError: not rising, or asked of another schedule.
    """
    if typed.checkpoints is None:
        return ()
    if typed.schedule not in (None, "wsd-s"):
        raise InputError(
            f"--checkpoints {typed.checkpoints}: schedule {typed.schedule} has one budget; "
            "use --schedule wsd-s"
        )
    found = tuple(parse_count(part, where="--checkpoints") for part in typed.checkpoints.split(","))
    if any(low >= high for low, high in pairwise(found)):
        raise InputError(f"--checkpoints {typed.checkpoints}: budgets must rise, as 5B,10B,20B")
    return found
