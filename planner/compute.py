"""Time, tokens a second and memory of a run on given accelerators.

The layout is data parallel only: replicated (DDP) while weights, gradients and optimizer leave half
of the memory to activations, else sharded over all devices (FSDP, ZeRO-3). Activations are kept, or
recomputed block by block where one sequence does not fit otherwise. Tensor and pipeline parallelism
are not planned. Hours are those of `planner.timing`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fitting.errors import InputError, nearest_name
from fitting.units import format_count
from planner.accelerators import Gpus
from planner.memory import (
    GRADIENT_BYTES,
    MOMENTS,
    WEIGHT_BYTES,
    MemoryBytes,
    Workload,
    block_bytes,
    gathered_bytes,
    logit_bytes,
    memory_bytes,
    optimizer_bytes,
    sequence_bytes,
)
from planner.timing import Timing, explain_timing, priced, run_timing
from planner.utilisation import read_law

USABLE_MEMORY = 0.9
"""Share of the device's memory that tensors may fill; the rest is for the driver's context,
communication buffers and fragmentation. Assumed. With it, 43 of 45 micro-batches that llm-foundry
ran are within a factor of two of the largest that fits here (tests/planner/test_memory.py); one
run that just fitted, 30B on 8 GPUs of 80 GB, is said not to."""

REPLICATED_SHARE = 0.5
"""Weights, gradients and optimizer are replicated while they take at most this share of the usable
memory. Assumed: it leaves the other half to activations."""

GIGA = 1e9
"""Bytes in a GB as printed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """How a run lies on its accelerators, and what it takes."""

    gpus: str
    """As it can be typed: `8xh100`, or `8`."""
    gpu_count: int
    micro_batch_sequences: int
    """Sequences that one device processes at once."""
    accumulation: int
    """Micro-batches of a device that make one optimizer step."""
    data_parallel: int
    """Devices in use; micro_batch_sequences accumulation data_parallel = batch_sequences."""
    sharded: bool
    """Whether weights, gradients and optimizer are divided over the devices (FSDP)."""
    recompute: bool
    """Whether the backward pass recomputes each block's activations."""
    memory_bytes: MemoryBytes
    usable_bytes: float | None
    """What the parts may fill on a device; None for a bare count."""
    fits: bool | None
    """Whether they do; None for a bare count."""
    timing: Timing | None
    """None for a bare count."""
    warnings: tuple[str, ...]
    """What, how much, what to do."""


def estimate_compute(workload: Workload, gpus: Gpus, *, price: float | None = None) -> Compute:
    """Layout, memory and time of a run.

    data_parallel is the largest divisor of batch_sequences that the devices allow; the micro-batch
    is the largest divisor of a device's share that fits in its memory. Nothing is adjusted: devices
    left idle and a run that does not fit are warnings.

    Args:
        workload: the run.
        gpus: what `parse_gpus` read. A bare count gives the layout with micro-batch 1, sharded,
            since its memory is not known, and no time.
        price: of one GPU-hour, for the cost.

    Raises:
        InputError: the optimizer's state is not known.
    """
    if workload.optimizer not in MOMENTS:
        near = nearest_name(workload.optimizer, MOMENTS) or f"; known are {', '.join(MOMENTS)}"
        raise InputError(f"--optimizer '{workload.optimizer}': its memory is not known{near}")
    data_parallel = largest_divisor(workload.batch_sequences, gpus.count)
    share = workload.batch_sequences // data_parallel
    usable = None
    if gpus.accelerator is not None:
        usable = USABLE_MEMORY * GIGA * gpus.accelerator.memory_gb
    sharded, recompute = choose_layout(workload, data_parallel, usable)
    room = micro_batch_room(workload, data_parallel, usable, sharded=sharded, recompute=recompute)
    micro_batch = largest_divisor(share, max(room, 1))
    memory = memory_bytes(
        workload, data_parallel, micro_batch, sharded=sharded, recompute=recompute
    )
    timing = run_timing(workload, gpus, devices=data_parallel, recompute=recompute)
    return Compute(
        gpus=gpus.text,
        gpu_count=gpus.count,
        micro_batch_sequences=micro_batch,
        accumulation=share // micro_batch,
        data_parallel=data_parallel,
        sharded=sharded,
        recompute=recompute,
        memory_bytes=memory,
        usable_bytes=usable,
        fits=None if usable is None else room >= 1,
        timing=None if timing is None else priced(timing, price),
        warnings=(
            *gpus.warnings,
            *utilisation_warnings(gpus),
            *batch_warnings(workload, gpus.count, data_parallel),
            *memory_warnings(workload, data_parallel, usable, room),
        ),
    )


def explain_compute(workload: Workload, compute: Compute) -> list[str]:
    """The arithmetic of each number, one line each, so that it can be redone by hand."""
    parts = compute.memory_bytes
    lines = [
        f"batch {workload.batch_sequences} sequences = micro-batch "
        f"{compute.micro_batch_sequences} x accumulation {compute.accumulation} x "
        f"data parallel {compute.data_parallel}",
        f"state: {state_formula(workload, compute)}",
        f"activations {parts.activations / GIGA:.3g} GB = micro-batch "
        f"{compute.micro_batch_sequences} x {workload.seq_len} tokens x "
        f"{activation_formula(workload, recompute=compute.recompute)}",
    ]
    timing = compute.timing
    if timing is not None:
        lines += explain_timing(workload, timing, compute.data_parallel)
    return lines


