"""Which runs to stop early, beside those that diverge: the runner stops these at once.

Runs report the mean training loss of the last 5% at each 5% of progress: `trial.report(loss,
step=report_step(tokens_seen, tokens))`, so that runs of different batch compare at equal progress
under the same schedule.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.trial import FrozenTrial, TrialState

from fitting.logs.final_loss import Peers, predict_final
from proxies.sweep.search.samplers import STOPPED_GAP, read_setting

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from optuna.study import Study

    from proxies.sweep.spec import SweepSpec

WHOLE = 1000
"""Report step of a whole run."""

REPORTS = 50
"""Distance between report steps."""

CHECKS = range(100, WHOLE, 100)
"""Report steps at which a run may be stopped."""

SETTLED = 200
"""Report step from which curves cross rarely enough for the median."""

FALSE_PRUNES = 0.05
"""Chance that a run is stopped that would have ended within 1% of its cell's best, over all
checks, if the prediction's form holds. The checks and this were chosen with the example sweep's
curves in view, where none of 42 such runs is stopped."""

FEWEST_PEERS = 4
"""Finished runs of the cell before any is judged by them."""


class ExtrapolationPruner(BasePruner):
    """Stops a run whose predicted final loss is more than 1% above the best of its cell.

    The prediction is that of `fitting.logs.final_loss` from the finished runs of the cell; "more
    than" holds but for a chance of `FALSE_PRUNES`, shared evenly among the checks.
    """

    def __init__(self, spec: SweepSpec) -> None:
        self._spec = spec

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether to stop the trial at its last report."""
        step = trial.last_step
        if step is None or step not in CHECKS:
            return False
        now = trial.intermediate_values[step]
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        peers = peers_at(self._spec, finished, step)
        if len(peers.final) < FEWEST_PEERS or math.isnan(now):
            return False
        setting = read_setting(self._spec, trial)
        predicted = predict_final(
            peers,
            lr=setting.lr,
            batch_tokens=float(setting.batch_sequences * self._spec.run.seq_len),
            now=now,
        )
        hopeless = float(peers.final.min()) * math.exp(STOPPED_GAP)
        return predicted.lower(FALSE_PRUNES / len(CHECKS)) > hopeless


def report_step(tokens_seen: int, tokens: int) -> int | None:
    """The report that falls due at some tokens of a run's, or None.

    Args:
        tokens_seen: so far, at most `tokens`.
        tokens: of the whole run.
    """
    step = tokens_seen * WHOLE // tokens // REPORTS * REPORTS
    return step if step >= REPORTS else None


def peers_at(spec: SweepSpec, finished: list[FrozenTrial], step: int) -> Peers:
    """Those of the finished trials that have a loss at a report step."""
    rows = []
    for trial in finished:
        now, final = trial.intermediate_values.get(step), trial.value
        if now is not None and final is not None and math.isfinite(now) and math.isfinite(final):
            setting = read_setting(spec, trial)
            batch_tokens = float(setting.batch_sequences * spec.run.seq_len)
            rows.append((setting.lr, batch_tokens, now, final))
    return Peers(*np.array(rows, dtype=np.float64).reshape(-1, 4).T)


def make_pruner(spec: SweepSpec) -> BasePruner:
    """The pruner that the spec names."""
    return PRUNERS[spec.search.pruner](spec)


PRUNERS: Mapping[str, Callable[[SweepSpec], BasePruner]] = {
    "none": lambda _spec: NopPruner(),
    "extrapolation": ExtrapolationPruner,
    "median": lambda _spec: MedianPruner(n_startup_trials=FEWEST_PEERS, n_warmup_steps=SETTLED - 1),
    "hyperband": lambda _spec: HyperbandPruner(min_resource=REPORTS, max_resource=WHOLE),
}
"""A pruner by name, made for a spec."""
