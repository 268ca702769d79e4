"""Which loss family: the one that predicts the runs with the most compute from the others.

A better fit is no reason: four mixed terms fit every table best and extrapolate worst from few
runs. Each family is refitted without the largest 30% to 5% of the runs by N D and judged by its
mean error of ln loss on them. Its ridge is chosen by the same errors together with those on the
largest N and on the largest D, because a weak ridge can blow up in one of them unseen by N D;
these also decide between families that are equal by N D.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fitting.arrays import Floats
from fitting.loss.families import FAMILIES, draw_starts, make_problem
from fitting.loss.slopes import Features, centre_of, to_features
from fitting.robust import Solution, search, solve

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CORNERS = (0.3, 0.25, 0.2, 0.15, 0.1, 0.05)
"""Shares of the runs that are held out, largest N D first.

Three of them (0.3, 0.2, 0.1) choose less steadily: over 15 outer splits of Farseer's and the
data-constrained table the family then depends on `SLACK`, with six it does not."""

EDGES = ("N", "D")
"""Labels of the held-out sets by one count alone."""

EDGE = 0.1
"""Share of the runs held out by N alone and by D alone, with all runs of the same N or D."""

RIDGES = (1.0, 10.0, 30.0, 100.0)
"""Strengths of ridge to choose from; each starts from the minima of the one before."""

SLACK = 1.15
"""Families within this factor of the lowest error by N D count as equal there."""

COMPARABLE = 1.5
"""Families within this factor of the chosen one's error say how far the choice matters."""

STARTS = 96
"""Random starts of a family before it is followed from corner to corner."""

FOLLOWED = 4
"""Minima of the smallest training set that every refit starts from."""

MISFIT = 0.003
"""Standard deviation of ln loss that no law of N and D explains (*assumed*: the best families
miss by 0.1 to 0.4% on Step Law's and Farseer's tables); `loss_se` counts beside it."""


@dataclass(frozen=True, slots=True)
class LossTable:
    """Runs as columns of equal length, all finite and above 0."""

    params: Floats
    tokens: Floats
    unique_tokens: Floats
    """Distinct tokens, at most `tokens`."""
    loss: Floats
    """Nats per token."""
    weight: Floats
    """Weight in the fit, 1 for a run without known error."""

    def take(self, chosen: np.ndarray) -> LossTable:
        """The rows chosen by a mask or by indices."""
        return LossTable(*(getattr(self, name)[chosen] for name in self.__slots__))

    def features(self) -> Features:
        """Logs centred at these rows."""
        columns = (self.params, self.tokens, self.unique_tokens)
        return to_features(*columns, centre_of(*columns))

    @property
    def repeats(self) -> bool:
        """Whether any run saw a token twice."""
        return bool((self.unique_tokens < self.tokens).any())


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One family at its best ridge, fitted to all runs."""

    family: str
    """A key of `fitting.loss.families.FAMILIES`."""
    ridge: float
    held_out: Mapping[str, float]
    """Mean absolute error of ln loss on each held-out set; empty where runs are few."""
    free: Floats
    """Free parameters, shape (p,)."""

    @property
    def error(self) -> float:
        """Mean error over the sets by N D, which chooses the family; 0 where there is none."""
        found = [value for label, value in self.held_out.items() if label not in EDGES]
        return float(np.mean(found)) if found else 0.0

    @property
    def error_anywhere(self) -> float:
        """Mean error over all held-out sets, which chooses the ridge; 0 where there is none."""
        return float(np.mean(list(self.held_out.values()))) if self.held_out else 0.0


def held_out_sets(table: LossTable) -> dict[str, np.ndarray]:
    """Masks of the runs to predict from the others, by what they are the largest in.

    Empty where fewer than 12 runs leave nothing to judge by. A set by N or D alone is left out
    where so many runs share the largest value that over half would go.
    """
    count = len(table.loss)
    if count < 12:
        return {}
    log_size = np.log(table.params) + np.log(table.tokens)
    order = np.argsort(-log_size, kind="stable")
    found = {}
    for share in CORNERS:
        mask = np.zeros(count, dtype=bool)
        mask[order[: max(1, round(share * count))]] = True
        found[f"N D {share:.0%}"] = mask
    for label, column in zip(EDGES, (table.params, table.tokens), strict=True):
        limit = np.sort(column)[-max(1, round(EDGE * count))]
        if (column >= limit).mean() <= 0.5:
            found[label] = column >= limit
    return found


def suited_families(table: LossTable) -> list[str]:
    """Families that the table has runs and sizes enough for, and whose inputs it has.

    Each needs two runs more than it has parameters in its smallest training set.
    """
    held = max((int(mask.sum()) for mask in held_out_sets(table).values()), default=0)
    fewest = len(table.loss) - held
    sizes = min(len(np.unique(table.params)), len(np.unique(table.tokens)))
    return [
        name
        for name, family in FAMILIES.items()
        if (table.repeats or not family.repeats)
        and family.sizes <= sizes
        and (name == "chinchilla" or len(family.names) + 2 <= fewest)
    ]


def ridges_of(name: str) -> tuple[float, ...]:
    """Strengths to try; Chinchilla's form is fitted as published, without."""
    return (0.0,) if name == "chinchilla" else RIDGES


