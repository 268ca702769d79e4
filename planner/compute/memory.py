"""Memory of a training run on each device, by part.

    weights, gradients, optimizer: 18 total_params bytes (AdamW, bf16 with an fp32 master), divided
    activations: tokens of a device x (blocks + logits), kept or recomputed block by block

How they are divided over the devices is `proxies.run.layout.Layout`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxies.run.layout import MIXED, Layout, Precision
from proxies.run.shape import MLPS

if TYPE_CHECKING:
    from proxies.run.spec import RunSpec

MOMENTS = {"adamw": 2, "lion": 1, "muon": 1}
"""fp32 moments a parameter; Muon's are of its hidden matrices, AdamW has the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBytes:
    """Bytes on each device, by part."""

    weights: float
    gradients: float
    optimizer: float
    """Master weights and moments."""
    activations: float
    """Of the micro-batches in flight, logits included."""

    @property
    def total(self) -> float:
        """Sum of the parts."""
        return self.weights + self.gradients + self.optimizer + self.activations

    @property
    def single_batch_peak(self) -> float:
        """Peak of a step of one micro-batch, where gradients grow as activations are freed."""
        return self.weights + self.optimizer + max(self.gradients, self.activations)


def memory_bytes(run: RunSpec, layout: Layout) -> MemoryBytes:
    """Bytes on each device.

    Of AdamW in bf16: weights 2 N, gradients 4 N, optimizer 12 N (fp32 master and two fp32
    moments), N all parameters over tensor x pipeline. Sharded, each is divided by data x context,
    and the bf16 weights of two blocks (the one computed and the one fetched ahead) are added to
    the weights, at most 2 N; with a pipeline only the optimizer is divided.

    Source:
        Rajbhandari et al. 2020 (arXiv 1910.02054), section 3.1, with gradients in fp32.
    """
    kind = layout.precision
    own = run.counts.total_params / (layout.tensor * layout.pipeline)
    over = layout.data * layout.context if layout.sharded else 1
    staged = layout.sharded and layout.pipeline > 1
    weights = kind.weight * own / over
    if staged:
        weights += kind.activation * own if kind.master == 0 else weights * (over - 1)
    else:
        # One device has nothing to gather.
        weights += min(kind.activation * own * (1 - 1 / over), gathered_bytes(run, layout))
    return MemoryBytes(
        weights=weights,
        gradients=kind.gradient * own / (1 if staged else over),
        optimizer=optimizer_bytes(run, kind) / (layout.tensor * layout.pipeline * over),
        activations=layout.micro_batch_sequences * sequence_bytes(run, layout),
    )


def gathered_bytes(run: RunSpec, layout: Layout) -> float:
    """Weights of two blocks, which a sharded model holds whole while it computes."""
    block = run.counts.params / run.shape.n_layers / layout.tensor
    return 2 * layout.precision.activation * block


def optimizer_bytes(run: RunSpec, precision: Precision = MIXED) -> float:
    """Master weights and moments of the whole model; AdamW in bf16: 12 bytes a parameter."""
    counts, name = run.counts, run.optimizer.name
    rest = counts.total_params - counts.params
    # Muon updates hidden matrices only; embeddings and head stay with AdamW.
    rest_moments = MOMENTS["adamw" if name == "muon" else name]
    moments = MOMENTS[name] * counts.params + rest_moments * rest
    return precision.master * counts.total_params + 4 * moments


def sequence_bytes(run: RunSpec, layout: Layout) -> float:
    """Activations of one sequence on the device that holds most.

    Without a pipeline: all layers and the logits. With one: the first stage, with one micro-batch
    in flight for each stage (1F1B), or the last, with one and the logits. Where blocks are
    recomputed, one block's activations and their gradients are added; with tensor parallelism, two
    gathered inputs of matrices.
    """
    kind = layout.precision
    tokens = run.seq_len / layout.context
    extra = 0.0
    if layout.recompute != "none":
        extra += 2 * block_bytes(run, kind) / layout.tensor
    if layout.tensor > 1:
        extra += 2 * kind.activation * run.shape.d_model
    kept = run.shape.n_layers / layout.pipeline * kept_bytes(run, layout) / layout.tensor
    logits = logit_bytes(run, kind) / layout.tensor
    in_flight = min(layout.pipeline, layout.accumulation(run.batch_sequences))
    first = in_flight * kept + extra + (logits if layout.pipeline == 1 else 0.0)
    last = kept + extra + logits
    return tokens * max(first, last)


def kept_bytes(run: RunSpec, layout: Layout) -> float:
    """What one block keeps for the backward pass, bytes a token, before it is divided.

    Selective: its input and the outputs of every second matrix product (q, v, gate or up, down)
    and of the attention.
    """
    width, shape = layout.precision.activation, run.shape
    if layout.recompute == "full":
        return width * shape.d_model
    if layout.recompute == "selective":
        heads = (2 * shape.n_heads + shape.n_kv_heads) * shape.head_dim
        return width * (2 * shape.d_model + heads + shape.d_ff)
    return block_bytes(run, layout.precision)


def block_bytes(run: RunSpec, precision: Precision = MIXED) -> int:
    """Activations of one block that the backward pass needs, bytes a token.

    In bf16: inputs of two norms 4 d, of the q, k, v and up matrices 4 d; q and the attention's
    output 4 heads head_dim; k and v 4 kv_heads head_dim; MLP 4 d_ff (before and after GELU), 8 d_ff
    if gated (gate, its SiLU, up, their product). For GELU and d_ff = 4 d that is 32 d: the paper's
    34 without its two dropout masks and with flash attention, which stores no s x s matrix.

    Source:
        Korthikanti et al. 2022 (arXiv 2205.05198), section 4.1, eq. 1.
    """
    shape = run.shape
    norms = 2 * (precision.norm_copies + 1) * shape.d_model
    attention = 2 * (shape.n_heads + shape.n_kv_heads) * shape.head_dim
    mlp = (4 if MLPS[shape.mlp] == 3 else 2) * shape.d_ff
    return precision.activation * (norms + attention + mlp)


def logit_bytes(run: RunSpec, precision: Precision = MIXED) -> int:
    """Logits and their gradients, and the final norm's and the head's input, bytes a token.

    Source:
        Korthikanti et al. 2022 (arXiv 2205.05198), section 4.3: 4 V and 4 d; the rest is ours.
    """
    width = precision.activation * (precision.norm_copies + 1)
    return precision.logit * run.shape.vocab_size + width * run.shape.d_model
