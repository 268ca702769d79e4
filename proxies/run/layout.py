"""How a run lies on its devices, and how many bytes a number takes there.

The micro-batches of a step are no field: the batch says them.
"""

from __future__ import annotations

from dataclasses import dataclass


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
    """Sequences that one device processes at once, at least 1; 0 to count the state alone."""
    precision: Precision = MIXED

    @property
    def devices(self) -> int:
        """Devices in use."""
        return self.data * self.tensor * self.pipeline * self.context

    def accumulation(self, batch_sequences: int) -> int:
        """Micro-batches of a device that make a batch of so many sequences, at least 1."""
        return max(1, batch_sequences // (self.data * max(self.micro_batch_sequences, 1)))
