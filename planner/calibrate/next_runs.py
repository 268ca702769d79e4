"""The next runs for a target, from files: what `plan next` prints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fitting.design import RANGES, known_at, next_runs, target_space
from fitting.design.files import proposals_table, read_candidates
from fitting.errors import InputError
from fitting.fit.enough import says_too_little
from fitting.fit.laws import prior_line
from fitting.runs.columns import TUNING
from fitting.runs.setting import (
    DEFAULT_OPTIMIZER,
    DEFAULT_PARAMETRIZATION,
    RunSetting,
    require_one_setting,
)
from fitting.runs.tuned import tried_runs
from fitting.units import format_small
from planner.facts.laws import choose_prior

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pandas as pd

    from fitting.design import Candidates, Knowledge, Proposal, Ranges, Space
    from fitting.laws.law import Law
    from fitting.runs.table import Runs
    from fitting.runs.tuned import TunedRuns


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked for."""

    target: tuple[float, float]
    """Params and tokens of the run that is planned."""
    budget_flops: float
    """What is left to spend."""
    count: int
    """Most runs to propose, > 0."""
    prior: str | None = None
    """Name of a law, "none", or None for the default."""
    law_files: tuple[Path, ...] = ()
    """Law files of the user's own, for the prior."""
    candidates: Path | None = None
    """A table to choose from; None for any run within `ranges`."""
    ranges: Ranges = RANGES
    """What a run may have where there are no candidates."""
    seed: int = 0
    """Of the directions of each design."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The next runs and what is known so far."""

    proposals: Sequence[Proposal]
    """Best first."""
    table: pd.DataFrame
    """The same as a runs table without loss, with `flops` and `reason`."""
    known: Knowledge
    """The best lr and batch at the target so far."""
    notes: tuple[str, ...]
    """What a reader must know of the design."""


def propose(runs: Runs | None, request: Request) -> Answer:
    """The next runs for a target.

    Args:
        runs: those made so far, or None.
        request: target, budget and what may be run.

    Raises:
        InputError: the runs, the prior, the candidates or the budget cannot be used.
        FitError: the prior has no optimum.
    """
    group = RunSetting(DEFAULT_PARAMETRIZATION, DEFAULT_OPTIMIZER)
    if runs is not None:
        group = require_one_setting(runs)
        missing = [name for name in TUNING if name not in runs.table]
        if missing:
            raise InputError(
                f"runs: column {', '.join(missing)} missing; a design needs each run's lr and batch"
            )
    law, only_if_needed = choose_prior(request.prior, request.law_files)
    if only_if_needed and runs is not None and not says_too_little(runs, group):
        law = None
    line = prior_line(law, group)
    done = tried_runs(runs)
    rows = None
    options: Candidates | Space
    if request.candidates is not None:
        options, rows = read_candidates(request.candidates)
    else:
        costs = 6 * done.params * done.tokens
        options = target_space(
            request.target,
            total_flops=request.budget_flops + float(costs.sum()),
            least_flops=float(costs.min()) if len(costs) else 0.0,
            ranges=request.ranges,
        )
    proposals = next_runs(
        done,
        target=request.target,
        budget_flops=request.budget_flops,
        options=options,
        count=request.count,
        prior=line,
        seed=request.seed,
    )
    known = known_at(done, target=request.target, prior=line, seed=request.seed)
    return Answer(
        proposals,
        proposals_table(proposals, rows),
        known,
        tuple(notes_of(request, done, known, law)),
    )


def notes_of(request: Request, done: TunedRuns, known: Knowledge, law: Law | None) -> Iterator[str]:
    """What a reader must know of the design."""
    params, tokens = request.target
    if known.runs == 0:
        start = "published theory's signs alone" if law is None else law.name
        yield f"no law of lr and batch can be fitted yet: runs are placed by {start}"
    own = 6 * params * tokens
    beyond = 6 * done.params * done.tokens >= own
    if beyond.any():
        yield (
            f"{beyond.sum()} runs take as many FLOPs as the target or more; the proposals are "
            "cheaper runs, which tell little that these do not"
        )
    if request.budget_flops >= own:
        yield (
            f"the budget is more than the target's own {format_small(own)} FLOPs: lr and batch "
            "could be tried at the target itself"
        )
    yield (
        "weight decay is not designed for: keep its timescale, batch / (lr x weight decay x "
        "tokens), the same in all runs, or sweep it at the best lr and batch of two cells"
    )
