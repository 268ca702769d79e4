"""What is asked of a plan, in numbers, and the target and shape that it means.

The command line, Python, a plan's file, a trainer's config and a change of a run all come to this
one record. Every refusal names the option that would say it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fitting.errors import InputError
from fitting.laws.evaluate import speaks_of
from fitting.units import format_count
from planner.facts.laws import DEFAULT_LAWS, find_law
from planner.request.budget import Budget
from planner.request.choices import Choices
from planner.request.shape import ShapeRequest, given_shape, params_of_shape
from planner.request.target import Scale, Target, resolve_scale
from proxies.run.defaults import SEQ_LEN, VOCAB_SIZE
from proxies.run.experts import sparse_shape
from proxies.run.shape import Shape, count_params
from proxies.run.sizing import ChosenShape, choose_shape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fitting.laws.law import Law


@dataclass(frozen=True, slots=True, kw_only=True)
class LawFile:
    """A law file of the user's own."""

    path: str
    """As it was given."""
    sha256: str
    """Of what was read."""

    @property
    def name(self) -> str:
        """Its law's name in the law book."""
        return Path(self.path).stem


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked of a plan."""

    target: Scale = field(default_factory=Scale)
    shape: ShapeRequest = field(default_factory=ShapeRequest)
    choices: Choices = field(default_factory=Choices)
    budget: Budget | None = None
    """What chooses params and tokens; None where the target says them."""
    laws: tuple[LawFile, ...] = ()
    """They come before the defaults, the last first."""

    @property
    def own_laws(self) -> tuple[str, ...]:
        """Names of the user's own laws."""
        return tuple(law.name for law in self.laws)


def ask_for(
    target: Target,
    *,
    shape: Shape | None = None,
    reason: str = "given",
    choices: Choices | None = None,
    laws: tuple[LawFile, ...] = (),
) -> Request:
    """The request of a target in numbers.

    Args:
        target: params and tokens, sequence length and vocabulary.
        shape: the model; None to have one chosen for the params.
        reason: why it is that shape.
        choices: None for the defaults.
        laws: the user's own law files.
    """
    whole = ShapeRequest(vocab_size=target.vocab_size)
    if shape is not None:
        whole = ShapeRequest(whole=shape, reason=reason)
    return Request(
        target=Scale(params=target.params, tokens=target.tokens, seq_len=target.seq_len),
        shape=whole,
        choices=choices or Choices(),
        laws=laws,
    )


def kept_laws(paths: Sequence[Path], book: Mapping[str, Law]) -> tuple[LawFile, ...]:
    """Law files as a request keeps them; the book holds what was read of them."""
    return tuple(LawFile(path=str(path), sha256=book[path.stem].sha256) for path in paths)


def sequence_length(request: Request) -> int:
    """Tokens a sequence: as asked, the known model's, or the default."""
    _, own = given_shape(request.shape, request.choices.experts, request.target.seq_len)
    return request.target.seq_len or own or SEQ_LEN


def resolve(request: Request, book: Mapping[str, Law]) -> tuple[Target, ChosenShape]:
    """The target and the shape that a request means; its budget is spent already.

    Raises:
        InputError: naming the option.
    """
    asked, experts = request.shape, request.choices.experts
    shape, model_seq_len = given_shape(asked, experts, request.target.seq_len)
    scale, budgets = request.target, request.choices.checkpoint_tokens
    params = scale.params
    if asked.whole is not None:
        params = float(count_params(asked.whole).params) if params is None else params
    elif experts is not None:
        shape = sparse_shape(
            experts,
            shape,
            params,
            vocab_size=asked.vocab_size or VOCAB_SIZE,
            tied=asked.tied_embeddings,
        )
        params = float(count_params(shape.shape).params)
    elif shape is not None:
        params = params_of_shape(shape.shape, params)
    tokens = budgets[-1] if scale.tokens is None and budgets else scale.tokens
    params, tokens = resolve_scale(
        replace(scale, params=params, tokens=tokens), loss_law=_loss_law(request, book)
    )
    chosen = shape or choose_shape(
        params,
        vocab_size=asked.vocab_size or VOCAB_SIZE,
        tied_embeddings=asked.tied_embeddings,
    )
    if budgets and budgets[-1] != tokens:
        raise InputError(
            f"--checkpoints {','.join(map(format_count, budgets))}: ends at "
            f"{format_count(budgets[-1])}, the run at {format_count(tokens)} tokens; the last "
            "budget is the run's"
        )
    target = Target(
        params=params,
        tokens=tokens,
        seq_len=scale.seq_len or model_seq_len or SEQ_LEN,
        vocab_size=chosen.shape.vocab_size,
    )
    return target, chosen


def _loss_law(request: Request, book: Mapping[str, Law]) -> Law:
    """The loss law that splits FLOPs: the one asked for, a user's own, else the default."""
    names = [request.choices.law, *reversed(request.own_laws), DEFAULT_LAWS["loss"]]
    laws = [find_law(book, name) for name in names if name is not None]
    return next(law for law in laws if speaks_of(law, "loss"))
