"""Anchors: models that the user has tuned already, which fix the level of a law in their setup.

What one gives moves and nothing else: lr, batch, weight decay and loss each by itself.
`planner.plan.anchor_text` and `planner.plan.anchor_files` read them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from fitting.errors import InputError, nearest_name
from fitting.units import format_count
from proxies.run.defaults import LR_BOUNDS, PARAMS_BOUNDS, TOKENS_BOUNDS, WEIGHT_DECAY_BOUNDS
from proxies.run.parametrization import OPTIMIZERS, RULES

DEFAULT_GRID = 2.0
"""Factor between the values tried, where an anchor does not say: sweeps go by factors of two."""

RUN_LOSS_LOG_SD = 0.002
"""Of ln(loss) of one run: 0.2% from run to run on Step Law's runs (README of the measurements)."""

LOSS_BOUNDS = (1e-3, 100.0)
"""Nats per token outside which a loss is taken for a slip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """One tuned model; what it gives is what `log_sd` names."""

    name: str
    """As warnings and explanations call it: `134M params, 2.7B tokens`."""
    params: float
    """N, non-embedding."""
    tokens: float
    """D."""
    lr: float
    """Peak; the base lr under muP and CompleteP."""
    batch_tokens: float | None = None
    """The batch that it was trained at; None where it is not said."""
    weight_decay: float | None = None
    """The base value under muP and CompleteP."""
    loss: float | None = None
    """Final, nats per token."""
    optimizer: str | None = None
    """None for the plan's."""
    parametrization: str | None = None
    """None for the plan's."""
    d_model: int | None = None
    """Width; None for that of a usual shape of these params."""
    base_d_model: int | None = None
    """None for the plan's."""
    given: str = ""
    """The text or file that it was read from, as `--anchor` takes it; empty for none."""
    log_sd: Mapping[str, float] = field(default_factory=dict)
    """Its own error, the standard deviation of ln(value), of each quantity that it moves: lr,
    batch_tokens, weight_decay, loss."""


def own_errors(
    grid: float, *, batch_tokens: float | None, weight_decay: float | None, loss: float | None
) -> dict[str, float]:
    """Errors of an anchor tuned on a grid: half a step in log; of its loss the noise of one run."""
    half = math.log(grid) / 2
    tuned = {"lr": 0.0, "batch_tokens": batch_tokens, "weight_decay": weight_decay}
    errors = {name: half for name, value in tuned.items() if value is not None}
    return errors if loss is None else errors | {"loss": RUN_LOSS_LOG_SD}


def make_anchor(where: str, *, params: float, tokens: float, lr: float, **rest: object) -> Anchor:
    """A checked anchor, named by its size.

    Raises:
        InputError: a value out of bounds, or an optimizer or parametrization not known.
    """
    name = f"{format_count(params)} params, {format_count(tokens)} tokens"
    anchor = Anchor(name=name, params=params, tokens=tokens, lr=lr, **rest)  # type: ignore[arg-type]  # by name
    check_anchor(anchor, where=where)
    return anchor


def check_anchor(anchor: Anchor, *, where: str) -> None:
    """Refuse an anchor that no run can have been.

    Raises:
        InputError: the value and its bounds.
    """
    bounds = {
        "params": PARAMS_BOUNDS,
        "tokens": TOKENS_BOUNDS,
        "lr": LR_BOUNDS,
        "weight_decay": WEIGHT_DECAY_BOUNDS,
        "loss": LOSS_BOUNDS,
    }
    for name, (low, high) in bounds.items():
        value = getattr(anchor, name)
        if value is not None and not low <= value <= high:
            key = name.replace("_", "-")
            raise InputError(f"{where}: {key} {value:g} must be {low:g} to {high:g}")
    if anchor.batch_tokens is not None and not 1 <= anchor.batch_tokens <= anchor.tokens:
        raise InputError(
            f"{where}: a batch of {format_count(anchor.batch_tokens)} tokens is larger than the "
            f"{format_count(anchor.tokens)} tokens trained on; the batch is in tokens"
        )
    for key, known in (("optimizer", OPTIMIZERS), ("parametrization", RULES)):
        value = getattr(anchor, key)
        if value is not None and value not in known:
            raise InputError(
                f"{where}: {key} '{value}' is not known{nearest_name(value, known)}; "
                f"one of {', '.join(known)}"
            )
