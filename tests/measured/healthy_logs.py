"""Logs with and without faults, drawn at random, for judging `plan watch`."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FAULTS = ("nan", "spike", "drift")
"""What is laid into faulty log i: the i-th in turn."""

FEWEST_ROWS_APART = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeLog:
    """A made-up run, and what was laid into it."""

    step: Floats
    loss: Floats
    lr: Floats
    grad_norm: Floats
    level: Floats
    """The loss without noise."""
    noise: float
    """s of the law."""
    fault: str | None
    """One of `FAULTS`; None for a healthy run."""
    first: int
    """Row of the fault; 0 where there is none."""

    def to_csv(self) -> str:
        """The log as people have it; NaN is written out."""
        columns = (self.step, self.loss, self.lr, self.grad_norm)
        rows = zip(*columns, strict=True)
        lines = [f"{step:.0f},{loss:.6f},{lr:.8g},{norm:.6g}" for step, loss, lr, norm in rows]
        return "\n".join(["step,loss,lr,grad_norm", *lines]) + "\n"


def healthy_log(number: int) -> MadeLog:
    """Healthy log `number` of the law above."""
    return make_log(np.random.default_rng((1, number)))


def faulty_log(number: int) -> MadeLog:
    """Log `number` with a fault: one of the three in turn."""
    rng = np.random.default_rng((2, number))
    log, fault = make_log(rng), FAULTS[number % len(FAULTS)]
    low, high = (0.4, 0.6) if fault == "drift" else (0.3, 0.85)
    first = int(rng.uniform(low, high) * len(log.step))
    return lay_fault(replace(log, fault=fault, first=first), rng)


def make_log(rng: np.random.Generator) -> MadeLog:
    """A healthy log with its single rows."""
    rows = round(log_uniform(rng, 200, 1500))
    step = float(rng.choice([1, 10, 20, 50, 100])) * np.arange(1, rows + 1, dtype=np.float64)
    shape = make_lr(rng, step / step[-1])
    warmed = np.arange(rows) >= np.argmax(shape)
    fall = 1 + step / (log_uniform(rng, 0.002, 0.02) * step[-1])
    level = rng.uniform(1.8, 2.8) + rng.uniform(3, 8) * fall ** -rng.uniform(0.25, 0.6)
    level = level - rng.uniform(0.03, 0.12) * (1 - shape) * warmed
    noise = log_uniform(rng, 0.002, 0.02)
    norm = rng.uniform(0.3, 2) * (0.3 + fall**-0.4)
    norm = norm * np.exp(rng.uniform(0.05, 0.3) * rng.standard_normal(rows))
    loss = level * np.exp(noise * remembered(rng, rows))
    lay_single_rows(rng, loss, norm, noise * level)
    return MadeLog(
        step=step,
        loss=loss,
        lr=log_uniform(rng, 1e-4, 3e-3) * shape,
        grad_norm=norm,
        level=level,
        noise=noise,
        fault=None,
        first=0,
    )


def make_lr(rng: np.random.Generator, progress: Floats) -> Floats:
    """lr over its peak under one of four schedules."""
    warmup, end = rng.uniform(0.01, 0.05), rng.uniform(0, 0.1)
    kind = rng.choice(["constant", "cosine", "linear", "wsd"])
    begin = 1 - rng.uniform(0.1, 0.25) if kind == "wsd" else warmup
    part = np.clip((progress - begin) / (1 - begin), 0, 1)
    fallen = {
        "constant": np.zeros_like(part),
        "cosine": (1 - np.cos(math.pi * part)) / 2,
        "linear": part,
        "wsd": part,
    }[str(kind)]
    return np.minimum(progress / warmup, 1 - (1 - end) * fallen)


def remembered(rng: np.random.Generator, rows: int) -> Floats:
    """Student's t noise of scale 1 with a memory of rows."""
    memory = float(rng.choice([0.0, 0.0, 0.3, 0.7]))
    drawn = rng.standard_t(float(rng.choice([4.0, 8.0, 30.0])), size=rows)
    for row in range(1, rows):
        drawn[row] = memory * drawn[row - 1] + math.sqrt(1 - memory**2) * drawn[row]
    return drawn


def lay_single_rows(rng: np.random.Generator, loss: Floats, norm: Floats, scale: Floats) -> None:
    """Raise single rows of both columns in place; `scale` is that of the loss's noise."""
    of_loss = apart(rng, len(loss), int(rng.poisson(rng.uniform(1, 8))))
    loss[of_loss] += scale[of_loss] * log_uniforms(rng, 5, 40, len(of_loss))
    both = of_loss[rng.random(len(of_loss)) < 0.5]
    alone = apart(rng, len(loss), int(rng.poisson(rng.uniform(2, 25))))
    near = np.abs(alone[:, None] - both[None, :]).min(axis=1, initial=len(loss))
    of_norm = np.concatenate([both, alone[near >= FEWEST_ROWS_APART]])
    norm[of_norm] *= log_uniforms(rng, 3, 30, len(of_norm))


def apart(rng: np.random.Generator, rows: int, count: int) -> NDArray[np.int64]:
    """Up to `count` rows in the last 90% of a log, none near another."""
    found: list[int] = []
    for row in rng.permutation(np.arange(rows // 10, rows)).tolist():
        if len(found) == count:
            break
        if all(abs(row - other) >= FEWEST_ROWS_APART for other in found):
            found.append(row)
    return np.array(sorted(found), dtype=np.int64)


def lay_fault(log: MadeLog, rng: np.random.Generator) -> MadeLog:
    """The log with its fault from row `first` on."""
    loss, norm, first = log.loss.copy(), log.grad_norm.copy(), log.first
    scale = log.noise * float(log.level[first])
    if log.fault == "nan":
        loss[first] = np.nan
        if rng.random() < 0.5:
            norm[first] = np.nan
    elif log.fault == "spike":
        height = max(0.1, rng.uniform(10, 40) * scale)
        loss[first : first + 5] += height * np.linspace(1, 0.6, 5)
    else:
        rise = max(rng.uniform(0.15, 0.6), 15 * scale)
        held = log.level[first] - log.level[first:]
        loss[first:] += held + rise * np.linspace(0, 1, len(loss) - first)
    return replace(log, loss=loss, grad_norm=norm)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """One number, even in the logarithm."""
    return float(log_uniforms(rng, low, high, 1)[0])


def log_uniforms(rng: np.random.Generator, low: float, high: float, count: int) -> Floats:
    """Numbers even in the logarithm."""
    return np.exp(rng.uniform(math.log(low), math.log(high), size=count))
