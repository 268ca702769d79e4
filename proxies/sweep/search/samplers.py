"""Which run comes next in a cell: Optuna's samplers by name, and a cell-wise search of our own.

Each cell is a study of its own, named after it, since losses of different cells do not compare;
its trials vary `lr`, `batch_sequences` and `weight_decay`, as far as the spec does. A proposal is
a function of the spec and the study's stored trials alone, so that a sweep that was broken off
goes on as if it had not been. A run that diverged has value infinity, or is pruned with the user
attribute `status` diverged; one that was stopped early is pruned.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from fitting.cells.few_runs import Start, Tried
from fitting.cells.search import LocalOptimum, find_local_optimum, propose_run
from fitting.errors import InputError
from fitting.units import format_small
from proxies.sweep.axes import (
    batch_lattice,
    is_varied,
    lattice,
    lattice_points,
    sequence_bounds,
)
from proxies.sweep.cells import TrialSetting
from proxies.sweep.spec import AxisRange

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from optuna.study import Study

    from proxies.sweep.spec import Axis, DecayAxis, SweepSpec

Space = dict[str, BaseDistribution]
Point = dict[str, Any]

STARTUP = 4
"""Random runs before TPE and GP model anything: a cell has 10 to 20 runs, not Optuna's hundreds."""

STOPPED_GAP = 0.01
"""A run that was stopped early counts as at least this much of ln loss above the best."""

FEWEST = 6
"""Runs before an interval is believed."""


class SpecSampler(BaseSampler):
    """An Optuna sampler that picks whole points for one spec."""

    def __init__(self, spec: SweepSpec) -> None:
        self._spec = spec
        self._pick = SAMPLERS[spec.search.sampler]

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> Space:
        """Everything that the spec varies."""
        return distributions(self._spec)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: Space) -> Point:
        """The next point, by all trials: Hyperband would show those of one bracket alone."""
        return self._pick(self._spec, getattr(study, "_study", study), trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Refused: a point is picked whole.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"sampler {self._spec.search.sampler}: the spec does not vary {param_name}"
        )


def distributions(spec: SweepSpec) -> Space:
    """What a trial varies, for `study.ask`; axes of one value are left out."""
    search, seq_len = spec.search, spec.run.seq_len
    space: Space = {}
    for name, axis in (("lr", search.lr), ("weight_decay", search.weight_decay)):
        if isinstance(axis, AxisRange):
            space[name] = FloatDistribution(axis.low, axis.high, log=True)
        elif is_varied(axis):
            space[name] = CategoricalDistribution(lattice(axis))
    if isinstance(search.batch_tokens, AxisRange):
        low, high = sequence_bounds(search.batch_tokens, seq_len=seq_len)
        space["batch_sequences"] = IntDistribution(low, high, log=True)
    elif is_varied(search.batch_tokens):
        values = batch_lattice(search.batch_tokens, seq_len=seq_len)
        space["batch_sequences"] = CategoricalDistribution(values)
    if search.sampler == "grid" and len(spec.run.seeds) > 1:
        space["seed"] = CategoricalDistribution(spec.run.seeds)
    return space


def read_setting(spec: SweepSpec, trial: FrozenTrial) -> TrialSetting:
    """The lr, batch, weight decay and seed of a trial."""
    search, seeds = spec.search, spec.run.seeds
    fixed = {
        "lr": lattice(search.lr)[0],
        "batch_sequences": batch_lattice(search.batch_tokens, seq_len=spec.run.seq_len)[0],
        "weight_decay": lattice(search.weight_decay)[0],
        "seed": seeds[trial.number % len(seeds)],
    }
    return TrialSetting(**(fixed | trial.params))


def save_start(study: Study, start: Start) -> None:
    """Keep a cell's start in its study, where the samplers look for it."""
    study.set_user_attr("start", asdict(start))


def saved_start(study: Study) -> Start | None:
    """The start that a study keeps."""
    kept = study.user_attrs.get("start")
    return None if kept is None else Start(**(kept | {"weights": tuple(kept["weights"])}))


def live_trials(study: Study, *, but: FrozenTrial | None = None) -> list[FrozenTrial]:
    """Trials that ran or run; failed ones count as never made."""
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
    trials = study.get_trials(deepcopy=False, states=states)
    return [t for t in trials if but is None or t.number != but.number]


