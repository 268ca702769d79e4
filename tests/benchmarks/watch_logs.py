"""How often `plan watch` finds a fault of a known size, and how often one that is not there.

    python -m tests.benchmarks.watch_logs [LOGS]

Healthy logs: real curves (shared/data, notebooks) and LOGS synthetic ones (default 200) by the
multi-power law under six schedules with Student's t noise, with and without memory. Faults are
laid into synthetic logs of constant and WSD schedules at sizes in units of their noise.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from fitting.logs.faults import Fault, find_faults
from fitting.logs.noise import measure_noise
from fitting.logs.series import RunLog, read_log
from tests.conftest import SHARED
from tests.fixtures.logs import (
    TRIAL,
    healthy_log,
    missing_fall,
    with_drift,
    with_plateau,
    with_spike,
)

SIZES = (2.0, 5.0, 10.0, 20.0, 40.0)
"""Of a spike or the end of a drift, in standard deviations of a row."""


def real_logs() -> Iterator[RunLog]:
    """Measured curves without a known fault."""
    for path in sorted((SHARED / "data").glob("loss_curves_*/*.csv")):
        yield read_log(path)
    for name, rows in pd.read_csv(TRIAL).groupby("name"):
        loss, step, lr = (rows[column].to_numpy() for column in ("loss", "step", "lr"))
        yield RunLog(name=str(name), step=step, loss=loss, others={"lr": lr})


def false_alarms(logs: Iterator[RunLog]) -> tuple[int, Counter[str]]:
    """Logs looked at, and those with an alarm by kind."""
    count, kinds = 0, Counter[str]()
    for log in logs:
        count += 1
        kinds.update({fault.kind for fault in find_faults(log)})
    return count, kinds


def detected(found: list[Fault], kind: str) -> bool:
    """Whether a fault of that kind is among them."""
    return any(fault.kind == kind for fault in found)


def rate(
    kind: str,
    change: Callable[[RunLog, float], RunLog],
    size: float,
    *,
    logs: int,
    tail: float,
) -> float:
    """Share of logs in which a fault of `size` noise is found by its name."""
    hits = []
    # The logs of the first table are others.
    for seed in range(10_000, 10_000 + logs):
        log = healthy_log(seed, kind=("constant", "wsd")[seed % 2], tail=tail)
        changed = change(log, size * measure_noise(log.loss).scale)
        hits.append(detected(find_faults(changed), kind))
    return float(np.mean(hits))


def spiked(log: RunLog, size: float) -> RunLog:
    """The log with a spike of three rows."""
    return with_spike(log, size=size)


def drifted(log: RunLog, size: float) -> RunLog:
    """The log with a drift over its last 40%."""
    return with_drift(log, size=size)


def report(logs: int) -> str:
    """Both tables."""
    lines = ["healthy logs        logs   with an alarm"]
    for name, source in (
        ("real curves", real_logs()),
        ("synthetic", (healthy_log(seed) for seed in range(logs))),
    ):
        count, kinds = false_alarms(source)
        said = ", ".join(f"{kind} {number}" for kind, number in kinds.items()) or "none"
        lines.append(f"{name:18}  {count:4}   {said}")
    some = max(12, logs // 8)
    lines += ["", "fault of this many standard deviations of a row, found by name"]
    lines.append("       noise " + "".join(f"{size:8g}" for size in SIZES))
    for kind, change in (("spike", spiked), ("drift", drifted)):
        for tail, word in ((30.0, "normal"), (3.0, "t of 3")):
            rates = [rate(kind, change, size, logs=some, tail=tail) for size in SIZES]
            cells = "".join(f"{100 * each:7.0f}%" for each in rates)
            lines.append(f"{kind:6}{word:7}{cells}")
    lines += ["", *plateau_lines(some)]
    return "\n".join(lines)


def plateau_lines(logs: int) -> list[str]:
    """Plateaus from 40% of a constant run on, by the fall that is missing."""
    found: dict[float, list[bool]] = {size: [] for size in SIZES}
    for seed in range(2 * logs):
        log = healthy_log(seed, kind="constant")
        missing = missing_fall(log) / measure_noise(log.loss).scale
        near = min(SIZES, key=lambda size: abs(np.log(max(missing, 0.1) / size)))
        found[near].append(detected(find_faults(with_plateau(log)), "plateau"))
    lines = ["plateau from 40% on, by the fall that is missing in deviations of a row, about"]
    lines.append("         " + "".join(f"{size:8g}" for size in SIZES))
    cells = [f"{100 * np.mean(hits):7.0f}%" if hits else "       -" for hits in found.values()]
    lines.append("found    " + "".join(cells))
    lines.append("logs     " + "".join(f"{len(hits):8}" for hits in found.values()))
    return lines


if __name__ == "__main__":
    print(report(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
