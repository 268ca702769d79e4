"""Memory of a training run on each device, by part.

    memory = 18 total_params (AdamW; divided by the devices where sharded)
             + micro_batch_sequences seq_len (bytes of activations a token)

Activations are kept, or recomputed block by block.
"""

from __future__ import annotations

from dataclasses import dataclass

WEIGHT_BYTES = 2
"""A parameter in bf16."""

GRADIENT_BYTES = 4
"""A gradient in fp32, so that accumulation over micro-batches loses nothing (Megatron-LM, docs of
its distributed optimizer: bf16 parameters with fp32 gradients take 18 bytes under Adam)."""

MASTER_BYTES = 4
"""The fp32 copy of a parameter that the optimizer updates."""

MOMENTS = {"adamw": 2, "lion": 1, "muon": 1}
"""fp32 moments a parameter; Muon's are of its hidden matrices, AdamW has the rest."""


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
    """Of one micro-batch, logits included."""

    @property
    def total(self) -> float:
        """Sum of the parts."""
        return self.weights + self.gradients + self.optimizer + self.activations


def memory_bytes(
    workload: Workload,
    data_parallel: int,
    micro_batch_sequences: int,
    *,
    sharded: bool,
    recompute: bool,
) -> MemoryBytes:
    """Bytes on each device.

    weights 2 N, gradients 4 N, optimizer 12 N under AdamW (fp32 master and two fp32 moments),
    with N all parameters. Sharded, each is divided by data_parallel, and the bf16 weights of two
    blocks (the one computed and the one fetched ahead) are added to the weights, at most 2 N.

    Source:
        Rajbhandari et al. 2020 (arXiv 1910.02054), section 3.1, with gradients in fp32.
    """
    over = data_parallel if sharded else 1
    weights = WEIGHT_BYTES * workload.total_params
    # One device has nothing to gather.
    gathered = min(weights * (1 - 1 / over), gathered_bytes(workload))
    return MemoryBytes(
        weights=weights / over + gathered,
        gradients=GRADIENT_BYTES * workload.total_params / over,
        optimizer=optimizer_bytes(workload) / over,
        activations=micro_batch_sequences * sequence_bytes(workload, recompute=recompute),
    )


def gathered_bytes(workload: Workload) -> float:
    """bf16 weights of two blocks, which a sharded model holds whole while it computes."""
    return 2 * WEIGHT_BYTES * workload.params / workload.n_layers


def optimizer_bytes(workload: Workload) -> float:
    """Master weights and moments of the whole model; AdamW: 12 bytes a parameter."""
    rest = workload.total_params - workload.params
    # Muon updates hidden matrices only; embeddings and head stay with AdamW.
    rest_moments = MOMENTS["adamw" if workload.optimizer == "muon" else workload.optimizer]
    moments = MOMENTS[workload.optimizer] * workload.params + rest_moments * rest
    return MASTER_BYTES * (workload.total_params + moments)


def sequence_bytes(workload: Workload, *, recompute: bool) -> float:
    """Activations of one sequence: blocks and logits, or block inputs, one block and logits."""
    blocks = workload.n_layers * block_bytes(workload)
    if recompute:
        blocks = workload.n_layers * 2 * workload.d_model + block_bytes(workload)
    return float(workload.seq_len * (blocks + logit_bytes(workload)))


def block_bytes(workload: Workload) -> int:
    """Activations of one block that the backward pass needs, bytes a token, in bf16.

    Inputs of two norms 4 d, of the q, k, v and up matrices 4 d; q and the attention's output
    4 heads head_dim; k and v 4 kv_heads head_dim; MLP 4 d_ff (before and after GELU), 8 d_ff if
    gated (gate, its SiLU, up, their product). For GELU and d_ff = 4 d that is 32 d: the paper's 34
    without its two dropout masks and with flash attention, which stores no s x s matrix.

    Source:
        Korthikanti et al. 2022 (arXiv 2205.05198), section 4.1, eq. 1.
    """
    attention = 4 * (workload.n_heads + workload.n_kv_heads) * workload.head_dim
    mlp = (8 if workload.gated_mlp else 4) * workload.d_ff
    return 8 * workload.d_model + attention + mlp


def logit_bytes(workload: Workload) -> int:
    """Logits in fp32 and their gradient, and the final norm's and the head's input, bytes a token.

    Source:
        Korthikanti et al. 2022 (arXiv 2205.05198), section 4.3: 4 V and 4 d; the gradient is ours.
    """
    return 8 * workload.vocab_size + 4 * workload.d_model
