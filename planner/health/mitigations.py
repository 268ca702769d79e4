"""What a stability forecast calls for: each known mitigation, whether, why, by which source.

A mitigation is called for where the forecast passes its limit, and cannot be ruled out where only
an end of the 80% interval does. Its sentence gives the number it was judged by. Where the probe it
needs was not recorded the verdict is "not known", with the command that records it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fitting.probes.law import crossing_lr, predict_probe
from fitting.units import format_count, format_small

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pandas as pd

    from fitting.probes.law import ProbeEstimate, ProbeLaw

PAPER = "arXiv 2309.14322"
"""Of every mitigation here: what it was seen to cure, and the thresholds not marked assumed."""

THRESHOLD = 1e4
"""Largest attention logit above which every run diverged (arXiv 2309.14322)."""

WORSENS = 0.1
"""Share of the threshold near which the loss is worse already: 1e3 of 1e4 (the same source)."""

EPS = 1e-8
"""AdamW's default eps."""

NEAR_EPS = 10.0
"""Gradients of fewer times eps are damped by it. *Assumed*; the source shows it at about 1."""

FAR_LOG_Z = 2.0
"""Times ln(vocabulary) from which an output log partition counts as drifting. *Assumed*: it starts
at ln(vocabulary) and the source names no number."""

NEAR_CLIFF = 2.0
"""Factor below the lowest lr that diverged from which a longer warmup is called for. *Assumed*."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mitigation:
    """One mitigation and its verdict."""

    name: str
    verdict: str
    """called for, cannot be ruled out, not called for, or not known."""
    reason: str
    """The number behind the verdict, or what would give one."""
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StabilityTarget:
    """The run that is judged."""

    params: float
    lr: float
    threshold: float = THRESHOLD
    """Of the largest attention logit."""
    eps: float = EPS
    """Of AdamW."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeEvidence:
    """What the runs of one setup say."""

    laws: Mapping[str, ProbeLaw]
    """By probe; those that could be fitted."""
    unknown: Mapping[str, str]
    """Why there is no law, by probe."""
    optimizer: str
    log_vocab: float | None
    """Natural log of the vocabulary; None where the table does not say."""
    cliff: tuple[float, float] | None
    """Params and lr of the lowest lr that diverged at the largest size that did; None for none."""
    highest_lr: float
    """That any run had."""


def judge_mitigations(evidence: ProbeEvidence, target: StabilityTarget) -> list[Mitigation]:
    """Every mitigation's verdict, those against growing logits first."""
    return [check(evidence, target) for check in CHECKS]


def qk_norm(evidence: ProbeEvidence, target: StabilityTarget) -> Mitigation:
    """Norms on queries and keys, where attention logits grow."""
    law = evidence.laws.get("max_attention_logit")
    if law is None:
        return _unknown("qk-norm", evidence, "max_attention_logit")
    found = predict_probe(law, lr=target.lr, params=target.params)
    worsens = WORSENS * target.threshold
    sentence = (
        f"largest attention logit {ranged(found)} at lr {format_small(target.lr)}; "
        f"loss worsens near {format_small(worsens)}, runs diverge above "
        f"{format_small(target.threshold)}"
    )
    return _verdict("qk-norm", sentence, past=found.value >= worsens, maybe=found.high >= worsens)


def lower_lr(evidence: ProbeEvidence, target: StabilityTarget) -> Mitigation:
    """An lr below the one at which attention logits pass the threshold."""
    law = evidence.laws.get("max_attention_logit")
    if law is None:
        return _unknown("lower lr", evidence, "max_attention_logit")
    found = crossing_lr(law, params=target.params, threshold=target.threshold)
    if found is None:
        return _verdict("lower lr", "the logit is not known to rise with lr", past=False)
    passed = f"the threshold is passed at lr {ranged(found)}; yours is {format_small(target.lr)}"
    if target.lr >= found.low:
        passed += ": stay below the low end, or norm q and k"
    past, maybe = target.lr >= found.value, target.lr >= found.low
    return _verdict("lower lr", passed, past=past, maybe=maybe)


