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
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.measured.healthy_logs import FAULTS, MadeLog, faulty_log, healthy_log


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
