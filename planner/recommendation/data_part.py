"""What a plan says of limited data: plain records, and nothing that computes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """A loss in nats per token with its 80% interval and the law it came from."""

    value: float
    low: float | None
    """Lower end of the 80% interval; None where none is known."""
    high: float | None
    law: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """One way to spend the same FLOPs, 6 N D, on the same unique tokens."""

    params: float
    tokens: float
    epochs: float
    loss: float
    """By the law of the repeats, nats per token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecayAdvice:
    """The weight decay that repeated data want; the plan's own does not follow it."""

    value: float | None
    """Coupled to lr as in torch's AdamW; None where no law covers the target."""
    law: str
    reason: str
    """What was measured, and where it does not cover the target, how far away that is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsembleLoss:
    """K models trained on the same data, their predictions averaged."""

    models: float
    """K; 0 for the limit of ever more."""
    loss: float
    gain: float
    """Share of the loss of one model that K of them save."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsemblePart:
    """What more models of one size gain on the same data, where it was measured."""

    law: str
    covered: bool
    """Whether the target lies where it was measured; if not, the gain here is not known."""
    params: float
    """Of each model, where it was measured."""
    unique_tokens: float
    losses: tuple[EnsembleLoss, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPart:
    """How far the data reach; None stands for what is not known."""

    unique_tokens: float
    epochs: float
    effective_tokens: float | None
    """Fresh tokens that count as much."""
    law: str | None = None
    """Law of the repeats, which the losses below come from."""
    effective_params: float | None = None
    """Params that these data can use."""
    repeat_worth: float | None = None
    """What one more token counts, of a fresh one: exp(-(epochs - 1) / r)."""
    loss: Forecast | None = None
    loss_if_fresh: float | None = None
    """Loss were all tokens distinct."""
    loss_infinite_epochs: Forecast | None = None
    """Asymptote in tokens: these params, these data, any number of epochs."""
    loss_infinite_params: Forecast | None = None
    """Asymptote in params: these tokens, any number of params."""
    loss_infinite_both: Forecast | None = None
    """Lowest loss that these data can give."""
    best_split: Split | None = None
    """The split of lowest loss of the plan's FLOPs on these data."""
    neighbours: tuple[Split, ...] = ()
    """Half the best params, the plan, twice the best params."""
    weight_decay: DecayAdvice | None = None
    ensemble: EnsemblePart | None = None