def z_loss(evidence: ProbeEvidence, target: StabilityTarget) -> Mitigation:
    """A penalty on the output's log partition, where that drifts."""
    law = evidence.laws.get("output_log_z")
    if law is None:
        return _unknown("z-loss", evidence, "output_log_z")
    if evidence.log_vocab is None:
        reason = "no column vocab_size, from whose logarithm the partition starts"
        return Mitigation(name="z-loss", verdict="not known", reason=reason, source=PAPER)
    found = predict_probe(law, lr=target.lr, params=target.params)
    limit = FAR_LOG_Z * evidence.log_vocab
    sentence = (
        f"output log partition {ranged(found)}; it starts near {evidence.log_vocab:.3g}, counts "
        f"as drifting from {limit:.3g} on (assumed); a weight of 1e-4 holds it"
    )
    maybe = max(abs(found.low), abs(found.high)) >= limit
    return _verdict("z-loss", sentence, past=abs(found.value) >= limit, maybe=maybe)


def smaller_eps(evidence: ProbeEvidence, target: StabilityTarget) -> Mitigation:
    """A smaller eps of Adam, where gradients come near it."""
    if evidence.optimizer == "lion":
        return _verdict("smaller eps", "lion has none", past=False)
    law = evidence.laws.get("grad_rms")
    if law is None:
        return _unknown("smaller eps", evidence, "grad_rms")
    found = predict_probe(law, lr=target.lr, params=target.params)
    limit = NEAR_EPS * target.eps
    sentence = (
        f"gradient rms {ranged(found)} over all weights, eps {format_small(target.eps)}: single "
        f"layers lie lower; near is under {NEAR_EPS:g} times eps (assumed); 1e-15 is safe"
    )
    return _verdict("smaller eps", sentence, past=found.value <= limit, maybe=found.low <= limit)


def longer_warmup(evidence: ProbeEvidence, target: StabilityTarget) -> Mitigation:
    """A longer warmup, where runs diverged near the lr."""
    if evidence.cliff is None:
        reason = f"no run diverged up to lr {format_small(evidence.highest_lr)}"
        return _verdict("longer warmup", reason, past=False)
    params, lr = evidence.cliff
    sentence = (
        f"runs of {format_count(params)} params diverged from lr {format_small(lr)} on, "
        f"{lr / target.lr:.3g} times yours; near is within {NEAR_CLIFF:g} (assumed)"
    )
    return _verdict("longer warmup", sentence, past=target.lr * NEAR_CLIFF >= lr)


def _unknown(name: str, evidence: ProbeEvidence, column: str) -> Mitigation:
    """A verdict that cannot be given for want of a probe."""
    return Mitigation(name=name, verdict="not known", reason=evidence.unknown[column], source=PAPER)


def _verdict(name: str, reason: str, *, past: bool, maybe: bool = False) -> Mitigation:
    """A verdict that was reached: the forecast is past its limit, or an end of its interval."""
    word = "called for" if past else "cannot be ruled out" if maybe else "not called for"
    return Mitigation(name=name, verdict=word, reason=reason, source=PAPER)


def ranged(found: ProbeEstimate) -> str:
    """A number with its interval."""
    low, value, high = (format_small(each) for each in (found.low, found.value, found.high))
    return f"{value} ({low} to {high})"


def log_vocab_of(table: pd.DataFrame) -> float | None:
    """Natural log of the usual vocabulary of a runs table; None where it does not say."""
    if "vocab_size" not in table or not table["vocab_size"].notna().any():
        return None
    return math.log(float(table["vocab_size"].median()))


CHECKS: tuple[Callable[[ProbeEvidence, StabilityTarget], Mitigation], ...] = (
    qk_norm,
    lower_lr,
    z_loss,
    smaller_eps,
    longer_warmup,
)
"""Every mitigation, in the order they are shown."""
