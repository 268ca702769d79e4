"""Our proxy against Hugging Face's LlamaForCausalLM, side by side in one process.

    python -m tests.benchmarks.proxy_throughput [d_model ...]

Each mode trains the same shape (4 layers, batch 8 x 256 tokens, vocabulary 1,024, AdamW, clip 1);
modes take turns, and the fastest of the turns counts, so that other jobs on the machine hurt all
alike. The ratio is to HF eager in float32; the last column is the share of the matrix-product peak
that is measured in the same process for the same type.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from proxies.model.transformer import make_model
from proxies.run.groups import param_groups
from proxies.run.parametrization import OPTIMIZERS, make_parametrization
from proxies.run.shape import Shape, flops_per_token

BATCH, SEQ_LEN, VOCAB, LAYERS, HEAD_DIM = 8, 256, 1024, 4, 32
TURNS, STEPS = 6, 6
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

Step = Callable[[], None]


def main() -> None:
    """Print one table a width."""
    warnings.simplefilter("ignore")
    default = ("256", "512", "1024") if DEVICE == "cuda" else ("64", "128", "256")
    for width in map(int, sys.argv[1:] or default):
        compare(width)


def compare(d_model: int) -> None:
    """Time every mode at one width and print its row."""
    shape = Shape(
        d_model=d_model,
        n_layers=LAYERS,
        n_heads=d_model // HEAD_DIM,
        n_kv_heads=d_model // HEAD_DIM,
        head_dim=HEAD_DIM,
        d_ff=8 * d_model // 3 // 16 * 16,
        vocab_size=VOCAB,
    )
    modes: dict[str, tuple[Step, torch.dtype]] = {}
    for dtype in (torch.float32, torch.bfloat16):
        for compiled in (False, True):
            kind = f"{'compiled' if compiled else 'eager'} {str(dtype).removeprefix('torch.')}"
            for name, (model, loss) in {"HF": hugging_face(shape), "ours": ours(shape)}.items():
                chosen = torch.compile(loss) if compiled else loss
                modes[f"{name} {kind}"] = training_step(model, chosen, dtype), dtype
    best = dict.fromkeys(modes, float("inf"))
    for step, _ in modes.values():
        for _ in range(3):
            step()
    for _ in range(TURNS):
        for name, (step, _) in modes.items():
            best[name] = min(best[name], seconds(step))
    peaks = {dtype: matmul_peak(dtype) for dtype in (torch.float32, torch.bfloat16)}
    per_token = flops_per_token(shape, seq_len=SEQ_LEN)
    baseline = best["HF eager float32"]
    print(f"d_model {d_model} on {DEVICE}, {torch.get_num_threads()} threads")
    for name, (_, dtype) in modes.items():
        rate = BATCH * SEQ_LEN / best[name]
        share = rate * per_token / peaks[dtype]
        print(
            f"  {name:22} {rate:11,.0f} tokens/s {baseline / best[name]:6.2f}x {share:6.0%} of peak"
        )


def ours(shape: Shape) -> tuple[nn.Module, Callable[[Tensor, Tensor], Tensor]]:
    """The proxy and its loss."""
    rule = make_parametrization(
        "mup", d_model=shape.d_model, n_layers=LAYERS, head_dim=HEAD_DIM, base_d_model=64
    )
    groups = param_groups(
        rule, optimizer=OPTIMIZERS["adamw"], lr=1e-3, weight_decay=0.1, tied_embeddings=False
    )
    model = make_model(shape, rule, groups, seq_len=SEQ_LEN, seed=0).to(DEVICE)
    return model, model.loss


def hugging_face(shape: Shape) -> tuple[nn.Module, Callable[[Tensor, Tensor], Tensor]]:
    """transformers' LLaMA of the same shape and the same loss."""
    from transformers import LlamaConfig, LlamaForCausalLM

    model = LlamaForCausalLM(
        LlamaConfig(
            hidden_size=shape.d_model,
            intermediate_size=shape.d_ff,
            num_hidden_layers=LAYERS,
            num_attention_heads=shape.n_heads,
            head_dim=HEAD_DIM,
            vocab_size=VOCAB,
            max_position_embeddings=SEQ_LEN,
        )
    )
    # transformers decorates `to` so that its types are lost.
    nn.Module.to(model, DEVICE)

    def loss(tokens_BT: Tensor, targets_BT: Tensor) -> Tensor:
        logits_NV = model(tokens_BT).logits.flatten(0, 1).float()
        return nn.functional.cross_entropy(logits_NV, targets_BT.flatten())

    return model, loss


def training_step(
    model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype
) -> Step:
    """Forward, backward, clip and update on one fixed batch."""
    batch = torch.randint(VOCAB, (BATCH, SEQ_LEN + 1), device=DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        with torch.autocast(DEVICE, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            value = loss(batch[:, :-1], batch[:, 1:])
        torch.autograd.backward(value)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def seconds(step: Step) -> float:
    """Seconds of one step, the mean of a few."""
    synchronize()
    start = time.perf_counter()
    for _ in range(STEPS):
        step()
    synchronize()
    return (time.perf_counter() - start) / STEPS


def matmul_peak(dtype: torch.dtype, *, size: int = 2048) -> float:
    """FLOP/s of the fastest of a few large square products."""
    left, right = (torch.randn(size, size, device=DEVICE, dtype=dtype) for _ in range(2))
    times = []
    for _ in range(8):
        synchronize()
        start = time.perf_counter()
        torch.mm(left, right)
        synchronize()
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times)


def synchronize() -> None:
    """Wait for the device, where there is one."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
