"""Which parallel layout a run gets: the simplest that fits, by memory.

Data parallel alone where it fits: replicated (DDP) while weights, gradients and optimizer leave
half of the memory to activations, else sharded over all devices (FSDP, ZeRO-3); activations kept,
or recomputed block by block where one sequence does not fit otherwise. Where that does not fit, or
the batch has at most half as many sequences as there are devices: tensor parallel over 2, 4 or 8
devices; where that does not fit either, a pipeline as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from planner.compute.memory import Layout, Workload, memory_bytes, sequence_bytes

REPLICATED_SHARE = 0.5
"""Weights, gradients and optimizer are replicated while they take at most this share of the usable
memory. Assumed: it leaves the other half to activations."""

TENSOR_DEGREES = (1, 2, 4, 8)
"""Within a node of 8 devices: between nodes it is too slow (Narayanan et al. 2021, arXiv
2104.04473, section 5.4)."""


def choose_layout(workload: Workload, count: int, usable: float | None) -> Layout:
    """The simplest layout that holds one sequence on `count` devices and leaves few of them idle.

    Args:
        workload: the run.
        count: devices, >= 1.
        usable: bytes of a device that tensors may fill; None where not known, which gives sharded
            data parallelism with micro-batch 1.

    Returns:
        The layout with its micro-batch and accumulation; where nothing fits, the plain data
        parallel one with one sequence.
    """
    plain = data_parallel_layout(workload, count, usable)
    enough = 2 * workload.batch_sequences > count
    if usable is None or (enough and fits(workload, plain, usable)):
        return plain
    # A pipeline makes room; for devices that the batch leaves idle it would only make bubbles.
    stages = [1] if fits(workload, plain, usable) else divisors(workload.n_layers)
    best = plain
    for tensor, pipeline in degrees(workload, count, stages):
        layout = model_parallel_layout(workload, count, usable, tensor=tensor, pipeline=pipeline)
        if not fits(workload, layout, usable):
            continue
        if not fits(workload, best, usable) or layout.devices >= 2 * best.devices:
            best = layout
        if fits(workload, best, usable) and (enough or 2 * best.devices > count):
            break
    return best


def degrees(workload: Workload, count: int, stages: list[int]) -> Iterator[tuple[int, int]]:
    """Tensor and pipeline degrees to try, the simplest first; not (1, 1)."""
    heads = math.gcd(workload.n_heads, workload.n_kv_heads)
    tensors = [t for t in TENSOR_DEGREES if heads % t == 0 and t <= count]
    for pipeline in stages:
        for tensor in tensors:
            # A pipeline between nodes pays only beside tensor parallelism within them.
            if (tensor, pipeline) == (1, 1) or (pipeline > 1 and tensor != tensors[-1]):
                continue
            if tensor * pipeline <= count:
                yield tensor, pipeline


def data_parallel_layout(workload: Workload, count: int, usable: float | None) -> Layout:
    """Replicated with activations kept, sharded with them kept, sharded with them recomputed.

    The first that holds one sequence; the last if none does. The choice of replication does not
    look at the count, so that more devices never need more memory for the state of each.
    """
    data = largest_divisor(workload.batch_sequences, count)
    if usable is None:
        return settle(workload, Layout(data=data), usable)
    state = memory_bytes(workload, Layout(sharded=False, micro_batch_sequences=0)).total
    options = [Layout(data=data), Layout(data=data, recompute="full")]
    if state <= REPLICATED_SHARE * usable:
        options.insert(0, Layout(data=data, sharded=False))
    return first_fitting(workload, options, usable)


def model_parallel_layout(
    workload: Workload, count: int, usable: float, *, tensor: int, pipeline: int
) -> Layout:
    """Sharded data parallel over what tensor and pipeline leave; activations kept if they fit."""
    data = largest_divisor(workload.batch_sequences, count // (tensor * pipeline))
    # Before the micro-batch is known: one sequence each, so that a full pipeline is in flight.
    share = workload.batch_sequences // data
    base = Layout(data=data, tensor=tensor, pipeline=pipeline, accumulation=share)
    return first_fitting(workload, [base, replace(base, recompute="full")], usable)


def first_fitting(workload: Workload, options: list[Layout], usable: float) -> Layout:
    """The first layout that holds one sequence, settled; the last if none does."""
    for layout in options:
        if micro_batch_room(workload, layout, usable) >= 1:
            return settle(workload, layout, usable)
    return settle(workload, options[-1], usable)


def settle(workload: Workload, layout: Layout, usable: float | None) -> Layout:
    """The layout with the largest micro-batch that fits and divides a device's share.

    A pipeline keeps one sequence: more micro-batches mean shorter bubbles.
    """
    share = workload.batch_sequences // layout.data
    room = 1 if layout.pipeline > 1 else micro_batch_room(workload, layout, usable)
    micro = largest_divisor(share, max(room, 1))
    return replace(layout, micro_batch_sequences=micro, accumulation=share // micro)


def micro_batch_room(workload: Workload, layout: Layout, usable: float | None) -> int:
    """Sequences whose activations fit beside the state; 1 where the memory is not known."""
    if usable is None:
        return 1
    state = memory_bytes(workload, replace(layout, micro_batch_sequences=0)).total
    return max(0, int((usable - state) / sequence_bytes(workload, layout)))


def fits(workload: Workload, layout: Layout, usable: float) -> bool:
    """Whether one sequence fits beside the state."""
    return micro_batch_room(workload, layout, usable) >= 1


def largest_divisor(number: int, limit: int) -> int:
    """The largest divisor of `number` that is at most `limit`, both >= 1.

    Example:
        >>> largest_divisor(250, 8), largest_divisor(256, 8), largest_divisor(7, 4)
        (5, 8, 1)
    """
    return max(divisor for divisor in divisors(number) if divisor <= limit)


def divisors(number: int) -> list[int]:
    """All divisors, ascending.

    Example:
        >>> divisors(12)
        [1, 2, 3, 4, 6, 12]
    """
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return sorted({*small, *(number // d for d in small)})
