"""Time, tokens a second and memory of a run on given accelerators.

The layout is that of `planner.compute.layout`, the hours those of `planner.compute.timing`.
"""

from __future__ import annotations

from dataclasses import dataclass

from fitting.errors import InputError, nearest_name
from fitting.units import format_count
from planner.compute.layout import choose_layout, divisors, largest_divisor, micro_batch_room
from planner.compute.memory import (
    MOMENTS,
    MemoryBytes,
    block_bytes,
    gathered_bytes,
    kept_bytes,
    logit_bytes,
    memory_bytes,
    optimizer_bytes,
)
from planner.compute.timing import Timing, explain_timing, priced, run_timing
from planner.compute.utilisation import read_law
from planner.facts.accelerators import Gpus
from proxies.run.layout import MIXED, Layout
from proxies.run.spec import RunSpec

USABLE_MEMORY = 0.9
"""Share of the device's memory that tensors may fill; the rest is for the driver's context,
communication buffers and fragmentation. Assumed. With it, 43 of 45 micro-batches that llm-foundry
ran are within a factor of two of the largest that fits here
(tests/planner/compute/test_memory.py); one run that just fitted, 30B on 8 GPUs of 80 GB, is said
not to."""

WORTH_SAYING = 0.1
"""Share of a step that a pipeline may be idle without a warning; the published tables that the law
of utilisation is fitted to have less."""

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
    """micro_batch_sequences accumulation data_parallel = batch_sequences."""
    tensor_parallel: int
    """Devices that share each matrix."""
    pipeline_parallel: int
    """Stages that share the layers."""
    sharded: bool
    """Whether weights, gradients and optimizer are divided over the data-parallel devices (FSDP);
    with a pipeline only the optimizer is."""
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

    @property
    def devices(self) -> int:
        """Devices in use."""
        return self.data_parallel * self.tensor_parallel * self.pipeline_parallel


def estimate_compute(run: RunSpec, gpus: Gpus, *, price: float | None = None) -> Compute:
    """Layout, memory and time of a run.

    The layout is the simplest that fits; its data-parallel part divides batch_sequences, and the
    micro-batch a device's share. Nothing is adjusted: devices left idle and a run that does not
    fit are warnings.

    Args:
        run: the run.
        gpus: what `parse_gpus` read. A bare count gives the layout with micro-batch 1, sharded,
            since its memory is not known, and no time.
        price: of one GPU-hour, for the cost.

    Raises:
        InputError: the optimizer's state is not known.
    """
    if run.optimizer.name not in MOMENTS:
        near = nearest_name(run.optimizer.name, MOMENTS) or f"; known are {', '.join(MOMENTS)}"
        raise InputError(f"--optimizer '{run.optimizer.name}': its memory is not known{near}")
    usable = None
    if gpus.accelerator is not None:
        usable = USABLE_MEMORY * GIGA * gpus.accelerator.memory_gb
    layout = choose_layout(run, gpus.count, usable)
    room = micro_batch_room(run, layout, usable)
    timing = run_timing(run, gpus, layout)
    return Compute(
        gpus=gpus.text,
        gpu_count=gpus.count,
        micro_batch_sequences=layout.micro_batch_sequences,
        accumulation=layout.accumulation(run.batch_sequences),
        data_parallel=layout.data,
        tensor_parallel=layout.tensor,
        pipeline_parallel=layout.pipeline,
        sharded=layout.sharded,
        recompute=layout.recompute != "none",
        memory_bytes=memory_bytes(run, layout),
        usable_bytes=usable,
        fits=None if usable is None else room >= 1,
        timing=None if timing is None else priced(timing, price),
        warnings=(
            *gpus.warnings,
            *utilisation_warnings(gpus),
            *batch_warnings(run, gpus.count, layout),
            *memory_warnings(run, layout, usable, room),
            *split_warnings(run, layout),
        ),
    )


def explain_compute(run: RunSpec, compute: Compute) -> list[str]:
    """The arithmetic of each number, one line each, so that it can be redone by hand."""
    parts = compute.memory_bytes
    lines = [
        f"batch {run.batch_sequences} sequences = micro-batch "
        f"{compute.micro_batch_sequences} x accumulation {compute.accumulation} x "
        f"data parallel {compute.data_parallel}",
        *model_parallel_formula(compute),
        f"state: {state_formula(run, compute)}",
        f"activations {parts.activations / GIGA:.3g} GB = micro-batch "
        f"{compute.micro_batch_sequences} x {run.seq_len} tokens x "
        f"{activation_formula(run, compute)}",
    ]
    timing = compute.timing
    if timing is not None:
        lines += explain_timing(run, timing, compute.devices)
    return lines


def model_parallel_formula(compute: Compute) -> list[str]:
    """How the devices are divided where a model is split over several."""
    if compute.tensor_parallel * compute.pipeline_parallel == 1:
        return []
    return [
        f"{compute.devices} GPUs = data {compute.data_parallel} x tensor "
        f"{compute.tensor_parallel} x pipeline {compute.pipeline_parallel}: the simplest that "
        "fits and uses over half of them"
    ]


