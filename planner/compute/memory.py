"""Memory of a training run on each device, by part.

    weights, gradients, optimizer: 18 total_params bytes (AdamW, bf16 with an fp32 master), divided
    activations: tokens of a device x (blocks + logits), kept or recomputed block by block

How they are divided over the devices is `Layout`.
"""

from __future__ import annotations

from dataclasses import dataclass

MOMENTS = {"adamw": 2, "lion": 1, "muon": 1}
"""fp32 moments a parameter; Muon's are of its hidden matrices, AdamW has the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """Bytes a number of each kind."""

    weight: int = 2
    """As the forward pass reads it: bf16."""
    gradient: int = 4
    """fp32, so that accumulation over micro-batches loses nothing (Megatron-LM, docs of its
    distributed optimizer: bf16 parameters with fp32 gradients take 18 bytes under Adam)."""
    master: int = 4
    """The fp32 copy that the optimizer updates; 0 where the weights are it."""
    activation: int = 2
    logit: int = 8
    """All copies of one entry of the logits: fp32 and its gradient."""
    norm_copies: int = 1
    """Tensors of the model's width that a norm keeps beside its output: 1 fused, 2 not."""


MIXED = Precision()
"""bf16 weights with an fp32 master: Megatron-LM, llm-foundry; the plan's."""

FSDP2 = Precision(weight=4, master=0, logit=12)
"""fp32 weights in shards, cast to bf16 when gathered; logits in bf16 and fp32 with both gradients
(2 + 4 + 4 + 2): torchtitan."""

