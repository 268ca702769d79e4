"""How stable a target will be, from the probes of smaller runs, and the report of it.

Runs are told apart by parametrization, optimizer and group; each such setup has its own laws.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from fitting.probes.law import LAWS, crossing_lr, fit_probe, predict_probe, why_unknown
from fitting.probes.lr_sensitivity import common_range, lr_sensitivities
from fitting.runs.outcomes import RunOutcome
from fitting.units import format_count, format_small
from planner.health.mitigations import (
    THRESHOLD,
    Mitigation,
    ProbeEvidence,
    StabilityTarget,
    judge_mitigations,
    log_vocab_of,
    ranged,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd

    from fitting.probes.law import ProbeEstimate, ProbeLaw
    from fitting.probes.lr_sensitivity import Sensitivity
    from fitting.runs.table import Runs

LOGIT = "max_attention_logit"

SETUP = {"parametrization": "sp", "optimizer": "adamw", "group": ""}
"""Columns that tell setups apart, each with what an empty cell means."""

FAR = 30.0
"""Times the largest size from which a forecast is said to be far; assumed."""

BEYOND = 10.0
"""Times the highest lr of the runs from which an lr is not worth its digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """Where a size's largest attention logit passes the threshold."""

    params: float
    lr: ProbeEstimate | None
    """None where it is not known to rise with lr; 0 where it lies above at every lr."""
    measured: bool
    """Whether runs of that size are in the table."""
    highest_lr: float
    """Of the runs behind the law."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupStability:
    """What the runs of one setup say."""

    setup: str
    """Parametrization, optimizer and group."""
    runs: int
    """Finished and diverged."""
    laws: Mapping[str, ProbeLaw]
    """By probe."""
    unknown: Mapping[str, str]
    """Why there is no law, by probe."""
    crossings: tuple[Crossing, ...]
    """One a size, the target's last; empty where the logit has no law."""
    sensitivities: tuple[Sensitivity, ...]
    forecasts: Mapping[str, ProbeEstimate]
    """Probes of the target at its lr; empty without a target."""
    mitigations: tuple[Mitigation, ...]
    """Empty without a target's lr."""
    cautions: tuple[str, ...]


def assess(
    runs: Runs,
    *,
    target: StabilityTarget | None,
    params: float | None,
    threshold: float = THRESHOLD,
) -> list[SetupStability]:
    """What each setup of a table says of its stability.

    Args:
        runs: a checked table with `lr`.
        target: size and lr that are judged; None to say only where the threshold is.
        params: size that the threshold's lr is foretold for; None for those of the table alone.
        threshold: of the largest attention logit.
    """
    bounds = common_range(runs)
    return [
        _assess_setup(name, part, target=target, params=params, threshold=threshold, bounds=bounds)
        for name, part in by_setup(runs)
    ]


def by_setup(runs: Runs) -> Iterator[tuple[str, Runs]]:
    """The runs of each setup, with its name."""
    table = runs.table
    label = table["params"].map(lambda _: "")
    for column, default in SETUP.items():
        if column in table:
            label = label + " " + table[column].fillna(default).replace("", default)
    for name in sorted(label.unique()):
        yield " ".join(name.split()) or "all runs", runs.select(label == name)


def report_lines(
    found: Sequence[SetupStability], *, threshold: float, target: StabilityTarget | None
) -> list[str]:
    """The report of every setup."""
    lines = []
    for setup in found:
        lines += [f"{setup.setup}: {setup.runs} runs", *_law_lines(setup)]
        if setup.crossings:
            lines += [
                "",
                f"lr at which the largest attention logit passes {format_small(threshold)} (80%)",
            ]
            lines += [_crossing_line(crossing) for crossing in setup.crossings]
        if setup.sensitivities:
            lines += ["", *_sensitivity_lines(setup.sensitivities)]
        if target is not None:
            lines += ["", f"at {format_count(target.params)} params, lr {format_small(target.lr)}"]
            lines += [f"  {name:<20}{ranged(each)}" for name, each in setup.forecasts.items()]
            lines += [
                f"  {each.name:<14}{each.verdict}: {each.reason}" for each in setup.mitigations
            ]
        lines.append("")
    return lines[:-1]


def report_dict(
    found: Sequence[SetupStability], *, threshold: float, target: StabilityTarget | None
) -> dict[str, Any]:
    """The report for `--json`."""
    return {
        "threshold": threshold,
        "target": None if target is None else asdict(target),
        "setups": [_setup_dict(setup) for setup in found],
    }


def _assess_setup(
    name: str,
    runs: Runs,
    *,
    target: StabilityTarget | None,
    params: float | None,
    threshold: float,
    bounds: tuple[float, float] | None,
) -> SetupStability:
    """What one setup says."""
    table = runs.table[runs.outcome.isin([RunOutcome.FINISHED, RunOutcome.DIVERGED])]
    fits = {column: fit_probe(table, column) for column in LAWS}
    laws = {column: law for column, law in fits.items() if law is not None}
    unknown = {column: why_unknown(table, column) or "" for column in LAWS if column not in laws}
    evidence = ProbeEvidence(
        laws=laws,
        unknown=unknown,
        optimizer=str(table["optimizer"].iloc[0]) if "optimizer" in table else "adamw",
        log_vocab=log_vocab_of(table),
        cliff=_find_cliff(runs),
        highest_lr=float(table["lr"].max()),
    )
    return SetupStability(
        setup=name,
        runs=len(table),
        laws=laws,
        unknown=unknown,
        crossings=tuple(_list_crossings(laws.get(LOGIT), params=params, threshold=threshold)),
        sensitivities=tuple(lr_sensitivities(runs, bounds=bounds)),
        forecasts={}
        if target is None
        else {
            column: predict_probe(law, lr=target.lr, params=target.params)
            for column, law in laws.items()
        },
        mitigations=() if target is None else tuple(judge_mitigations(evidence, target)),
        cautions=tuple(_find_cautions(table, laws, params)),
    )