def state_formula(run: RunSpec, compute: Compute) -> str:
    """How weights, gradients and optimizer add up, in words."""
    parts = compute.memory_bytes
    total = (parts.weights + parts.gradients + parts.optimizer) / GIGA
    split = compute.tensor_parallel * compute.pipeline_parallel
    per_param = optimizer_bytes(run) / run.counts.total_params
    count = format_count(run.counts.total_params) + (f" / {split}" if split > 1 else "")
    if compute.sharded and compute.pipeline_parallel > 1:
        return (
            f"{total:.3g} GB = {count} x ({MIXED.weight} weight + {MIXED.gradient} gradient + "
            f"{per_param:.3g} optimizer / {compute.data_parallel}) bytes"
        )
    layout = Layout(tensor=compute.tensor_parallel)
    over = f" / {compute.data_parallel}" if compute.sharded else ""
    gathered = f" + {gathered_bytes(run, layout) / GIGA:.3g} GB gathered" if compute.sharded else ""
    return (
        f"{total:.3g} GB = {count} x ({MIXED.weight} weight + "
        f"{MIXED.gradient} gradient + {per_param:.3g} optimizer) bytes{over}{gathered}"
    )


def activation_formula(run: RunSpec, compute: Compute) -> str:
    """Bytes of activations a token, in words."""
    block, logits = block_bytes(run), logit_bytes(run)
    over = f" / {compute.tensor_parallel}" if compute.tensor_parallel > 1 else ""
    if compute.pipeline_parallel > 1:
        return f"what the fullest of {compute.pipeline_parallel} stages keeps of it{over}"
    if compute.recompute:
        inputs = kept_bytes(run, Layout(recompute="full"))
        return (
            f"({run.shape.n_layers} x {inputs:g} block inputs + 2 x {block} + {logits} logits) "
            f"bytes{over}"
        )
    return f"({run.shape.n_layers} x {block} a block + {logits} logits) bytes{over}"


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


def batch_warnings(run: RunSpec, count: int, layout: Layout) -> list[str]:
    """Devices that the batch leaves idle, and the batch that would use them."""
    used = layout.devices
    if used == count:
        return []
    split = layout.tensor * layout.pipeline
    batch, tokens, lanes = run.batch_sequences, run.seq_len, count // split
    near = [size for size in (batch // lanes * lanes, -(-batch // lanes) * lanes) if size]
    right = " or ".join(
        f"--batch {size * tokens} ({size} sequences)" for size in dict.fromkeys(near)
    )
    over = f"{count}" if split == 1 else f"{lanes} groups of {split}"
    if lanes * split < count and batch % lanes == 0:
        return [f"{count - used} of {count} GPUs idle: they make {over}; use {used} GPUs"]
    return [
        f"{count - used} of {count} GPUs idle: a batch of {batch} sequences does not "
        f"divide over {over}, and the time is that of {used}; use {right}, or {used} GPUs"
    ]


def split_warnings(run: RunSpec, layout: Layout) -> list[str]:
    """A model over several devices, which exports do not say, and a pipeline idle for long."""
    split = layout.tensor * layout.pipeline
    if split == 1:
        return []
    found = [
        f"each model lies over {split} GPUs (tensor {layout.tensor} x pipeline {layout.pipeline}); "
        "configs written by --export are data parallel only, so set those degrees in them"
    ]
    micro_batches = layout.accumulation(run.batch_sequences)
    bubble = (layout.pipeline - 1) / micro_batches
    if bubble > WORTH_SAYING:
        found.append(
            f"the pipeline of {layout.pipeline} stages is idle for about {bubble:.0%} of the time "
            f"that a step computes: it has {micro_batches} micro-batches; a larger --batch "
            "or fewer GPUs shorten that, and the hours do not count it"
        )
    return found


def memory_warnings(run: RunSpec, layout: Layout, usable: float | None, room: int) -> list[str]:
    """A run that does not fit, or whose batch forces a small micro-batch."""
    if usable is None:
        return []
    if room < 1:
        return [f"does not fit in memory: {misfit(run, usable)}"]
    share = run.batch_sequences // layout.data
    best = largest_divisor(share, room)
    if layout.pipeline > 1 or best == share or 2 * best >= room:
        return []
    right = -(-share // room) * room * layout.data
    return [
        f"micro-batch {best} where {room} would fit: the {share} sequences of a GPU have no larger "
        f"divisor that fits; use --batch {right * run.seq_len} ({right} sequences)"
    ]


def misfit(run: RunSpec, usable: float) -> str:
    """How much one sequence needs, and the number of devices that would do."""
    for count in divisors(run.batch_sequences):
        memory = memory_bytes(run, Layout(data=count, recompute="full"))
        if memory.total <= usable:
            return (
                f"one sequence of {run.seq_len} and the sharded state exceed the "
                f"{usable / GIGA:.0f} GB usable, even recomputed, and the hours are as if they did "
                f"not; {count} such GPUs would do ({memory.total / GIGA:.0f} GB each)"
            )
    return (
        f"on the most GPUs that the batch allows, {run.batch_sequences} with one sequence of "
        f"{run.seq_len} each, a GPU needs {memory.total / GIGA:.0f} GB "
        f"({memory.activations / GIGA:.0f} GB of it activations) and has {usable / GIGA:.0f}, and "
        "the hours are as if it fitted; use a shorter --seq-len, GPUs with more memory, or context "
        "parallelism, which is not planned here"
    )
