"""Limited data in words: rows of the plan's table, the arithmetic, and warnings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fitting.units import format_count, format_small
from planner.recommendation.limited_data import NEARLY_FREE_EPOCHS, has_repeats

if TYPE_CHECKING:
    from planner.plan.draft import Draft
    from planner.recommendation.data_part import DataPart, Forecast, Split

WORTH_SAYING = 0.001
"""Share of the loss from which a better split is a warning: the width of a plan's plateau."""

LAST_GAINS = 40
"""Epochs beyond which repeats gained nothing more (Muennighoff et al., arXiv 2305.16264)."""


def data_rows(data: DataPart) -> list[tuple[str, str]]:
    """Rows of the plan's table: counts, loss and its limits, the split, decay, ensemble."""
    as_many = (
        "fresh ones of the same loss: not known"
        if data.effective_tokens is None
        else f"as {format_count(data.effective_tokens)} fresh ones"
    )
    rows = [
        (
            "data",
            f"{data.epochs:.3g} epochs of {format_count(data.unique_tokens)} unique tokens, "
            f"{as_many}",
        ),
        ("", describe_limits(data)),
        ("", f"same FLOPs: {'; '.join(map(describe_split, choices_of(data)))}"),
    ]
    if data.weight_decay is not None:
        advice = data.weight_decay
        said = "" if advice.value is None else f"{format_small(advice.value)} by {advice.law}: "
        rows.append(("", f"weight decay for repeats: {said}{advice.reason}"))
    if data.ensemble is not None:
        rows.append(("", describe_ensemble(data)))
    return rows


def describe_limits(data: DataPart) -> str:
    """The loss with these repeats, were all fresh, and where it ends."""
    if data.loss is None or data.loss_if_fresh is None:
        return "loss not known"
    words = f"loss {data.loss.value:.3f} by {data.loss.law}, {data.loss_if_fresh:.3f} if fresh"
    ends = (data.loss_infinite_epochs, data.loss_infinite_params, data.loss_infinite_both)
    epochs, params, both = (None if end is None else f"{end.value:.3f}" for end in ends)
    if epochs is None:
        return f"{words}; its limits are not known"
    return f"{words}; with ever more epochs {epochs}, params {params}, both {both}"


def choices_of(data: DataPart) -> list[Split]:
    """The best split and its neighbours, by params."""
    best = () if data.best_split is None else (data.best_split,)
    return sorted([*best, *data.neighbours], key=lambda split: split.params)


def describe_split(split: Split) -> str:
    """`664M params, 30.1 epochs: 2.799`."""
    return f"{format_count(split.params)} params, {split.epochs:.3g} epochs: {split.loss:.3f}"


def describe_ensemble(data: DataPart) -> str:
    """What K models save, and where that was measured."""
    part = data.ensemble
    assert part is not None
    gains = ", ".join(
        f"{'ever more' if not row.models else f'{row.models:g}'} save {100 * row.gain:.1f}%"
        for row in part.losses
        if row.models != 1
    )
    where = f"{format_count(part.params)} params on {format_count(part.unique_tokens)} tokens"
    known = "" if part.covered else "not known here; nearest published: "
    return f"ensemble of K models: {known}{gains} ({where}, {part.law})"


def explain_data(draft: Draft) -> list[str]:
    """The arithmetic of limited data with its sources."""
    data = draft.data
    if data is None or data.law is None:
        return []
    law = draft.book[data.law]
    unique, epochs = f"{data.unique_tokens:.6g}", f"{data.epochs:.5g}"
    coefficients = law.quantities["loss"].coefficients
    lines = [f"law of the repeats: {law.name}, {law.source.title}, {source_of(draft)}"]
    if data.effective_params is not None:
        r = coefficients["r_tokens"]
        lines += [
            f"effective tokens D' = U + U r (1 - exp(-(epochs - 1) / r)) = {unique} x (1 + "
            f"{r:.6g} x (1 - exp(-({epochs} - 1) / {r:.6g}))) = {data.effective_tokens:.6g}",
            f"one more token counts exp(-({epochs} - 1) / {r:.6g}) = {data.repeat_worth:.4f} of a "
            "fresh one",
            f"effective params N' = {data.effective_params:.6g}: those best for {unique} tokens "
            f"seen once, (A/B)^(1/alpha) U, and the rest with r = {coefficients['r_params']:.6g}",
        ]
    else:
        lines.append("effective tokens: as many fresh ones as have the same loss by this law")
    for name, found in (
        ("loss of these repeats", data.loss),
        ("with infinite epochs", data.loss_infinite_epochs),
        ("with infinite params", data.loss_infinite_params),
        ("with both", data.loss_infinite_both),
    ):
        lines.append(f"{name}: {describe_forecast(found)}")
    lines += [
        f"6 N D = {draft.target.flops:.5g} FLOPs: {describe_split(split)}"
        for split in choices_of(data)
    ]
    lines.append(describe_turn(data))
    if data.weight_decay is not None:
        source = draft.book[data.weight_decay.law].source
        lines.append(
            f"weight decay: {describe_decay(data)}; {source.title}, {source.url}; strong decay "
            "cuts the overfitting of repeats by about 70% (repeat-decay)"
        )
    return lines if data.ensemble is None else [*lines, describe_ensemble(data)]


