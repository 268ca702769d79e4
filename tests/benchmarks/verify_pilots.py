"""How often `plan verify` tells a wrong lr from a right one.

    python -m tests.benchmarks.verify_pilots [SHARED] [SEEDS]

Simulated: pilots of 1.5% of the tokens at half, planned and double lr, noise of 0.2% in loss, for
plans whose lr is right or off by 1.5, 2 and 3, on surfaces that the verifier knows and on others.
Measured (where SHARED is given): runs of Step Law's table at a short budget as pilots for a longer
one of the same params and batch; what is right is read off the longer runs. The surface there is
fitted without the runs of that size.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from fitting.laws.law import Law
from fitting.laws.surface import (
    Surface,
    best_lr,
    log_penalty,
    surface_from,
    surface_of,
    surface_quantity,
    weights,
)
from fitting.surface.fit import Effort, fit_surface
from fitting.surface.prior import NEUTRAL
from fitting.surface.solver import FREE, basis
from planner.facts.laws import read_lawbook
from planner.plan.document import Plan
from planner.plan.make import recommend
from planner.recommendation.place import PlacedSurface, place_surface
from planner.recommendation.value import Value
from planner.request.target import Target
from planner.review.short_runs import short_runs
from planner.review.verdict import MATERIAL, Outcome, Verdict, judge
from tests.measured.step_law_cells import columns, read_table

LAW = read_lawbook(())["step-law-surface"]
SURFACE = surface_from(LAW.quantities["surface"])
NOISE, FRACTION, SEEDS = 0.002, 0.015, 200
SLIPS = (1 / 3, 1 / 2, 1 / 1.5, 1.0, 1.5, 2.0, 3.0)
LRS = (0.5, 1.0, 2.0)
TARGETS = ((3e8, 3e10), (1e9, 2e10), (7e9, 1.4e11))

Truth = Callable[[Plan, np.random.Generator], Callable[[float, float], float]]
"""A plan's target and a seed to ln loss by ln(lr / best of the full run) and tokens."""


def on_surface(surface: Surface, plan: Plan) -> Callable[[float, float], float]:
    """ln loss on a surface at the plan's batch."""
    params, batch = plan.target.params, plan.batch_tokens.value
    best = best_lr(surface, params, plan.target.tokens, batch)

    def log_loss(x: float, tokens: float) -> float:
        return log_penalty(
            surface, params=params, tokens=tokens, lr=best * math.exp(x), batch_tokens=batch
        )

    return log_loss


def own(plan: Plan, rng: np.random.Generator) -> Callable[[float, float], float]:
    """The verifier's own surface."""
    return on_surface(SURFACE, plan)


def drawn(plan: Plan, rng: np.random.Generator) -> Callable[[float, float], float]:
    """A surface of another setup: weights drawn, exponents of N and D off by 0.05 besides."""
    covariance = SURFACE.covariance
    assert covariance is not None
    spread = rng.multivariate_normal(np.zeros(15), covariance.matrix, check_valid="ignore")
    values = np.array(weights(SURFACE)) + spread
    values[[1, 2, 6, 7, 11, 12]] += 0.05 * rng.standard_normal(6)
    values[[0, 5, 10]] += 0.3 * rng.standard_normal(3)
    return on_surface(surface_of(values.tolist(), reference=SURFACE.reference), plan)


def theory(plan: Plan, rng: np.random.Generator) -> Callable[[float, float], float]:
    """The published theory's exponents, nothing from Step Law."""
    free = np.array([NEUTRAL[name][0] for name in FREE])
    return on_surface(surface_of((basis() @ free).tolist()), plan)


def parabola(exponent: float) -> Truth:
    """ln loss a parabola in ln lr whose best lr goes as a power of the tokens."""

    def truth(plan: Plan, rng: np.random.Generator) -> Callable[[float, float], float]:
        whole = plan.target.tokens
        return lambda x, tokens: 0.006 * (x - exponent * math.log(tokens / whole)) ** 2

    return truth


