"""What the runner of sweeps costs a run, and how long `plan sweep status` takes.

usage: OMP_NUM_THREADS=1 python -m tests.benchmarks.sweep_runner [--trials 1000] [--recorded 10000]

The runs are made by an executor that returns at once, so that all time is the runner's: sampler,
studies, records, table. Prints wall and processor milliseconds a run (the bar is 50 of wall), for
one cell with all runs and for 10 cells; then the time of `plan sweep status` on a sweep with as
many runs as are asked for, in a process of its own (the bar is 1 second).
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

from proxies.sweep.cells import expand_cells
from proxies.sweep.executors.desk import Desk, Ended, failed_row
from proxies.sweep.folder.records import Records, read_records
from proxies.sweep.run_sweep import Means, run_sweep
from proxies.sweep.spec import SweepSpec
from proxies.sweep.spec_file import parse_spec

SPEC = """
model = {{ d_model = {widths}, n_layers = [1], head_dim = 8, d_ff = [32] }}
budget = {{ tokens = [8192] }}
corpus = {{ source = "zipf:vocab=64" }}

[search]
sampler = "grid"
lr = {lrs}
batch_tokens = [256]

[run]
seq_len = 32
"""


def make_spec(*, cells: int, runs: int) -> SweepSpec:
    """A grid of so many cells and runs of each."""
    widths = [16 + 8 * i for i in range(cells)]
    lrs = [1e-4 * 1.001**i for i in range(runs)]
    return parse_spec(SPEC.format(widths=widths, lrs=lrs), where="SPEC")


def pretend(desk: Desk) -> Iterator[Ended]:
    """An executor that trains nothing."""
    while (job := desk.next_job()) is not None:
        row = failed_row(job.spec) | {"status": "finished", "loss": 3 + job.spec.lr}
        yield Ended(run_id=job.run_id, row=row | {"tokens_seen": 8192.0, "seconds": 0.0})


def measure(spec: SweepSpec, *, trials: int) -> str:
    """Milliseconds of wall and processor a run."""
    with tempfile.TemporaryDirectory() as folder:
        wall, processor = time.perf_counter(), time.process_time()
        done = run_sweep(
            spec, Path(folder), execute=pretend, means=Means(executor="sequential")
        ).runs
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
    assert done == trials
    return f"{1e3 * wall / done:.1f} ms wall, {1e3 * processor / done:.1f} ms processor a run"


def measure_status(recorded: int) -> str:
    """Seconds of `plan sweep status` with so many records."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spec = make_spec(cells=10, runs=recorded // 10)
        cells = expand_cells(spec, vocab_size=64)

        def one_a_cell(desk: Desk) -> Iterator[Ended]:
            for ended in pretend(desk):
                yield ended
                return

        run_sweep(spec, folder, execute=one_a_cell, means=Means(executor="sequential"))
        (record,) = read_records(folder)
        rng = random.Random(0)
        with (folder / "results.jsonl").open("w") as file:
            for number, cell in product(range(recorded // 10), cells):
                row = record.row | {
                    "run_id": f"{cell.name}-{number:04d}",
                    "lr": 1e-4 * 1.001**number,
                    "loss": 3 + rng.random(),
                }
                made = replace(record, cell=cell.name, number=number, row=row)
                file.write(json.dumps(asdict(made)) + "\n")
        code = "import sys; from planner.cli import main; sys.exit(main())"
        took = []
        for _ in range(5):
            start = time.perf_counter()
            subprocess.run(
                [sys.executable, "-c", code, "sweep", "status", name],
                check=True,
                capture_output=True,
            )
            took.append(time.perf_counter() - start)
        records = Records(folder)
        records.write_table()
        start = time.perf_counter()
        records.write_table()
        table = time.perf_counter() - start
    return f"{min(took):.2f} s (best of 5), its table written in {table:.2f} s"


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--recorded", type=int, default=10_000)
    given = parser.parse_args()
    for cells in (1, 10) if given.trials else ():
        spec = make_spec(cells=cells, runs=given.trials // cells)
        print(f"{given.trials} runs in {cells} cells:", measure(spec, trials=given.trials))
    print(f"status of {given.recorded} runs:", measure_status(given.recorded))


if __name__ == "__main__":
    main()
