"""How long a plan takes from a cold start, in units of a bare Python.

usage: python -m tests.benchmarks.cold_start [RUNS]

Machines differ, so everything is measured against `python -c pass` in alternation with it. Step
Law's own `pred-opt-lr-bs 1e9 2e10 2048` took 5.3 s where a bare Python took 15 ms (measured on a
2-core AMD EPYC, November 2026): 353 bare Pythons. The last line is the ratio to that.
"""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

STEP_LAW_TOOL = 5.3 / 0.015
"""Wall time of Step Law's tool in bare Pythons, where both were measured."""

PLAN = "import sys; from planner.cli import main; sys.exit(main(sys.argv[1:]))"


def wall_seconds(*arguments: str) -> float:
    """Wall time of one Python process."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - start


def main(runs: int) -> None:
    bare, plan = [], []
    for _ in range(runs):
        bare.append(wall_seconds("-c", "pass"))
        plan.append(wall_seconds("-c", PLAN, "--params", "1B", "--tokens", "20B"))
    ratio = median(plan) / median(bare)
    print(f"bare Python {1000 * median(bare):.0f} ms (median of {runs})")
    print(f"plan        {1000 * median(plan):.0f} ms (median), {1000 * min(plan):.0f} ms (best)")
    print(f"plan takes {ratio:.1f} bare Pythons; {STEP_LAW_TOOL / ratio:.1f} times faster than")
    print("Step Law's own tool")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
