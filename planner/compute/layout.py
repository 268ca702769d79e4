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

from planner.compute.memory import memory_bytes, sequence_bytes
from proxies.run.layout import Layout
from proxies.run.spec import RunSpec

REPLICATED_SHARE = 0.5
"""Weights, gradients and optimizer are replicated while they take at most this share of the usable
memory. Assumed: it leaves the other half to activations."""

TENSOR_DEGREES = (1, 2, 4, 8)
"""Within a node of 8 devices: between nodes it is too slow (Narayanan et al. 2021, arXiv
2104.04473, section 5.4)."""


def choose_layout(run: RunSpec, count: int, usable: float | None) -> Layout:
    """The simplest layout that holds one sequence on `count` devices and leaves few of them idle.

    Args:
        run: the run.
        count: devices, >= 1.
        usable: bytes of a device that tensors may fill; None where not known, which gives sharded
            data parallelism with micro-batch 1.

    Returns:
        The layout with its micro-batch; where nothing fits, the plain data
        parallel one with one sequence.
    """
    plain = data_parallel_layout(run, count, usable)
    enough = 2 * run.batch_sequences > count
    if usable is None or (enough and fits(run, plain, usable)):
        return plain
    # A pipeline makes room; for devices that the batch leaves idle it would only make bubbles.
    stages = [1] if fits(run, plain, usable) else divisors(run.shape.n_layers)
    best = plain
    for tensor, pipeline in degrees(run, count, stages):
        layout = model_parallel_layout(run, count, usable, tensor=tensor, pipeline=pipeline)
        if not fits(run, layout, usable):
            continue
        if not fits(run, best, usable) or layout.devices >= 2 * best.devices:
            best = layout
        if fits(run, best, usable) and (enough or 2 * best.devices > count):
            break
    return best


def degrees(run: RunSpec, count: int, stages: list[int]) -> Iterator[tuple[int, int]]:
    """Tensor and pipeline degrees to try, the simplest first; not (1, 1)."""
    heads = math.gcd(run.shape.n_heads, run.shape.n_kv_heads)
    tensors = [t for t in TENSOR_DEGREES if heads % t == 0 and t <= count]
    for pipeline in stages:
        for tensor in tensors:
            # A pipeline between nodes pays only beside tensor parallelism within them.
            if (tensor, pipeline) == (1, 1) or (pipeline > 1 and tensor != tensors[-1]):
                continue
            if tensor * pipeline <= count:
                yield tensor, pipeline


def data_parallel_layout(run: RunSpec, count: int, usable: float | None) -> Layout:
    """Replicated with activations kept, sharded with them kept, sharded with them recomputed.

    The first that holds one sequence; the last if none does. The choice of replication does not
    look at the count, so that more devices never need more memory for the state of each.
    """
    data = largest_divisor(run.batch_sequences, count)
    if usable is None:
        return settle(run, Layout(data=data), usable)
    state = memory_bytes(run, Layout(sharded=False, micro_batch_sequences=0)).total
    options = [Layout(data=data), Layout(data=data, recompute="full")]
    if state <= REPLICATED_SHARE * usable:
        options.insert(0, Layout(data=data, sharded=False))
    return first_fitting(run, options, usable)


def model_parallel_layout(
    run: RunSpec, count: int, usable: float, *, tensor: int, pipeline: int
) -> Layout:
    """Sharded data parallel over what tensor and pipeline leave; activations kept if they fit."""
    data = largest_divisor(run.batch_sequences, count // (tensor * pipeline))
    # Before the micro-batch is known: one sequence each, so that a full pipeline is in flight.
    base = Layout(data=data, tensor=tensor, pipeline=pipeline)
    return first_fitting(run, [base, replace(base, recompute="full")], usable)


def first_fitting(run: RunSpec, options: list[Layout], usable: float) -> Layout:
    """The first layout that holds one sequence, settled; the last if none does."""
    for layout in options:
        if micro_batch_room(run, layout, usable) >= 1:
            return settle(run, layout, usable)
    return settle(run, options[-1], usable)


def settle(run: RunSpec, layout: Layout, usable: float | None) -> Layout:
    """The layout with the largest micro-batch that fits and divides a device's share.

    A pipeline keeps one sequence: more micro-batches mean shorter bubbles.
    """
    share = run.batch_sequences // layout.data
    room = 1 if layout.pipeline > 1 else micro_batch_room(run, layout, usable)
    micro = largest_divisor(share, max(room, 1))
    return replace(layout, micro_batch_sequences=micro)


def micro_batch_room(run: RunSpec, layout: Layout, usable: float | None) -> int:
    """Sequences whose activations fit beside the state; 1 where the memory is not known."""
    if usable is None:
        return 1
    state = memory_bytes(run, replace(layout, micro_batch_sequences=0)).total
    return max(0, int((usable - state) / sequence_bytes(run, layout)))


def fits(run: RunSpec, layout: Layout, usable: float) -> bool:
    """Whether one sequence fits beside the state."""
    return micro_batch_room(run, layout, usable) >= 1


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
