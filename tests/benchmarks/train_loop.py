"""How much time the training loop adds to a bare one of the same model.

usage: OMP_NUM_THREADS=1 python -m tests.benchmarks.train_loop [--d-model 128] [--rounds 10]

Both train the same model on the same sequences in one process: ours by
`proxies.train.loop.advance`, which reads the corpus, sets the lr, clips, notes and checks each
loss; the bare one by ten lines of torch that index an array and read each loss. They take turns,
and processor seconds are counted, which other work on the machine does not lengthen much. Prints
tokens a second of each at the median round, and the median of the rounds' ratios; the bar is 0.95.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import nn

from proxies.corpus import Corpus, open_corpus, read_sequences
from proxies.model.optimizers import make_optimizers
from proxies.model.transformer import make_model
from proxies.run.batching import Batching
from proxies.run.parametrization import OPTIMIZERS, make_parametrization
from proxies.run.schedule import make_schedule
from proxies.run.shape import Shape
from proxies.run.spec import RunSpec
from proxies.train.loop import advance, keep_in
from proxies.train.state import start_state

UPDATES = 2
"""Of each loop in a round."""
SEQ_LEN = 256
SEQUENCES = 16


def make_spec(d_model: int, vocab_size: int, *, steps: int) -> RunSpec:
    """A muP run of 4 layers."""
    heads = d_model // 32
    shape = Shape(
        d_model=d_model,
        n_layers=4,
        n_heads=heads,
        n_kv_heads=heads,
        head_dim=32,
        d_ff=d_model * 8 // 3 // 16 * 16,
        vocab_size=vocab_size,
    )
    return RunSpec(
        shape=shape,
        seq_len=SEQ_LEN,
        parametrization=make_parametrization("mup", d_model=d_model, n_layers=4, head_dim=32),
        optimizer=OPTIMIZERS["adamw"],
        lr=1e-3,
        weight_decay=0.1,
        schedule=make_schedule("wsd", steps=steps),
        batching=Batching(sequences=SEQUENCES),
        tokens=steps * SEQUENCES * SEQ_LEN,
    )


def make_bare(spec: RunSpec, corpus: Corpus) -> Callable[[], None]:
    """What makes updates by hand."""
    groups = spec.groups
    model = make_model(spec.shape, spec.parametrization, groups, seq_len=SEQ_LEN, seed=0)
    optimizers = make_optimizers(model, groups)
    sequences = read_sequences(
        corpus, seq_len=SEQ_LEN, order_seed=0, start=0, count=UPDATES * SEQUENCES
    )
    tokens = torch.from_numpy(sequences)

    def train() -> None:
        for k in range(UPDATES):
            batch = tokens[k * SEQUENCES : (k + 1) * SEQUENCES]
            loss = model.loss(batch[:, :-1], batch[:, 1:])
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in optimizers:
                optimizer.step()
            assert loss.item() > 0

    return train


def make_ours(spec: RunSpec, corpus: Corpus) -> Callable[[], None]:
    """What makes the next updates of a run."""
    state = start_state(spec, corpus, device="cpu")
    keeping = keep_in(None, {})

    def train() -> None:
        advance(state, spec, corpus, keeping=keeping, until_step=state.step + UPDATES)

    return train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--d-model", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=10)
    args = parser.parse_args()
    corpus = open_corpus("python")
    spec = make_spec(args.d_model, corpus.vocab_size, steps=UPDATES * (args.rounds + 1))
    loops = {"bare": make_bare(spec, corpus), "ours": make_ours(spec, corpus)}
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(args.rounds + 1):
        for name, train in loops.items():
            start = time.process_time()
            train()
            seconds[name].append(time.process_time() - start)
    # The first round makes the optimizers' state.
    bare, ours = seconds["bare"][1:], seconds["ours"][1:]
    tokens = UPDATES * SEQUENCES * SEQ_LEN
    print(
        f"d_model {args.d_model}, 4 layers, {SEQUENCES} x {SEQ_LEN} tokens, "
        f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}"
    )
    print(
        f"bare {tokens / median(bare):,.0f} tokens/s, ours {tokens / median(ours):,.0f} tokens/s, "
        f"ratio {median(b / o for b, o in zip(bare, ours, strict=True)):.3f}"
    )


if __name__ == "__main__":
    main()
