"""What a plan keeps of its accelerators: plain numbers, and nothing that computes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from planner.compute.memory import MemoryBytes
from proxies.run.layout import Layout

if TYPE_CHECKING:
    from planner.compute.estimate import Compute


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCompute:
    """Layout, time and memory on the given GPUs, as a plan keeps them."""

    gpus: str
    micro_batch_sequences: int
    accumulation: int
    data_parallel: int
    mfu: float | None
    hours: float | None
    memory_bytes: MemoryBytes
    hours_low: float | None = None
    """80% of published whole runs would take between low and high."""
    hours_high: float | None = None
    tokens_per_second: float | None = None
    """Of all GPUs together."""
    mfu_low: float | None = None
    """80% of published whole runs would have between low and high."""
    mfu_high: float | None = None
    uptime: float | None = None
    """Whole-run throughput over steady throughput."""
    gpu_hours: float | None = None
    """Of all GPUs, idle ones included."""
    energy_kwh: float | None = None
    """At the rated power: an upper bound."""
    cost: float | None = None
    """In the unit of the price; None without one."""
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    sharded: bool | None = None
    """Whether the state is divided over the data-parallel GPUs."""
    recompute: bool | None = None
    """Whether the backward pass recomputes each block."""


def planned_compute(compute: Compute) -> PlannedCompute:
    """What a plan keeps of an estimate; no time for accelerators without a name."""
    timing = compute.timing
    kept = PlannedCompute(
        gpus=compute.gpus,
        micro_batch_sequences=compute.micro_batch_sequences,
        accumulation=compute.accumulation,
        data_parallel=compute.data_parallel,
        mfu=None,
        hours=None,
        memory_bytes=compute.memory_bytes,
        tensor_parallel=compute.tensor_parallel,
        pipeline_parallel=compute.pipeline_parallel,
        sharded=compute.sharded,
        recompute=compute.recompute,
    )
    if timing is None:
        return kept
    return replace(
        kept,
        mfu=timing.mfu,
        hours=timing.hours,
        hours_low=timing.hours_low,
        hours_high=timing.hours_high,
        tokens_per_second=timing.tokens_per_second,
        mfu_low=timing.mfu_low,
        mfu_high=timing.mfu_high,
        uptime=timing.uptime,
        gpu_hours=timing.gpu_hours,
        energy_kwh=timing.energy_kwh,
        cost=timing.cost,
    )


def layout_of(part: Compute | PlannedCompute) -> Layout:
    """How a run lies on its accelerators."""
    return Layout(
        data=part.data_parallel,
        tensor=part.tensor_parallel,
        pipeline=part.pipeline_parallel,
        sharded=part.sharded is not False,
        recompute="full" if part.recompute else "none",
        micro_batch_sequences=part.micro_batch_sequences,
    )