TRUTHS: dict[str, Truth] = {
    "own surface": own,
    "drawn surfaces": drawn,
    "theory's surface": theory,
    "parabola, D^0.1": parabola(0.1),
    "parabola, D^0": parabola(0.0),
    "parabola, D^-0.3": parabola(-0.3),
}


def plan_of(params: float, tokens: float) -> Plan:
    """Our plan; its lr is only a unit here."""
    return recommend(Target(params=params, tokens=tokens, seq_len=2048, vocab_size=32_000))


def simulate(plan: Plan, truth: Truth, slip: float, seed: int) -> Verdict:
    """The verdict on pilots of a plan whose lr is `slip` times the best."""
    rng = np.random.default_rng(seed)
    tokens = FRACTION * plan.target.tokens
    log_loss = truth(plan, rng)
    return judge(
        short_runs(plan, on(plan, LAW), tokens=tokens, same_setup=False),
        [
            Outcome(
                name=f"{factor:g}",
                lr=plan.lr.value * factor,
                loss=3
                * math.exp(
                    log_loss(math.log(slip * factor), tokens) + NOISE * rng.standard_normal()
                ),
                log_sd=NOISE,
            )
            for factor in LRS
        ],
    )


def holds(verdict: Verdict, factor: float) -> bool:
    """Whether the 80% interval of the factor holds the right one."""
    found = verdict.factor
    if found is None or found.low is None or found.high is None:
        return False
    return found.low <= factor <= found.high


def simulated(seeds: int) -> None:
    """Share told wrong, and share of 80% intervals that hold, by truth and slip."""
    print(f"simulated, {seeds} seeds, {len(TARGETS)} targets; lr planned over the best:")
    print("share told wrong / share of 80% intervals that hold")
    print(f"{'truth':<18}" + "".join(f"{slip:>13.2f}" for slip in SLIPS))
    plans = [plan_of(*target) for target in TARGETS]
    for name, truth in TRUTHS.items():
        cells = []
        for slip in SLIPS:
            verdicts = [simulate(plan, truth, slip, s) for plan in plans for s in range(seeds)]
            wrong = np.mean([not verdict.stands for verdict in verdicts])
            held = np.mean([holds(verdict, 1 / slip) for verdict in verdicts])
            cells.append(f"{f'{wrong:.2f} / {held:.2f}':>13}")
        print(f"{name:<18}" + "".join(cells), flush=True)


@dataclass(frozen=True, slots=True)
class Replayed:
    """One verdict on real runs, and what the longer runs say."""

    verdict: Verdict
    slip: float
    """Planned lr over the best of the longer runs."""
    cost: float
    """Share of the loss that the planned lr costs there."""
    length: float
    """Tokens of the longer runs over the pilots'."""


def measured_best(runs: pd.DataFrame) -> tuple[float, float] | None:
    """ln of the best lr and of its loss by a parabola through the five lowest; None at an edge."""
    low = runs.nsmallest(5, "loss")
    x, y = np.log(low["lr"]), np.log(low["loss"])
    a, b, c = np.polyfit(x, y, 2)
    if len(low) < 5 or a <= 0 or not x.min() < -b / (2 * a) < x.max():
        return None
    return float(-b / (2 * a)), float(c - b * b / (4 * a))


def replays(table: pd.DataFrame, *, least: float) -> Iterator[Replayed]:
    """Every plan that short runs of the table can be pilots for."""
    for params, size in table.groupby("params"):
        rest = table[table["params"] != params]
        fit = fit_surface(columns(rest), effort=Effort(starts=2, bootstraps=60))
        quantity = surface_quantity(fit.surface)
        law = replace(LAW, name="others' runs", quantities={"surface": quantity})
        lengths = sorted(size["tokens"].unique())
        for whole in lengths:
            for short in (tokens for tokens in lengths if whole / tokens >= least):
                for batch, long_runs in size[size["tokens"] == whole].groupby("batch_tokens"):
                    best = measured_best(long_runs)
                    same = size["batch_tokens"] == batch
                    pilots = size[(size["tokens"] == short) & same]
                    if best is not None and len(pilots) > 2:
                        at = tuple(map(float, (pilots["params"].iloc[0], whole, short, batch)))
                        yield from replay(law, at, long_runs, pilots, best)