def state_formula(workload: Workload, compute: Compute) -> str:
    """How weights, gradients and optimizer add up, in words."""
    parts = compute.memory_bytes
    total = (parts.weights + parts.gradients + parts.optimizer) / GIGA
    over = f" / {compute.data_parallel}" if compute.sharded else ""
    gathered = f" + {gathered_bytes(workload) / GIGA:.3g} GB gathered" if compute.sharded else ""
    per_param = optimizer_bytes(workload) / workload.total_params
    return (
        f"{total:.3g} GB = {format_count(workload.total_params)} x ({WEIGHT_BYTES} weight + "
        f"{GRADIENT_BYTES} gradient + {per_param:.3g} optimizer) bytes{over}{gathered}"
    )


def activation_formula(workload: Workload, *, recompute: bool) -> str:
    """Bytes of activations a token, in words."""
    block, logits = block_bytes(workload), logit_bytes(workload)
    if recompute:
        inputs = 2 * workload.d_model
        return f"({workload.n_layers} x {inputs} block inputs + {block} + {logits} logits) bytes"
    return f"({workload.n_layers} x {block} a block + {logits} logits) bytes"


def utilisation_warnings(gpus: Gpus) -> list[str]:
    """Where time or memory rests on an assumption about the device."""
    if gpus.accelerator is None:
        return [
            f"--gpus {gpus.count}: no accelerator named, so no time, and micro-batch 1 because its "
            f"memory is not known; write for example {gpus.count}xh100"
        ]
    if gpus.accelerator.name in read_law()["measured_on"]:
        return []
    return [
        f"utilisation on {gpus.text}: no published whole run on it is known, and the law is taken "
        "from those on other devices; time a few steps before relying on the hours"
    ]


def batch_warnings(workload: Workload, count: int, data_parallel: int) -> list[str]:
    """Devices that the batch leaves idle, and the batch that would use them."""
    if data_parallel == count:
        return []
    batch, tokens = workload.batch_sequences, workload.seq_len
    near = [size for size in (batch // count * count, -(-batch // count) * count) if size]
    right = " or ".join(f"--batch {size * tokens} ({size} sequences)" for size in near)
    return [
        f"{count - data_parallel} of {count} GPUs idle: a batch of {batch} sequences does not "
        f"divide over {count}, and the time is that of {data_parallel}; use {right}, or "
        f"{data_parallel} GPUs"
    ]


def memory_warnings(
    workload: Workload, data_parallel: int, usable: float | None, room: int
) -> list[str]:
    """A run that does not fit, or whose batch forces a small micro-batch."""
    if usable is None:
        return []
    if room < 1:
        return [f"does not fit in memory: {misfit(workload, usable)}"]
    share = workload.batch_sequences // data_parallel
    best = largest_divisor(share, room)
    if best == share or 2 * best >= room:
        return []
    right = -(-share // room) * room * data_parallel
    return [
        f"micro-batch {best} where {room} would fit: the {share} sequences of a GPU have no larger "
        f"divisor that fits; use --batch {right * workload.seq_len} ({right} sequences)"
    ]


def misfit(workload: Workload, usable: float) -> str:
    """How much one sequence needs, and the number of devices that would do."""
    for count in divisors(workload.batch_sequences):
        memory = memory_bytes(workload, count, 1, sharded=True, recompute=True)
        if memory.total <= usable:
            return (
                f"one sequence of {workload.seq_len} and the sharded state exceed the "
                f"{usable / GIGA:.0f} GB usable, even recomputed, and the hours are as if they did "
                f"not; {count} such GPUs would do ({memory.total / GIGA:.0f} GB each)"
            )
    return (
        f"on the most GPUs that the batch allows, {workload.batch_sequences} with one sequence of "
        f"{workload.seq_len} each, a GPU needs {memory.total / GIGA:.0f} GB "
        f"({memory.activations / GIGA:.0f} GB of it activations) and has {usable / GIGA:.0f}, and "
        "the hours are as if it fitted; use a shorter --seq-len, GPUs with more memory, or tensor "
        "and pipeline parallelism, which is not planned here"
    )


def choose_layout(
    workload: Workload, data_parallel: int, usable: float | None
) -> tuple[bool, bool]:
    """The first of (sharded, recompute) that holds one sequence; the last if none does.

    Replicated with activations kept, sharded with them kept, sharded with them recomputed. The
    choice of replication does not look at data_parallel, so that more devices never need more
    memory for the state of each.
    """
    if usable is None:
        return True, False
    state = memory_bytes(workload, data_parallel, 0, sharded=False, recompute=False).total
    options = [(True, False), (True, True)]
    if state <= REPLICATED_SHARE * usable:
        options.insert(0, (False, False))
    for sharded, recompute in options:
        room = micro_batch_room(
            workload, data_parallel, usable, sharded=sharded, recompute=recompute
        )
        if room >= 1:
            return sharded, recompute
    return options[-1]


def micro_batch_room(
    workload: Workload,
    data_parallel: int,
    usable: float | None,
    *,
    sharded: bool,
    recompute: bool,
) -> int:
    """Sequences whose activations fit beside the state; 1 where the memory is not known."""
    if usable is None:
        return 1
    state = memory_bytes(workload, data_parallel, 0, sharded=sharded, recompute=recompute).total
    return max(0, int((usable - state) / sequence_bytes(workload, recompute=recompute)))


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
