"""Calibrations against losses of a known surface in place of training."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from planner.calibrate.folder import Request
from planner.calibrate.loop import calibrate
from planner.recommendation.value import Value
from proxies.sweep.executors.desk import Desk, Ended, Execute, failed_row
from proxies.sweep.run_sweep import Means
from tests.fixtures.runs import true_loss, true_point

CORPUS = "zipf:vocab=64"


@dataclass(frozen=True, slots=True)
class Landed:
    """Where one calibration landed."""

    runs: int
    lr: float
    """Planned over true."""
    batch: float
    lr_held: bool
    batch_held: bool


def oracle(seed: int, noise: float) -> Execute:
    """An executor that knows each loss, with noise by the run's own setting."""

    def execute(desk: Desk) -> Iterator[Ended]:
        while (job := desk.next_job()) is not None:
            spec = job.spec
            params = float(failed_row(spec)["params"])
            batch = float(spec.batching.sequences * spec.seq_len)
            exact = true_loss(params, float(spec.total_tokens), spec.lr, batch)
            rng = np.random.default_rng([seed, zlib.crc32(job.run_id.encode())])
            row = failed_row(spec) | {
                "status": "finished",
                "loss": exact * math.exp(noise * rng.normal()),
                "tokens_seen": float(spec.total_tokens),
                "unique_tokens": float(spec.total_tokens),
                "seconds": 0.0,
            }
            yield Ended(run_id=job.run_id, row=row)

    return execute


def land(folder: Path, request: Request, *, noise: float) -> Landed:
    """One calibration."""
    found = calibrate(
        request,
        folder,
        means=Means(executor="sequential"),
        execute=oracle(request.seed, noise),
    )
    assert found is not None
    lr, batch = true_point(request.params, request.tokens)
    plan = found.plan
    return Landed(
        runs=found.ending.runs,
        lr=plan.lr.value / lr,
        batch=plan.batch_tokens.value / batch,
        lr_held=holds(plan.lr, lr),
        batch_held=holds(plan.batch_tokens, batch),
    )


def holds(value: Value, truth: float) -> bool:
    """Whether an interval holds the truth."""
    return value.low is not None and value.high is not None and value.low <= truth <= value.high
