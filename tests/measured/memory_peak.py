"""Memory of runs that were measured, beside what is foretold."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from typing import Any

from planner.compute.memory import memory_bytes
from proxies.run.layout import FP32, FSDP2, Layout
from proxies.run.shape import Shape
from tests.fixtures.plans import sized_run
from tests.measured.fit_utilisation import DATA

SHAPES = (
    # width, layers, heads, kv heads, d_ff, vocabulary, sequence, sequences
    (128, 4, 4, 4, 352, 256, 256, 16),
    (128, 8, 2, 2, 352, 1024, 512, 4),
    (192, 6, 3, 1, 512, 4096, 256, 8),
    (256, 4, 4, 4, 704, 8192, 128, 16),
    (256, 8, 4, 2, 704, 512, 256, 8),
    (320, 6, 5, 5, 864, 16384, 128, 8),
    (384, 4, 6, 2, 1024, 32000, 64, 16),
    (384, 8, 6, 6, 1024, 1024, 256, 4),
    (512, 4, 8, 8, 1376, 2048, 512, 2),
    (512, 6, 8, 4, 1376, 256, 128, 4),
    (640, 4, 10, 10, 1728, 8192, 64, 2),
    (768, 3, 12, 12, 2048, 50304, 64, 4),
)
"""From ones whose activations dominate to ones whose weights do."""

PUBLISHED_SHAPES = {
    "Llama 3.1 8B": (32, 8, 14336),
    "Llama 3.1 70B": (64, 8, 28672),
    "Llama 3.1 405B": (128, 8, 53248),
}
"""Heads, kv heads, d_ff of torchtitan's rows."""


def measure_peak(shape: Shape, *, seq_len: int, sequences: int) -> int:
    """Most bytes of tensors alive at once in two updates, from before the model is made."""
    from torch.profiler import ProfilerActivity, profile

    from proxies.run.batching import Batching
    from proxies.run.parametrization import make_parametrization
    from proxies.run.schedule import make_schedule
    from proxies.train.state import start_state, train_step
    from tests.fixtures.tiny_run import tiny_corpus, tiny_spec

    spec = replace(
        tiny_spec(),
        shape=shape,
        seq_len=seq_len,
        parametrization=make_parametrization(
            "sp", d_model=shape.d_model, n_layers=shape.n_layers, head_dim=shape.head_dim
        ),
        batching=Batching(sequences=sequences),
        schedule=make_schedule("wsd", steps=2),
        tokens=2 * sequences * seq_len,
        lr=1e-4,
    )
    corpus = tiny_corpus(tokens=8 * sequences * seq_len)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        state = start_state(spec, corpus, device="cpu")
        train_step(state, spec, corpus)
        train_step(state, spec, corpus)
    results: Any = profiler.profiler
    changes = [
        (event.start_ns(), event.nbytes())
        for event in results.kineto_results.events()
        if event.name() == "[memory]"
    ]
    alive = peak = 0
    for _, change in sorted(changes, key=lambda one: one[0]):
        alive += change
        peak = max(peak, alive)
    return peak


def foretell(shape: Shape, *, seq_len: int, sequences: int) -> float:
    """The peak by `planner.compute.memory`: one device, one micro-batch a step."""
    run = sized_run(shape, tokens=1e6, batch_sequences=sequences, seq_len=seq_len)
    layout = Layout(sharded=False, micro_batch_sequences=sequences, precision=FP32)
    return memory_bytes(run, layout).single_batch_peak


def make_shape(row: tuple[int, ...]) -> Shape:
    """The shape of a row of `SHAPES`."""
    width, layers, heads, kv_heads, d_ff, vocab, _, _ = row
    return Shape(
        d_model=width,
        n_layers=layers,
        n_heads=heads,
        n_kv_heads=kv_heads,
        head_dim=width // heads,
        d_ff=d_ff,
        vocab_size=vocab,
    )


def titan_gib(raw: dict[str, Any]) -> float:
    """The peak of a row of torchtitan's, GiB."""
    heads, kv_heads, d_ff = PUBLISHED_SHAPES[raw["name"]]
    tensor, pipeline, context = (raw.get(key, 1) for key in ("tensor", "pipeline", "context"))
    shape = Shape(
        d_model=raw["d"],
        n_layers=raw["layers"],
        n_heads=heads,
        n_kv_heads=kv_heads,
        head_dim=128,
        d_ff=d_ff,
        vocab_size=raw["vocab"],
    )
    layout = Layout(
        data=raw["devices"] // (tensor * pipeline * context),
        tensor=tensor,
        pipeline=pipeline,
        context=context,
        recompute=raw["recompute"],
        # With a pipeline, torchtitan divides the local batch into as many micro-batches as stages.
        micro_batch_sequences=raw["micro"] // pipeline,
        precision=FSDP2,
    )
    batch = layout.data * raw["micro"]
    run = sized_run(shape, tokens=1e9, batch_sequences=batch, seq_len=raw["seq"])
    return memory_bytes(run, layout).total / 2**30


def titan_rows() -> list[dict[str, Any]]:
    """torchtitan's rows with their peaks."""
    tables = tomllib.loads((DATA / "throughput.toml").read_text("utf-8"))["table"]
    return [r for table in tables if table["project"] == "torchtitan" for r in table["rows"]]
