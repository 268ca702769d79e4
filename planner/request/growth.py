"""A batch that grows during a run as it is asked for: its records and its text.

Kinds and lr rules have the names of `proxies.run.batching`, whose stages it comes to.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fitting.errors import InputError, nearest_name
from fitting.units import parse_count
from proxies.run.batching import LR_RULES, GrowthStage

KINDS = ("noise-scale", "ramp")
"""Doublings as the critical batch grows; equal steps over so many tokens."""

BETA2_RULES = ("fixed", "half-life")
"""beta2 as planned, as published ramps have it; or its half-life in tokens kept."""

OPTION = "--batch-growth"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchGrowthPart:
    """The batch during the run; the plan's own batch is that at which its lr holds.

    The plan's `steps` and `schedule` still count planned batches: an update's place in the
    schedule is the tokens seen over `batch_tokens`.
    """

    kind: str
    """A key of `KINDS`."""
    source: str
    """Law or runs of the critical batch; `given` for a ramp."""
    lr_rule: str
    """A key of `proxies.run.batching.LR_RULES`."""
    stages: tuple[GrowthStage, ...]
    """In order, at least two."""
    steps: int
    """Updates of the whole run."""
    relative_tokens: float | None
    """Tokens to the loss of the fixed batch, over its own; first order, by the critical batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthChoice:
    """What was asked of a growing batch; None stands for what the plan decides."""

    kind: str = "noise-scale"
    first_tokens: float | None = None
    last_tokens: float | None = None
    over_tokens: float | None = None
    """ramp only: tokens after which the batch is the largest; None for the warmup's."""
    fraction: float = 1.0
    """noise-scale only: batch over critical batch."""
    lr_rule: str = "sqrt"
    """That of Adam-like optimizers; `linear` is that of SGD."""
    beta2_rule: str = "fixed"
    noise: Path | None = field(default=None)
    """Runs with a measured noise scale; None for the law `power-lines`."""


def read_growth(text: str) -> GrowthChoice:
    """A growth as typed: a kind, then key=value words.

    Raises:
        InputError: unknown kind or key, or a value that is none.

    Example:
        >>> read_growth("ramp from=64K over=10B lr=none").lr_rule
        'none'
    """
    kind, *words = text.split() or [""]
    known("kind", kind, KINDS)
    said: dict[str, str] = {}
    for word in words:
        key, mark, value = word.partition("=")
        if not mark or key not in KEYS:
            raise InputError(
                f"{OPTION} '{word}': not known{nearest_name(key, KEYS)}; key=value with "
                f"{', '.join(KEYS)}"
            )
        if key in said:
            raise InputError(f"{OPTION} {word}: {key} is given twice; give it once")
        said[key] = value
    if kind == "ramp" and "fraction" in said:
        raise InputError(f"{OPTION} fraction={said['fraction']}: a ramp has none; use to=TOKENS")
    if kind == "noise-scale" and "over" in said:
        raise InputError(f"{OPTION} over={said['over']}: only a ramp has it; use fraction=SHARE")
    known("lr", said.get("lr", "sqrt"), tuple(LR_RULES))
    known("beta2", said.get("beta2", "fixed"), BETA2_RULES)
    fraction = parse_count(said.get("fraction", "1"), where=f"{OPTION} fraction")
    counts = {
        KEYS[key]: parse_count(said[key], where=f"{OPTION} {key}")
        for key in ("from", "to", "over")
        if key in said
    }
    return GrowthChoice(
        kind=kind,
        fraction=fraction,
        lr_rule=said.get("lr", "sqrt"),
        beta2_rule=said.get("beta2", "fixed"),
        noise=Path(said["noise"]) if "noise" in said else None,
        **counts,
    )


def growth_text(choice: GrowthChoice) -> str:
    """A growth as it is typed: its kind, and what is not as it is anyway.

    Example:
        >>> growth_text(read_growth("ramp from=64K over=10B lr=none"))
        'ramp from=64000 over=10000000000 lr=none'
    """
    usual = GrowthChoice(kind=choice.kind)
    found = [choice.kind]
    for key, name in KEYS.items():
        value = getattr(choice, name)
        if value != getattr(usual, name):
            found.append(f"{key}={value:.15g}" if isinstance(value, float) else f"{key}={value}")
    return " ".join(found)


def known(what: str, value: str, names: tuple[str, ...]) -> None:
    """Refuse a word that is none of `names`.

    Raises:
        InputError: with all of them.
    """
    if value not in names:
        raise InputError(
            f"{OPTION} {what} '{value}': not known{nearest_name(value, names)}; one of "
            f"{', '.join(names)}"
        )


KEYS = {
    "from": "first_tokens",
    "to": "last_tokens",
    "over": "over_tokens",
    "fraction": "fraction",
    "lr": "lr_rule",
    "beta2": "beta2_rule",
    "noise": "noise",
}
"""Keys of a growth's text, and the field that each sets."""