def replay(
    law: Law,
    at: tuple[float, ...],
    long_runs: pd.DataFrame,
    pilots: pd.DataFrame,
    best: tuple[float, float],
) -> Iterator[Replayed]:
    """Every lr of a cell's grid as the planned one, where half and double of it were run."""
    params, whole, short, batch = at
    base = plan_of(params, whole)
    losses = {round(math.log2(lr) * 2): loss for lr, loss in pairs_of(pilots)}
    for lr, loss in pairs_of(long_runs):
        place = round(math.log2(lr) * 2)
        trio = {factor: losses.get(place + round(2 * math.log2(factor))) for factor in LRS}
        if any(value is None or not math.isfinite(value) for value in trio.values()):
            continue
        numbers = replace(
            base.numbers,
            lr=Value(value=lr, low=lr, high=lr, law="pinned"),
            batch_tokens=replace(base.batch_tokens, value=batch),
        )
        plan = replace(base, numbers=numbers)
        outcomes = [
            Outcome(name=f"{factor:g}", lr=lr * factor, loss=value, log_sd=NOISE)
            for factor, value in trio.items()
        ]
        runs = short_runs(plan, on(plan, law), tokens=short, same_setup=False)
        yield Replayed(
            verdict=judge(runs, outcomes),
            slip=lr / math.exp(best[0]),
            cost=loss / math.exp(best[1]) - 1,
            length=whole / short,
        )


def on(plan: Plan, law: Law) -> PlacedSurface:
    """A law's surface at the size of a plan."""
    return place_surface(law, params=plan.target.params, tokens=plan.target.tokens)


def pairs_of(runs: pd.DataFrame) -> list[tuple[float, float]]:
    """The lr and the loss of each run."""
    return list(zip(runs["lr"], runs["loss"], strict=True))


def measured(shared: Path) -> None:
    """Share told wrong, and of intervals that hold, by how far the planned lr is off."""
    table = read_table(shared)
    found = list(replays(table[np.isfinite(table["loss"])], least=8))
    print(f"\nStep Law's runs, pilots 1/8 to 1/50 as long: {len(found)} plans")
    print("lr planned over the best  plans  told wrong  80% interval holds  length 25+: told, held")
    edges = (0.0, 1 / 2.5, 1 / 1.75, 1 / 1.2, 1.2, 1.75, 2.5, math.inf)
    for low, high in pairwise(edges):
        some = [one for one in found if low <= one.slip < high]
        far = [one for one in some if one.length >= 25]
        if some:
            print(
                f"{low:>10.2f} to {high:<12.2f}{len(some):>7}{told(some):>12.2f}{held(some):>20.2f}"
                f"{told(far):>15.2f}{held(far):>6.2f}"
            )
    right = [one for one in found if one.cost < MATERIAL / 2]
    wrong = [one for one in found if one.cost > 2 * MATERIAL]
    for word, bound, some in (("under", 50, right), ("over", 200, wrong)):
        print(
            f"lr that costs {word} {bound * MATERIAL:g}% there: {len(some)} plans, "
            f"{told(some):.2f} told wrong"
        )


def told(found: list[Replayed]) -> float:
    """Share told wrong."""
    return float(np.mean([not one.verdict.stands for one in found])) if found else math.nan


def held(found: list[Replayed]) -> float:
    """Share of 80% intervals that hold the measured factor."""
    return float(np.mean([holds(o.verdict, 1 / o.slip) for o in found])) if found else math.nan


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measured(Path(sys.argv[1]))
    simulated(int(sys.argv[2]) if len(sys.argv) > 2 else SEEDS)