def tried_runs(spec: SweepSpec, study: Study) -> Tried:
    """The runs of a cell that ended."""
    ended = [trial for trial in live_trials(study) if trial.state.is_finished()]
    settings = [read_setting(spec, trial) for trial in ended]
    stopped = np.array([is_stopped(trial) for trial in ended], dtype=bool)
    losses = np.array([final_loss(trial) for trial in ended])
    bound = losses.min(initial=math.inf) * math.exp(STOPPED_GAP)
    return Tried(
        lr=np.array([setting.lr for setting in settings]),
        batch_tokens=np.array([float(s.batch_sequences * spec.run.seq_len) for s in settings]),
        loss=np.where(stopped, bound, losses),
        stopped=stopped,
    )


def is_stopped(trial: FrozenTrial) -> bool:
    """Whether a run was stopped early, and not because it diverged."""
    return trial.state is TrialState.PRUNED and trial.user_attrs.get("status") != "diverged"


def final_loss(trial: FrozenTrial) -> float:
    """A run's loss; infinite where it has none of its own."""
    if trial.state is TrialState.PRUNED or trial.value is None:
        return math.inf
    return trial.value


def pick_by_fit(spec: SweepSpec, study: Study, trial: FrozenTrial, space: Space) -> Point:
    """The point of the lattice where `fitting.cells.search` wants the next run."""
    point = next_by_fit(spec, study, but=trial)
    if point is None:
        raise InputError(f"study {study.study_name}: no point of its lattice is left to run")
    return keep_varied(point, space)


def next_by_fit(spec: SweepSpec, study: Study, *, but: FrozenTrial | None = None) -> Point | None:
    """The lr and batch of the next run, given all trials but one; None where none is left."""
    start = saved_start(study)
    if start is None:
        raise InputError(f"study {study.study_name}: keeps no start, which the sampler cells needs")
    # Another worker's trial may be there before its point is.
    others = [
        read_setting(spec, other)
        for other in live_trials(study, but=but)
        if other.params.keys() >= distributions(spec).keys()
    ]
    taken = np.array([(s.lr, float(s.batch_sequences)) for s in others]).reshape(-1, 2)
    unit = np.array([1.0, spec.run.seq_len])
    points = [point[:2] for point in lattice_points(spec)]
    tried, candidates = tried_runs(spec, study), np.array(points) * unit
    row = propose_run(start, tried, candidates=candidates, taken=taken * unit)
    return None if row is None else dict(zip(("lr", "batch_sequences"), points[row], strict=True))


def pick_asked(spec: SweepSpec, study: Study, trial: FrozenTrial, space: Space) -> Point:
    """Nothing: the session has asked for a point of this cell (`proxies.sweep.search.target`)."""
    return {}


def pick_next_point(spec: SweepSpec, study: Study, trial: FrozenTrial, space: Space) -> Point:
    """The first point of the grid that no trial has: from its middle outwards, seed by seed.

    Runs at the edge are then judged by those in the middle, and can be stopped early.
    """
    names = ("lr", "batch_sequences", "weight_decay")
    others = live_trials(study, but=trial)
    taken = {tuple(other.params.get(name) for name in space) for other in others}
    for seed in spec.run.seeds:
        for values in from_the_middle(lattice_points(spec)):
            point = keep_varied(dict(zip(names, values, strict=True)) | {"seed": seed}, space)
            if tuple(point[name] for name in space) not in taken:
                return point
    raise InputError(f"study {study.study_name}: no point of its grid is left to run")


def from_the_middle(points: list[tuple[float, int, float]]) -> list[tuple[float, int, float]]:
    """Points by their distance from the middle of their box, axis by axis in places of the axis."""
    places = np.column_stack(
        [np.unique(axis, return_inverse=True)[1] for axis in zip(*points, strict=True)]
    )
    distance = np.sum((places - places.max(axis=0) / 2) ** 2, axis=1)
    return [points[row] for row in np.argsort(distance, kind="stable")]


def keep_varied(point: Point, space: Space) -> Point:
    """The part of a point that the study varies."""
    return {name: value for name, value in point.items() if name in space}


def pick_by_optuna(
    make: Callable[[int], BaseSampler],
) -> Callable[[SweepSpec, Study, FrozenTrial, Space], Point]:
    """The start first, where there is one; then what a sampler of Optuna's says.

    The sampler is made anew for each trial, its seed from the spec's, the study's name and the
    trial's number, so that a sweep that was broken off does not repeat its random numbers.
    """

    def pick(spec: SweepSpec, study: Study, trial: FrozenTrial, space: Space) -> Point:
        start = saved_start(study)
        point: Point = {}
        if start is not None and not live_trials(study, but=trial):
            point = keep_varied(nearest_point(spec, start), space)
        else:
            sampler = make(seed_of(spec, study, trial, name=""))
            inner = sampler.infer_relative_search_space(study, trial)
            point = sampler.sample_relative(study, trial, inner)
        for name, distribution in space.items():
            if name not in point:
                alone = make(seed_of(spec, study, trial, name=name))
                point[name] = alone.sample_independent(study, trial, name, distribution)
        return point

    return pick