def _list_crossings(
    law: ProbeLaw | None, *, params: float | None, threshold: float
) -> Iterator[Crossing]:
    """Where each size of the table passes the threshold, then the target."""
    if law is None:
        return
    for size in law.params:
        found = crossing_lr(law, params=size, threshold=threshold)
        yield Crossing(params=size, lr=found, measured=True, highest_lr=law.lrs[1])
    if params is not None:
        found = crossing_lr(law, params=params, threshold=threshold)
        yield Crossing(params=params, lr=found, measured=False, highest_lr=law.lrs[1])


def _find_cliff(runs: Runs) -> tuple[float, float] | None:
    """Params and lowest diverged lr of the largest size of which a run diverged."""
    diverged = runs.diverged.dropna(subset=["lr"])
    if not len(diverged):
        return None
    largest = diverged["params"].max()
    return float(largest), float(diverged.loc[diverged["params"] == largest, "lr"].min())


def _find_cautions(
    table: pd.DataFrame, laws: Mapping[str, ProbeLaw], params: float | None
) -> Iterator[str]:
    """What to know of these laws."""
    if not laws:
        return
    largest = float(table["params"].max())
    if params is not None and params > FAR * largest:
        yield (
            f"the target is {params / largest:.3g} times the largest run: the interval takes the "
            "power laws to hold that far"
        )
    if len(next(iter(laws.values())).params) == 2:
        yield "two sizes: whether the growth with params bends cannot be seen; add a third"
    ends = table.groupby("params")["tokens"].median()
    if ends.max() / ends.min() > 1.5:
        yield "sizes were trained on different tokens: growth with steps counts as growth with size"


def _law_lines(setup: SetupStability) -> list[str]:
    """How each probe moves with lr and params, or why that is not known."""
    lines = [_law_line(law) for law in setup.laws.values()]
    return lines + [f"  {name:<20}not known: {why}" for name, why in setup.unknown.items()]


def _law_line(law: ProbeLaw) -> str:
    """How a probe moves with lr and params."""
    if law.form == "linear":
        moves = f"{law.lr_slope:+.2f} ln lr {law.params_slope:+.2f} ln params"
        return f"  {law.column:<20}{moves}; runs ± {law.scatter:.2g}"
    floor = " above a floor" if law.form == "rising" else ""
    moves = f"lr^{law.lr_slope:.2f} params^{law.params_slope:.2f}{floor}"
    return f"  {law.column:<20}{moves}; runs within x {math.exp(law.scatter):.2f}"


def _crossing_line(crossing: Crossing) -> str:
    """Where one size passes the threshold."""
    where = "" if crossing.measured else "  foretold"
    if crossing.lr is not None and crossing.lr.value > BEYOND * crossing.highest_lr:
        lr = f"far above {format_small(crossing.highest_lr)}, the highest of the runs"
    elif crossing.lr is None:
        lr = "not known: the logit does not rise with lr in these runs"
    else:
        lr = ranged(crossing.lr) if crossing.lr.value > 0 else "at every lr"
    return f"  {format_count(crossing.params):>6}  {lr}{where}"


def _sensitivity_lines(rows: Sequence[Sensitivity]) -> list[str]:
    """The lr sensitivity of each model."""
    lines = [
        "lr sensitivity: mean over ln lr of min(loss, loss at init) less the lowest, nats",
        "  params  tokens   batch  lrs  range              best lr  best loss  sensitivity",
    ]
    for row in rows:
        batch = "" if row.batch_tokens is None else format_count(row.batch_tokens)
        value = "not known: no loss_at_init" if row.value is None else f"{row.value:.3f}"
        span = f"{format_small(row.low)} to {format_small(row.high)}"
        lines.append(
            f"  {format_count(row.params):>6}  {format_count(row.tokens):>6}  {batch:>6}"
            f"  {row.lrs:>3}  {span:<17}  {format_small(row.best_lr):>7}"
            f"  {row.best_loss:>9.3f}  {value:>11}"
        )
    return lines


def _setup_dict(setup: SetupStability) -> dict[str, Any]:
    """One setup for `--json`."""
    return {
        "setup": setup.setup,
        "runs": setup.runs,
        "laws": {
            name: {
                "form": law.form,
                "lr_slope": law.lr_slope,
                "params_slope": law.params_slope,
                "scatter": law.scatter,
                "lrs": list(law.lrs),
                "params": list(law.params),
            }
            for name, law in setup.laws.items()
        },
        "unknown": dict(setup.unknown),
        "crossings": [asdict(each) for each in setup.crossings],
        "sensitivities": [asdict(each) for each in setup.sensitivities],
        "forecasts": {name: asdict(each) for name, each in setup.forecasts.items()},
        "mitigations": [asdict(each) for each in setup.mitigations],
        "cautions": list(setup.cautions),
    }
