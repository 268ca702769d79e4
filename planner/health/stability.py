"""How stable a target will be, from the probes of smaller runs: laws, thresholds, mitigations.

Runs are told apart by parametrization, optimizer and group; each such setup has its own laws.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fitting.probes.law import LAWS, crossing_lr, fit_probe, predict_probe, why_unknown
from fitting.probes.lr_sensitivity import common_range, lr_sensitivities
from fitting.runs.outcomes import Outcome
from planner.health.mitigations import THRESHOLD, Evidence, Mitigation, Target, judge, log_vocab_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd

    from fitting.probes.law import Estimate, ProbeLaw
    from fitting.probes.lr_sensitivity import Sensitivity
    from fitting.runs.table import Runs

LOGIT = "max_attention_logit"

SETUP = {"parametrization": "sp", "optimizer": "adamw", "group": ""}
"""Columns that tell setups apart, each with what an empty cell means."""

FAR = 30.0
"""Times the largest size from which a forecast is said to be far; assumed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """Where a size's largest attention logit passes the threshold."""

    params: float
    lr: Estimate | None
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
    forecasts: Mapping[str, Estimate]
    """Probes of the target at its lr; empty without a target."""
    mitigations: tuple[Mitigation, ...]
    """Empty without a target's lr."""
    cautions: tuple[str, ...]


def assess(
    runs: Runs, *, target: Target | None, params: float | None, threshold: float = THRESHOLD
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
        assess_setup(name, part, target=target, params=params, threshold=threshold, bounds=bounds)
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


def assess_setup(
    name: str,
    runs: Runs,
    *,
    target: Target | None,
    params: float | None,
    threshold: float,
    bounds: tuple[float, float] | None,
) -> SetupStability:
    """What one setup says."""
    table = runs.table[runs.outcome.isin([Outcome.FINISHED, Outcome.DIVERGED])]
    fits = {column: fit_probe(table, column) for column in LAWS}
    laws = {column: law for column, law in fits.items() if law is not None}
    unknown = {column: why_unknown(table, column) or "" for column in LAWS if column not in laws}
    evidence = Evidence(
        laws=laws,
        unknown=unknown,
        optimizer=str(table["optimizer"].iloc[0]) if "optimizer" in table else "adamw",
        log_vocab=log_vocab_of(table),
        cliff=find_cliff(runs),
        highest_lr=float(table["lr"].max()),
    )
    return SetupStability(
        setup=name,
        runs=len(table),
        laws=laws,
        unknown=unknown,
        crossings=tuple(list_crossings(laws.get(LOGIT), params=params, threshold=threshold)),
        sensitivities=tuple(lr_sensitivities(runs, bounds=bounds)),
        forecasts={}
        if target is None
        else {
            column: predict_probe(law, lr=target.lr, params=target.params)
            for column, law in laws.items()
        },
        mitigations=() if target is None else tuple(judge(evidence, target)),
        cautions=tuple(find_cautions(table, laws, params)),
    )


def list_crossings(
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


def find_cliff(runs: Runs) -> tuple[float, float] | None:
    """Params and lowest diverged lr of the largest size of which a run diverged."""
    diverged = runs.diverged.dropna(subset=["lr"])
    if not len(diverged):
        return None
    largest = diverged["params"].max()
    return float(largest), float(diverged.loc[diverged["params"] == largest, "lr"].min())


def find_cautions(
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
