"""How long `plan fit` takes on the largest table, reading, audit and intervals included.

usage: OMP_NUM_THREADS=1 python -m tests.benchmarks.fit_speed SHARED [--repeats 3]

Each run is a fresh process of `plan fit lr_batch_runs_to_537M.csv --json`. Prints wall and
processor seconds of the fastest and the slowest. The bar is 15 s of wall on two idle cores.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path


def time_fit(table: Path) -> tuple[float, float]:
    """Wall and processor seconds of one fit in a process of its own."""
    before, start = os.times(), time.perf_counter()
    plan = "import sys; from planner.cli import main; sys.exit(main())"
    subprocess.run(
        [sys.executable, "-c", plan, "fit", str(table), "--json"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    after = os.times()
    used = after.children_user + after.children_system
    return time.perf_counter() - start, used - before.children_user - before.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    table = args.shared / "data" / "lr_batch_runs_to_537M.csv"
    times = sorted(time_fit(table) for _ in range(args.repeats))
    for name, (wall, processor) in (("fastest", times[0]), ("slowest", times[-1])):
        print(f"{name} of {args.repeats}: {wall:.1f} s wall, {processor:.1f} s processor")
    print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