FP32 = Precision(weight=4, master=0, activation=4, logit=12, norm_copies=2)
"""Everything in fp32, norms in single operations, log-softmax with two gradients (3 x 4): the
proxies on a CPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a run is divided over devices: data x tensor x pipeline x context of them."""

    data: int = 1
    tensor: int = 1
    """Devices that share each matrix and, between matrices, the tokens (sequence parallel)."""
    pipeline: int = 1
    """Stages that share the layers."""
    context: int = 1
    """Devices that share each sequence."""
    sharded: bool = True
    """Whether weights, gradients and optimizer are divided over data and context (FSDP, ZeRO-3);
    with a pipeline only the optimizer is (ZeRO-1), since each micro-batch needs the rest."""
    recompute: str = "none"
    """`none`; `full`: each block from its input; `selective`: every second matrix product and the
    attention are kept (torchtitan's default)."""
    micro_batch_sequences: int = 1
    accumulation: int = 1
    """Micro-batches of a step."""
    precision: Precision = MIXED

    @property
    def devices(self) -> int:
        """Devices in use."""
        return self.data * self.tensor * self.pipeline * self.context


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What the accelerators have to do: a model, its tokens and its batch."""

    params: int
    """Parameters without embeddings and head, >= 1."""
    total_params: int
    """All parameters, tied weights once."""
    flops_per_token: float
    """Forward and backward, attention and head counted (`shape.flops_per_token`)."""
    tokens: float
    """Tokens of the whole run."""
    batch_sequences: int
    """Sequences an optimizer step, >= 1."""
    seq_len: int
    d_model: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    d_ff: int
    vocab_size: int
    gated_mlp: bool = True
    """SwiGLU and its like (three matrices); False for GELU and ReLU (two)."""
    optimizer: str = "adamw"
    """`adamw`, `lion` or `muon`."""
    active_params: int | None = None
    """Of all parameters those that a token sees; None for all of them."""


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


def memory_bytes(workload: Workload, layout: Layout) -> MemoryBytes:
    """Bytes on each device.

    Of AdamW in bf16: weights 2 N, gradients 4 N, optimizer 12 N (fp32 master and two fp32
    moments), N all parameters over tensor x pipeline. Sharded, each is divided by data x context,
    and the bf16 weights of two blocks (the one computed and the one fetched ahead) are added to
    the weights, at most 2 N; with a pipeline only the optimizer is divided.

    Source:
        Rajbhandari et al. 2020 (arXiv 1910.02054), section 3.1, with gradients in fp32.
    """
    kind = layout.precision
    own = workload.total_params / (layout.tensor * layout.pipeline)
    over = layout.data * layout.context if layout.sharded else 1
    staged = layout.sharded and layout.pipeline > 1
    weights = kind.weight * own / over
    if staged:
        weights += kind.activation * own if kind.master == 0 else weights * (over - 1)
    else:
        # One device has nothing to gather.
        weights += min(kind.activation * own * (1 - 1 / over), gathered_bytes(workload, layout))
    return MemoryBytes(
        weights=weights,
        gradients=kind.gradient * own / (1 if staged else over),
        optimizer=optimizer_bytes(workload, kind) / (layout.tensor * layout.pipeline * over),
        activations=layout.micro_batch_sequences * sequence_bytes(workload, layout),
    )


def gathered_bytes(workload: Workload, layout: Layout) -> float:
    """Weights of two blocks, which a sharded model holds whole while it computes."""
    block = workload.params / workload.n_layers / layout.tensor
    return 2 * layout.precision.activation * block


def optimizer_bytes(workload: Workload, precision: Precision = MIXED) -> float:
    """Master weights and moments of the whole model; AdamW in bf16: 12 bytes a parameter."""
    rest = workload.total_params - workload.params
    # Muon updates hidden matrices only; embeddings and head stay with AdamW.
    rest_moments = MOMENTS["adamw" if workload.optimizer == "muon" else workload.optimizer]
    moments = MOMENTS[workload.optimizer] * workload.params + rest_moments * rest
    return precision.master * workload.total_params + 4 * moments


def sequence_bytes(workload: Workload, layout: Layout) -> float:
    """Activations of one sequence on the device that holds most.

    Without a pipeline: all layers and the logits. With one: the first stage, with one micro-batch
    in flight for each stage (1F1B), or the last, with one and the logits. Where blocks are
    recomputed, one block's activations and their gradients are added; with tensor parallelism, two
    gathered inputs of matrices.
    """
    kind = layout.precision
    tokens = workload.seq_len / layout.context
    extra = 0.0
    if layout.recompute != "none":
        extra += 2 * block_bytes(workload, kind) / layout.tensor
    if layout.tensor > 1:
        extra += 2 * kind.activation * workload.d_model
    kept = workload.n_layers / layout.pipeline * kept_bytes(workload, layout) / layout.tensor
    logits = logit_bytes(workload, kind) / layout.tensor
    in_flight = min(layout.pipeline, layout.accumulation)
    first = in_flight * kept + extra + (logits if layout.pipeline == 1 else 0.0)
    last = kept + extra + logits
    return tokens * max(first, last)


def kept_bytes(workload: Workload, layout: Layout) -> float:
    """What one block keeps for the backward pass, bytes a token, before it is divided.

    Selective: its input and the outputs of every second matrix product (q, v, gate or up, down)
    and of the attention.
    """
    width = layout.precision.activation
    if layout.recompute == "full":
        return width * workload.d_model
    if layout.recompute == "selective":
        heads = (2 * workload.n_heads + workload.n_kv_heads) * workload.head_dim
        return width * (2 * workload.d_model + heads + workload.d_ff)
    return block_bytes(workload, layout.precision)


def block_bytes(workload: Workload, precision: Precision = MIXED) -> int:
    """Activations of one block that the backward pass needs, bytes a token.

    In bf16: inputs of two norms 4 d, of the q, k, v and up matrices 4 d; q and the attention's
    output 4 heads head_dim; k and v 4 kv_heads head_dim; MLP 4 d_ff (before and after GELU), 8 d_ff
    if gated (gate, its SiLU, up, their product). For GELU and d_ff = 4 d that is 32 d: the paper's
    34 without its two dropout masks and with flash attention, which stores no s x s matrix.

    Source:
        Korthikanti et al. 2022 (arXiv 2205.05198), section 4.1, eq. 1.
    """
    norms = 2 * (precision.norm_copies + 1) * workload.d_model
    attention = 2 * (workload.n_heads + workload.n_kv_heads) * workload.head_dim
    mlp = (4 if workload.gated_mlp else 2) * workload.d_ff
    return precision.activation * (norms + attention + mlp)


def logit_bytes(workload: Workload, precision: Precision = MIXED) -> int:
    """Logits and their gradients, and the final norm's and the head's input, bytes a token.

    Source:
        Korthikanti et al. 2022 (arXiv 2205.05198), section 4.3: 4 V and 4 d; the rest is ours.
    """
    width = precision.activation * (precision.norm_copies + 1)
    return precision.logit * workload.vocab_size + width * workload.d_model
