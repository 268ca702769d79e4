"""How often `plan watch` alarms at made-up healthy logs with noisy single rows, and misses faults.

    python -m tests.benchmarks.healthy_logs [LOGS [FOLDER]]

LOGS (200) healthy ones and as many with a fault; FOLDER keeps them as CSV. The law was written down
before a detector was fitted to it, and none of its numbers was chosen by looking at a detector's
answers. They are *assumed*: sizes of single rows as in public logs of healthy runs, of faults as a
person would want to be woken for.

A log of n rows, each `interval` steps apart, S steps in all, p the progress, f the lr over its peak

    level = E + A (1 + step / (c S))^-b - d (1 - f), the last term after the warmup only
    loss = level exp(s z), z of Student's t with nu degrees of freedom and scale 1, where row k has
           memory r: z_k = r z_(k-1) + sqrt(1 - r^2) t_k
    grad_norm = g (0.3 + (1 + step / (c S))^-0.4) exp(q y), y standard normal

n log-uniform 200 to 1500; interval 1, 10, 20, 50 or 100; E 1.8 to 2.8, A 3 to 8, b 0.25 to 0.6; c
0.002 to 0.02, s 0.002 to 0.02, both log-uniform; d 0.03 to 0.12; nu 4, 8 or 30; r 0, 0, 0.3 or 0.7;
g 0.3 to 2, q 0.05 to 0.3. The lr warms up over 1 to 5% of the run, then is constant, or falls as a
cosine or a line to 0 to 0.1, or is WSD with 10 to 25% of decay; its peak is 1e-4 to 3e-3.

Single rows, at least 6 rows apart in a column, in the last 90%: Poisson (mean 1 to 8) of the loss,
that are higher by 5 to 40 s times the level, log-uniform; Poisson (mean 2 to 25) of the gradient
norm, that are 3 to 30 times as large, log-uniform. Half of the loss's have one of the gradient in
the same row.

Faults, one a log in turn, laid into a log as above with all its single rows, first row at 30 to 85%
(drift: 40 to 60%): one row of NaN, in half of the logs in the gradient too; five rows higher by h,
0.9 h, ... 0.6 h, h 10 to 40 s times the level and at least 0.1 nats; a drift, the level held and
rising in a line to the end by 0.15 to 0.6 nats and at least 15 s times the level.

Seeds: numpy's PCG64 with (1, i) for healthy log i and (2, i) for faulty log i.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

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


def watched(path: Path) -> tuple[int, list[dict[str, object]]]:
    """Exit code and faults of `plan watch FILE --json`."""
    from planner.cli import main

    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(io.StringIO()):
        code = main(["watch", str(path), "--json"])
    faults: list[dict[str, object]] = json.loads(shown.getvalue())["faults"]
    return code, faults


def is_caught(log: MadeLog, faults: list[dict[str, object]]) -> bool:
    """Whether the fault that was laid is among those said: its kind, and its rows."""
    last = log.first if log.fault == "nan" else log.first + 4
    start, end = log.step[log.first], log.step[-1 if log.fault == "drift" else last]
    return any(
        fault["kind"] == log.fault
        and float(str(fault["step"])) <= end
        and float(str(fault["until"])) >= start
        for fault in faults
    )


def report(logs: int, folder: Path) -> str:
    """Both figures, and the kinds of the false alarms."""
    alarms, kinds = 0, Counter[str]()
    for number in range(logs):
        path = folder / f"healthy-{number:03}.csv"
        path.write_text(healthy_log(number).to_csv())
        code, faults = watched(path)
        alarms += code != 0
        kinds.update({f"{fault['kind']} of {fault['column']}" for fault in faults})
    caught, laid = Counter[str](), Counter[str]()
    for number in range(logs):
        log = faulty_log(number)
        path = folder / f"{log.fault}-{number:03}.csv"
        path.write_text(log.to_csv())
        laid[str(log.fault)] += 1
        caught[str(log.fault)] += is_caught(log, watched(path)[1])
    share = 100 * caught.total() / max(1, laid.total())
    said = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items())) or "none"
    of_each = ", ".join(f"{kind} {caught[kind]} of {laid[kind]}" for kind in FAULTS)
    return (
        f"healthy logs with single rows: {alarms} alarms of {logs} (at most 1%): {said}\n"
        f"logs with a fault: {share:.1f}% caught (at least 95%): {of_each}"
    )


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    if len(sys.argv) > 2:
        Path(sys.argv[2]).mkdir(parents=True, exist_ok=True)
        print(report(count, Path(sys.argv[2])))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            print(report(count, Path(temporary)))
