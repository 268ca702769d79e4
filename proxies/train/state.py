"""A run in progress, and one update of it.

`train_step` makes one update of a `TrainState`; what `capture_state` takes, `restore_state` goes on
from, bit for bit: weights, optimizer, data position, batch and noise are all of a run's state, and
no random number is drawn after the weights are.
"""

from __future__ import annotations

import copy
import math
from dataclasses import astuple, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from fitting.errors import InputError
from proxies.corpus import Corpus, read_held_out, read_sequences, require_tokens
from proxies.model.gradients import (
    LossFunction,
    adam_scales,
    measure_gradients,
    split_batch,
    sum_gradients,
)
from proxies.model.optimizers import make_optimizers, set_lr
from proxies.model.transformer import ProxyModel, make_model
from proxies.run.batching import BatchState, lr_factor, next_sequences, observe
from proxies.run.gradient_noise import NoiseEstimate
from proxies.run.result import CurvePoint
from proxies.run.schedule import lr_fraction
from proxies.run.spec import RunSpec, check_spec
from proxies.train.evaluate import autocast

DIVERGED_RATIO = 2.0
"""Training loss over the first update's at which a run is given up. *Assumed*: a spike that comes
back stays below; to be tested by the runs that it ends."""

UNREAD_UPDATES = {"cpu": 1, "cuda": 16}
"""Updates whose losses may wait on a device before they are read: reading one makes the CPU wait
for the accelerator, so divergence is seen there up to 16 updates late and dated right."""


@dataclass(slots=True)
class TrainState:
    """A run in progress: all that an update reads and changes."""

    model: nn.Module
    optimizers: list[torch.optim.Optimizer]
    loss_function: LossFunction
    """`model.loss` in the spec's type, compiled where it says so."""
    device: str
    batch: BatchState
    step: int = 0
    """Updates made."""
    sequences: int = 0
    """Sequences trained on; the data order goes on from here."""
    curve: list[CurvePoint] = field(default_factory=list)
    """Updates whose losses were read."""
    unread: list[tuple[CurvePoint, Tensor]] = field(default_factory=list)
    """Updates since, with loss and gradient norm on the device."""
    diverged: bool = False
    seconds: float = 0.0
    """Wall time of the updates."""


def start_state(spec: RunSpec, corpus: Corpus, *, device: str) -> TrainState:
    """A run before its first update.

    Raises:
        InputError: the spec cannot be run on this corpus.
    """
    check_spec(spec)
    check_device(device)
    check_corpus(spec, corpus)
    groups = spec.groups
    model = make_model(
        spec.shape, spec.parametrization, groups, seq_len=spec.seq_len, seed=spec.options.seed
    ).to(device)
    return TrainState(
        model=model,
        optimizers=make_optimizers(model, groups),
        loss_function=make_loss_function(model, spec, device=device),
        device=device,
        batch=BatchState(spec.batching.sequences),
    )


def make_loss_function(model: ProxyModel, spec: RunSpec, *, device: str) -> LossFunction:
    """Mean loss of a micro-batch, with matrix products in the spec's type."""
    mean_loss: LossFunction = torch.compile(model.loss) if spec.options.compile else model.loss

    def typed_loss(tokens_BT: Tensor, targets_BT: Tensor, *, z_loss: float) -> Tensor:
        with autocast(device, spec.options.dtype):
            return mean_loss(tokens_BT, targets_BT, z_loss=z_loss)

    return typed_loss


def check_device(device: str) -> None:
    """Refuse a device that this machine does not have.

    Raises:
        InputError: its name.
    """
    kind, colon, number = device.partition(":")
    if kind not in UNREAD_UPDATES or (colon and not number.isdecimal()):
        raise InputError(f"device '{device}': not known; one of cpu, cuda or cuda:N")
    count = 1 if kind == "cpu" else torch.cuda.device_count()
    if not count:
        raise InputError(f"device '{device}': torch {torch.__version__} finds none; use cpu")
    if int(number or 0) >= count:
        raise InputError(
            f"device '{device}': there is none of that number; {kind}:N is below {count}"
        )


