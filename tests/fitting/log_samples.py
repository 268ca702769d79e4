"""Logs for tests: healthy ones by the multi-power law with heavy-tailed noise, and faults."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from fitting.curves.law import curve_law, forecast
from fitting.logs.curve_files import Curve
from fitting.logs.series import RunLog
from fitting.loss.slopes import Floats
from planner.facts.laws import find_law, read_lawbook
from proxies.run.schedule import Checkpoint, lr_fractions, make_schedule

SIZES = ("25m", "100m", "400m")

KINDS = ("constant", "cosine", "linear", "wsd", "inverse-sqrt", "wsd-s")

PEAK = 3e-4
"""That the laws' curves were trained at."""

HIGHEST = math.log(32_000)
"""Loss at init: the law is infinite there."""


def healthy_log(
    seed: int, *, kind: str | None = None, noise: float | None = None, tail: float | None = None
) -> RunLog:
    """A log of nothing wrong: kind, size, length, noise, its tail and its memory vary with seed.

    Args:
        seed: of everything.
        kind: of the schedule; None for any of `KINDS`.
        noise: scale of ln loss; None for 0.001 to 0.03.
        tail: degrees of freedom of Student's t; None for 3, 5 or 30.
    """
    rng = np.random.default_rng(seed)
    kind = str(rng.choice(KINDS)) if kind is None else kind
    steps, rows = int(rng.choice([12_000, 24_000, 72_000])), int(rng.integers(150, 1200))
    at = np.unique(np.linspace(steps / rows, steps, rows).round())
    lr = PEAK * planned(kind, steps, at)
    law = find_law(read_lawbook(), f"multi-power-{rng.choice(SIZES)}", where="tests")
    bare = Curve(name="log", step=at, lr=lr, loss=None)
    expected = forecast(curve_law(law, where="tests"), bare).loss
    clean = np.minimum(np.nan_to_num(expected, nan=HIGHEST), HIGHEST)
    size = float(np.exp(rng.uniform(np.log(1e-3), np.log(0.03)))) if noise is None else noise
    drawn = float(rng.choice([3.0, 5.0, 30.0]))
    jitter = size * colour(rng, len(at), tail=drawn if tail is None else tail)
    return RunLog(name=kind, step=at, loss=clean * np.exp(jitter), others={"lr": lr})


def planned(kind: str, steps: int, at: Floats) -> Floats:
    """lr over the peak."""
    points: tuple[Checkpoint, ...] = ()
    if kind == "wsd-s":
        points = tuple(Checkpoint(int(steps * part), int(steps * 0.03)) for part in (0.25, 0.5, 1))
        return lr_fractions(make_schedule(kind, steps=steps, checkpoints=points), at)
    return lr_fractions(make_schedule(kind, steps=steps), at)


def colour(rng: np.random.Generator, count: int, *, tail: float) -> Floats:
    """Student's t noise, on its own or with a memory of some rows, of scale 1."""
    memory = float(rng.choice([0.0, 0.0, 0.5, 0.9]))
    drawn = rng.standard_t(tail, size=count)
    for row in range(1, count):
        drawn[row] = memory * drawn[row - 1] + math.sqrt(1 - memory**2) * drawn[row]
    return drawn


def with_spike(log: RunLog, *, size: float, part: float = 0.6, rows: int = 3) -> RunLog:
    """The log with `rows` rows that jump by `size` nats and come back."""
    first = int(part * len(log.step))
    loss = log.loss.copy()
    loss[first : first + rows] += size * np.linspace(1, 0.3, rows)
    return replace(log, loss=loss)


def with_drift(log: RunLog, *, size: float, part: float = 0.6) -> RunLog:
    """The log that rises from its level there by `size` nats up to its end."""
    first = int(part * len(log.step))
    loss = with_plateau(log, part=part).loss.copy()
    loss[first:] += size * np.linspace(0, 1, len(loss) - first)
    return replace(log, loss=loss)


def with_plateau(log: RunLog, *, part: float = 0.4) -> RunLog:
    """The log whose level stays what it was there, noise and all."""
    first = int(part * len(log.step))
    level = smooth(log.loss)
    loss = log.loss.copy()
    loss[first:] += level[first] - level[first:]
    return replace(log, loss=loss)


def missing_fall(log: RunLog, *, part: float = 0.4) -> float:
    """Nats that the level falls from there to the end."""
    level = smooth(log.loss)
    return float(level[int(part * len(level))] - level[-1])


def smooth(values: Floats, rows: int = 15) -> Floats:
    """Running median that shortens towards the ends."""
    half = rows // 2
    return np.array(
        [
            np.median(values[i - reach : i + reach + 1])
            for i in range(len(values))
            for reach in [min(half, i, len(values) - 1 - i)]
        ]
    )
