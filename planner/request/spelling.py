"""A shape as options of `plan` can say it: by its sizes, as a known model, or by its params."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fitting.errors import InputError
from planner.facts.models import list_models, read_model
from proxies.run.defaults import AGREEMENT
from proxies.run.shape import Shape, count_params
from proxies.run.sizing import choose_shape, derive_shape


@dataclass(frozen=True, slots=True)
class SpelledShape:
    """Values of options that name a model, and the model that they name."""

    values: Mapping[str, Any]
    shape: Shape
    exact: bool
    """Whether it is the model that was meant, for a plan."""


def spell_shape(shape: Shape) -> SpelledShape:
    """The nearest model that options can name."""
    named = {"vocab": shape.vocab_size, "tied": shape.tied_embeddings}
    sizes = {
        "d_model": shape.d_model,
        "layers": shape.n_layers,
        "heads": shape.n_heads,
        "kv_heads": shape.n_kv_heads,
        "d_ff": shape.d_ff,
        **named,
    }
    own = count_params(shape).params
    ours = _family_shape(shape)
    if ours is not None and abs(count_params(ours).params / own - 1) <= AGREEMENT:
        return SpelledShape(sizes, ours, _agree(ours, shape))
    known = next((name for name in list_models() if _agree(read_model(name).shape, shape)), None)
    if known is not None:
        return SpelledShape({"model": known}, read_model(known).shape, exact=True)
    usual = choose_shape(
        own, vocab_size=shape.vocab_size, tied_embeddings=shape.tied_embeddings
    ).shape
    return SpelledShape({"params": float(own), **named}, usual, exact=False)


def _family_shape(shape: Shape) -> Shape | None:
    """A shape of the same sizes in our LLaMA-like family; None where its heads do not fit."""
    try:
        return derive_shape(
            d_model=shape.d_model,
            n_layers=shape.n_layers,
            n_heads=shape.n_heads,
            n_kv_heads=shape.n_kv_heads,
            d_ff=shape.d_ff,
            vocab_size=shape.vocab_size,
            tied_embeddings=shape.tied_embeddings,
        ).shape
    except InputError:
        return None


def _agree(one: Shape, other: Shape) -> bool:
    """Whether two shapes are one for a plan."""
    return replace(one, norm_eps=other.norm_eps, rope_theta=other.rope_theta) == other