def check_corpus(spec: RunSpec, corpus: Corpus) -> None:
    """Refuse a corpus that has too little text, or tokens that the model does not know.

    Raises:
        InputError: the two numbers.
    """
    require_tokens(
        corpus, tokens=spec.total_tokens, seq_len=spec.seq_len, epochs=spec.options.epochs
    )
    if len(read_held_out(corpus, seq_len=spec.seq_len, count=2)) < 2:
        raise InputError(
            f"corpus {corpus.name}: one held-out sequence of {spec.seq_len} tokens; at least 2 are "
            "needed for a standard error, so take shorter ones or more text"
        )
    if corpus.vocab_size > spec.shape.vocab_size:
        raise InputError(
            f"corpus {corpus.name}: {corpus.vocab_size} different tokens, the model knows "
            f"{spec.shape.vocab_size}; give the shape a vocab_size of {corpus.vocab_size}"
        )


def train_step(state: TrainState, spec: RunSpec, corpus: Corpus) -> None:
    """Make update k = `state.step` + 1 with lr(k), and note what it was.

    Raises:
        InputError: the corpus is exhausted.
    """
    count, fraction = plan_update(state, spec)
    batch = read_batch(state, spec, corpus, count=count)
    set_lr(state.optimizers, fraction)
    for optimizer in state.optimizers:
        optimizer.zero_grad(set_to_none=True)
    loss = take_gradient(state, spec, batch, measure=measures_noise(spec, state.step + 1))
    parameters = list(state.model.parameters())
    limit = math.inf if spec.optimizer.grad_clip is None else spec.optimizer.grad_clip
    grad_norm = nn.utils.clip_grad_norm_(parameters, limit)
    for optimizer in state.optimizers:
        optimizer.step()
    measured = torch.stack([loss, grad_norm.to(loss.dtype)])
    note_update(state, spec, count=count, fraction=fraction, measured=measured)


def plan_update(state: TrainState, spec: RunSpec) -> tuple[int, float]:
    """Sequences of the next update, and its lr over the peak."""
    seen = state.sequences * spec.seq_len
    wanted = next_sequences(spec.batching, state.batch, tokens_seen=seen)
    count = min(wanted, spec.total_sequences - state.sequences)
    tokens = seen + count * spec.seq_len
    fraction = lr_at(spec, step=state.step + 1, tokens=tokens) * lr_factor(spec.batching, count)
    return count, fraction


def note_update(
    state: TrainState, spec: RunSpec, *, count: int, fraction: float, measured: Tensor
) -> None:
    """Count an update that was made.

    Args:
        state: of the run.
        spec: of the run.
        count: sequences of the update.
        fraction: its lr over the peak.
        measured: loss and gradient norm, on the device.
    """
    # A preconditioned gradient has another noise scale, which no other run's compares with.
    scale = None if spec.batching.preconditioned else state.batch.noise.noise_scale
    state.step += 1
    state.sequences += count
    point = CurvePoint(
        step=state.step,
        tokens=state.sequences * spec.seq_len,
        lr=spec.lr * fraction,
        batch_tokens=count * spec.seq_len,
        loss=math.nan,
        grad_norm=math.nan,
        noise_scale_tokens=None if scale is None else scale * spec.seq_len,
    )
    state.unread.append((point, measured))


def read_batch(state: TrainState, spec: RunSpec, corpus: Corpus, *, count: int) -> Tensor:
    """The next `count` sequences of the run's data order, on its device, shape (B, T + 1)."""
    sequences = read_sequences(
        corpus,
        seq_len=spec.seq_len,
        order_seed=spec.options.data_seed,
        start=state.sequences,
        count=count,
        epochs=spec.options.epochs,
    )
    return send(torch.from_numpy(sequences), state.device)