def source_of(draft: Draft) -> str:
    """Address of the law of the repeats and how well it is known."""
    data = draft.data
    assert data is not None
    assert data.law is not None
    source = draft.book[data.law].source
    return f"{source.url or source.command} ({source.evidence})"


def describe_forecast(found: Forecast | None) -> str:
    """A loss with its interval, or that it is not known."""
    if found is None:
        return "not known: this law's counts have no limit"
    if found.low is None or found.high is None:
        return f"{found.value:.4f}, interval not known"
    return f"{found.value:.4f}, 80% {found.low:.3f} to {found.high:.3f}"


def describe_turn(data: DataPart) -> str:
    """Up to where more params beat more epochs at these FLOPs."""
    if data.best_split is None:
        return "best split of these FLOPs: not known, the loss has no turn"
    best = data.best_split
    words = (
        f"more params beat more epochs up to {format_count(best.params)} params, where the FLOPs "
        f"leave {best.epochs:.3g} epochs; above that more epochs do"
    )
    return words + beyond_gains(best)


def beyond_gains(split: Split) -> str:
    """That a split repeats more often than gained anything in the source."""
    return (
        f" (its source's gains end near {LAST_GAINS} epochs)" if split.epochs > LAST_GAINS else ""
    )


def describe_decay(data: DataPart) -> str:
    """The weight decay that repeats want."""
    advice = data.weight_decay
    assert advice is not None
    value = "" if advice.value is None else f"{format_small(advice.value)}, of "
    return f"{value}{advice.reason}"


def data_cautions(draft: Draft) -> list[str]:
    """More epochs than data bear, a better split, another decay, a loss that ignores repeats."""
    data = draft.data
    if data is None or data.loss is None or data.loss_if_fresh is None:
        return []
    found = []
    law = draft.derivation.laws["loss"]
    cost = data.loss.value / data.loss_if_fresh - 1
    if data.epochs > 1 and not has_repeats(law.quantities["loss"]):
        found.append(
            f"the expected loss, of {law.name}, takes every token for fresh; repeats add "
            f"{100 * cost:.2g}% by {data.law}"
        )
    if data.epochs <= NEARLY_FREE_EPOCHS:
        return found
    count = "" if data.effective_tokens is None else f" as {format_count(data.effective_tokens)}"
    found.append(
        f"{data.epochs:.3g} epochs of {format_count(data.unique_tokens)} unique tokens count"
        f"{count} fresh ones ({data.law}); up to {NEARLY_FREE_EPOCHS} epochs are nearly free: "
        "find more data, or raise weight decay"
    )
    best, advice = data.best_split, data.weight_decay
    if best is not None and data.loss.value / best.loss - 1 > WORTH_SAYING:
        found.append(
            f"the same FLOPs give {100 * (1 - best.loss / data.loss.value):.2g}% less loss as "
            f"{describe_split(best)} ({data.law}){beyond_gains(best)}"
        )
    pinned = draft.choices.pins.weight_decay
    if advice is not None and advice.value is not None and pinned is None:
        found.append(
            f"repeated data wanted weight decay {format_small(advice.value)} ({advice.law}); the "
            f"plan's {format_small(draft.numbers.weight_decay.value)} is that of fresh data: try "
            f"--weight-decay {format_small(advice.value, 2)}"
        )
    return found
