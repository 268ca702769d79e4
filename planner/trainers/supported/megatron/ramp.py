"""Megatron's `--rampup-batch-size START INCREMENT SAMPLES` and the stages that it can say.

Its `RampupBatchsizeNumMicroBatchesCalculator` has neither an lr nor a beta2 that follow the batch,
and wants every batch to be a multiple of micro-batch x data parallel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fitting.errors import InputError
from planner.trainers.values import as_int
from proxies.run.batching import GrowthStage

if TYPE_CHECKING:
    from proxies.run.spec import RunSpec


def batch_ramp(run: RunSpec) -> tuple[int, int, int] | None:
    """START, INCREMENT and SAMPLES of a growing batch; None where they cannot say it.

    Its batch is START + INCREMENT floor(samples seen / (SAMPLES / increments)), so the steps are
    equal and take as many samples each; the last is the global batch.
    """
    stages = run.growth
    first, step = stages[0].batch_sequences, stages[1].batch_sequences - stages[0].batch_sequences
    each = stages[1].from_token // run.seq_len
    for index, stage in enumerate(stages):
        seen = stage.from_token // run.seq_len
        if (seen, stage.batch_sequences) != (index * each, first + index * step):
            return None
    if step < 1 or stages[-1].batch_sequences != run.batch_sequences:
        return None
    return first, step, each * (len(stages) - 1)


def cannot_grow(run: RunSpec) -> str:
    """Why `--rampup-batch-size` cannot say these stages; empty where it can."""
    layout, ramp = run.layout, batch_ramp(run)
    if any(stage.lr_factor != 1 for stage in run.growth):
        return "its lr does not follow the batch"
    if any(stage.beta2 != run.optimizer.beta2 for stage in run.growth):
        return "its beta2 does not change"
    if ramp is None:
        return "its ramp has equal steps that end at the planned batch"
    unit = layout.micro_batch_sequences * layout.data
    if ramp[0] % unit or ramp[1] % unit:
        return f"its steps must be multiples of micro-batch x data parallel, {unit} sequences"
    return ""


def read_ramp(found: dict[str, Any], batch: int, *, beta2: float) -> tuple[GrowthStage, ...]:
    """The stages of `--rampup-batch-size`; none where it is absent.

    Raises:
        InputError: its three numbers are no ramp to the global batch.
    """
    words = found.get("--rampup-batch-size")
    if words is None:
        return ()
    numbers = [int(word) for word in str(words).split() if word.isdigit()]
    if len(numbers) != 3 or not numbers[0] or not numbers[1]:
        raise InputError(f"megatron: --rampup-batch-size {words}: give START INCREMENT SAMPLES")
    start, step, samples = numbers
    count, rest = divmod(batch - start, step)
    if rest or not 0 < count <= samples:
        raise InputError(
            f"megatron: --rampup-batch-size {words}: its increments do not end at "
            f"--global-batch-size {batch}"
        )
    seq_len = as_int(found, "--seq-length")
    return tuple(
        GrowthStage(
            # The first sample at which its floor(seen / (samples / count)) is the index.
            from_token=-(-index * samples // count) * seq_len,
            batch_sequences=start + index * step,
            lr_factor=1.0,
            beta2=beta2,
        )
        for index in range(count + 1)
    )