def send(values: Tensor, device: str) -> Tensor:
    """Values of the CPU's memory on a device, in the order of its queue."""
    if device == "cpu":
        return values
    # From ordinary memory the copy would wait for the updates that are still in the queue.
    return values.pin_memory().to(device, non_blocking=True)


def lr_at(spec: RunSpec, *, step: int, tokens: int) -> float:
    """lr / peak of an update: by its number, or with an adaptive batch by the tokens with it."""
    if not spec.batching.adaptive:
        return lr_fraction(spec.schedule, step)
    return lr_fraction(spec.schedule, spec.schedule.steps * (tokens / spec.total_tokens))


def measures_noise(spec: RunSpec, step: int) -> bool:
    """Whether an update measures the gradient's noise."""
    interval = spec.options.noise_interval or (1 if spec.batching.adaptive else None)
    return interval is not None and step % interval == 0


def take_gradient(state: TrainState, spec: RunSpec, sequences: Tensor, *, measure: bool) -> Tensor:
    """The batch's mean loss; its gradient is in the parameters, its noise in the state."""
    batch = split_batch(sequences, micro_sequences=spec.micro_sequences)
    parameters = list(state.model.parameters())
    preconditioned = spec.batching.preconditioned
    scales = adam_scales(state.optimizers, parameters) if measure and preconditioned else None
    # Adam has no second moment before its first update, and one micro-batch shows no noise.
    measure = measure and len(batch) > 1 and not (preconditioned and scales is None)
    if not measure:
        return sum_gradients(state.loss_function, batch, z_loss=spec.z_loss)
    loss, norms = measure_gradients(
        state.loss_function, batch, z_loss=spec.z_loss, parameters=parameters, scales=scales
    )
    if math.isfinite(norms.small_norm_sq) and math.isfinite(norms.big_norm_sq):
        state.batch = observe(spec.batching, state.batch, norms)
    return loss


def read_losses(state: TrainState) -> list[CurvePoint]:
    """Bring losses and norms from the device to the curve; the new points, up to a divergence."""
    if not state.unread:
        return []
    values = torch.stack([pair for _, pair in state.unread]).tolist()
    added = []
    for (point, _), (loss, grad_norm) in zip(state.unread, values, strict=True):
        added.append(replace(point, loss=loss, grad_norm=grad_norm))
        first = state.curve[0].loss if state.curve else added[0].loss
        if not (math.isfinite(grad_norm) and loss <= DIVERGED_RATIO * abs(first)):
            state.diverged = True
            break
    state.curve += added
    state.unread.clear()
    return added


def capture_state(state: TrainState) -> dict[str, Any]:
    """What a run goes on from: tensors, shared with the run, and plain values."""
    read_losses(state)
    return {
        "model": state.model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in state.optimizers],
        "step": state.step,
        "sequences": state.sequences,
        "batch_sequences": state.batch.sequences,
        "noise": astuple(state.batch.noise),
        "curve": [astuple(point) for point in state.curve],
        "diverged": state.diverged,
        "seconds": state.seconds,
    }


def restore_state(state: TrainState, captured: dict[str, Any]) -> None:
    """Set a run to what `capture_state` took; the tensors are copied."""
    state.model.load_state_dict(captured["model"])
    for optimizer, values in zip(state.optimizers, captured["optimizers"], strict=True):
        # torch keeps the given tensors themselves, and updates them in place.
        optimizer.load_state_dict(copy.deepcopy(values))
    state.step, state.sequences = captured["step"], captured["sequences"]
    state.batch = BatchState(captured["batch_sequences"], NoiseEstimate(*captured["noise"]))
    state.curve = [CurvePoint(*values) for values in captured["curve"]]
    state.unread.clear()
    state.diverged, state.seconds = captured["diverged"], captured["seconds"]