def weigh_candidates(
    table: LossTable, families: Iterable[str], *, rng: np.random.Generator
) -> list[Candidate]:
    """Each family at the ridge with the lowest held-out error, best first."""
    found = [judge_family(name, table, rng=rng) for name in families]
    return sorted(found, key=lambda candidate: candidate.error)


def choose(candidates: list[Candidate]) -> Candidate:
    """The lowest error anywhere among those within `SLACK` of the lowest error by N D."""
    limit = SLACK * min(candidate.error for candidate in candidates)
    close = [candidate for candidate in candidates if candidate.error <= limit]
    return min(close, key=lambda candidate: candidate.error_anywhere)


def judge_family(name: str, table: LossTable, *, rng: np.random.Generator) -> Candidate:
    """One family: held-out errors at each ridge, and the fit to all runs at the best one.

    The smallest training set is searched from random starts. From its minima all training sets
    are solved in one batch, a held-out run having weight 0, and then at the next ridge.
    """
    family, features, log_loss = FAMILIES[name], table.features(), np.log(table.loss)
    held = held_out_sets(table)
    kept = np.array([~mask for mask in held.values()] + [np.ones(len(log_loss), dtype=bool)])
    weights = np.repeat(kept * table.weight, FOLLOWED, axis=0)
    first = make_problem(family, features, log_loss, ridge=ridges_of(name)[0])
    starts = draw_starts(family, float(log_loss.mean()), count=STARTS, rng=rng)
    minima = lowest(search(first, starts, run_weights=kept[0] * table.weight))
    members = np.tile(minima, (len(kept), 1))
    results = []
    for ridge in ridges_of(name):
        problem = make_problem(family, features, log_loss, ridge=ridge)
        solved = solve(problem, members, run_weights=weights, steps=60, tolerance=1e-6)
        members = solved.free
        best = members.reshape(len(kept), FOLLOWED, -1)[
            np.arange(len(kept)), solved.objective.reshape(len(kept), FOLLOWED).argmin(axis=1)
        ]
        error = np.abs(family.evaluate(features, best)[0] - log_loss)
        results.append(
            Candidate(
                family=name,
                ridge=ridge,
                held_out={
                    label: float(error[k, mask].mean())
                    for k, (label, mask) in enumerate(held.items())
                },
                free=best[-1],
            )
        )
    return min(results, key=lambda candidate: candidate.error_anywhere)


def lowest(solution: Solution) -> Floats:
    """The `FOLLOWED` lowest minima."""
    order = np.argsort(solution.objective, kind="stable")
    found: Floats = solution.free[order[:FOLLOWED]]
    return found
