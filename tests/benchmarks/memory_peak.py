"""How well `planner.compute.memory` foretells measured peaks: proxies on this CPU, published GPU
figures.

usage: python -m tests.benchmarks.memory_peak [--published]

Proxies: two updates of real training of 12 shapes in fp32. The peak is that of all tensors that
torch allocates, summed from the profiler's memory events since before the model was made; the
second update has the optimizer's moments. Bar: within 15% for each shape.

Published (with `--published` these alone): torchtitan's GPU peaks of `data/throughput.toml`, for
which `planner.compute.memory.FSDP2` was made. Bar: within 15% in the median.
"""

from __future__ import annotations

import statistics
import sys

from tests.measured.memory_peak import (
    SHAPES,
    foretell,
    make_shape,
    measure_peak,
    titan_gib,
    titan_rows,
)


def main() -> None:
    """Print foretold and measured peaks, and how far apart they are."""
    errors = []
    for row in SHAPES if "--published" not in sys.argv else ():
        shape = make_shape(row)
        measured = measure_peak(shape, seq_len=row[6], sequences=row[7])
        said = foretell(shape, seq_len=row[6], sequences=row[7])
        errors.append(abs(said / measured - 1))
        print(
            f"{row}: {said / 1e6:.1f} MB foretold, {measured / 1e6:.1f} measured, "
            f"{said / measured - 1:+.0%}"
        )
    if errors:
        close = sum(error <= 0.15 for error in errors)
        print(f"{close} of {len(errors)} shapes within 15%, median {statistics.median(errors):.0%}")
    errors = []
    for raw in titan_rows():
        said = titan_gib(raw)
        errors.append(abs(said / raw["memory_gib"] - 1))
        print(
            f"{raw['name']} on {raw['devices']} {raw['accelerator']}, seq {raw['seq']}: "
            f"{said:.1f} GiB foretold, {raw['memory_gib']} published, "
            f"{said / raw['memory_gib'] - 1:+.0%}"
        )
    print(f"torchtitan: {len(errors)} rows, median error {statistics.median(errors):.0%}")


if __name__ == "__main__":
    main()