def seed_of(spec: SweepSpec, study: Study, trial: FrozenTrial, *, name: str) -> int:
    """A seed for one draw, the same whenever it is asked for."""
    label = zlib.crc32(f"{study.study_name}/{name}".encode())
    sequence = np.random.SeedSequence([spec.search.seed % 2**32, label, trial.number])
    return int(sequence.generate_state(1)[0])


def nearest_point(spec: SweepSpec, start: Start) -> Point:
    """The lr and batch nearest to a start that the spec allows."""
    sequences = start.batch_tokens / spec.run.seq_len
    search, seq_len = spec.search, spec.run.seq_len
    if isinstance(search.batch_tokens, AxisRange):
        low, high = sequence_bounds(search.batch_tokens, seq_len=seq_len)
        batch = min(max(round(sequences), low), high)
    else:
        known = batch_lattice(search.batch_tokens, seq_len=seq_len)
        batch = int(nearest_in_log(known, sequences))
    return {"lr": clip_to(search.lr, start.lr), "batch_sequences": batch}


def clip_to(axis: Axis | DecayAxis, value: float) -> float:
    """The value of an axis nearest to a given one."""
    if isinstance(axis, AxisRange):
        return min(max(value, axis.low), axis.high)
    return nearest_in_log(lattice(axis), value)


def nearest_in_log(values: Sequence[float], value: float) -> float:
    """The value nearest to a given one in ratio."""
    return min(values, key=lambda known: abs(math.log(known / value)))


def local_optimum(spec: SweepSpec, study: Study) -> LocalOptimum | None:
    """The best lr and batch of a cell by its runs; None without a start or a finished run."""
    start, tried = saved_start(study), tried_runs(spec, study)
    if start is None or not (np.isfinite(tried.loss) & ~tried.stopped).any():
        return None
    points = np.array([point[:2] for point in lattice_points(spec)]) * [1.0, spec.run.seq_len]
    limits = np.array([points.min(axis=0), points.max(axis=0)])
    return find_local_optimum(start, tried, limits=limits)


def is_planned(spec: SweepSpec, study: Study) -> bool:
    """Whether the next run of a cell is the same however the others end."""
    count = len(live_trials(study))
    if spec.budget.interval_width is not None and count >= FEWEST:
        return False
    return count < PLANNED.get(spec.search.sampler, 1)


def why_done(spec: SweepSpec, study: Study, *, most_runs: int) -> str | None:
    """Why a cell needs no more runs, or None while it does.

    Args:
        spec: of the sweep.
        study: of the cell.
        most_runs: `SweepCell.runs`.
    """
    trials = live_trials(study)
    if len(trials) >= most_runs:
        return f"{most_runs} runs made"
    if spec.search.sampler == "cells" and next_by_fit(spec, study) is None:
        return "no point of its lattice is left to run"
    width, ended = spec.budget.interval_width, sum(trial.state.is_finished() for trial in trials)
    if spec.search.sampler != "cells" or width is None or ended < FEWEST:
        return None
    found = local_optimum(spec, study)
    if found is None or found.width > width:
        return None
    return (
        f"best lr {format_small(found.lr)} and batch known within a factor "
        f"{format_small(found.width)} after {ended} runs"
    )


SAMPLERS: Mapping[str, Callable[[SweepSpec, Study, FrozenTrial, Space], Point]] = {
    "cells": pick_by_fit,
    "target": pick_asked,
    "grid": pick_next_point,
    "random": pick_by_optuna(lambda seed: RandomSampler(seed=seed)),
    "tpe": pick_by_optuna(lambda seed: TPESampler(seed=seed, n_startup_trials=STARTUP)),
    "gp": pick_by_optuna(lambda seed: GPSampler(seed=seed, n_startup_trials=STARTUP)),
    "cma": pick_by_optuna(lambda seed: CmaEsSampler(seed=seed, warn_independent_sampling=False)),
}
"""A sampler by name: the point it picks for a trial."""

PLANNED: Mapping[str, float] = {
    "cells": 2,
    "target": 0,
    "grid": math.inf,
    "random": math.inf,
    "tpe": STARTUP,
    "gp": STARTUP,
}
"""First runs of a cell that no other run has a say in, by sampler; 1 for the others."""
