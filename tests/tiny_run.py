"""A corpus in memory and a run on it that takes a second."""

from __future__ import annotations

import hashlib
from dataclasses import fields, replace
from typing import Any

import numpy as np

from proxies.corpus import Corpus
from proxies.run.batching import Batching
from proxies.run.options import TrainOptions
from proxies.run.parametrization import OPTIMIZERS, make_parametrization
from proxies.run.schedule import make_schedule
from proxies.run.shape import Shape
from proxies.run.spec import RunSpec

VOCAB_SIZE = 32
SEQ_LEN = 16
TINY = Shape(
    d_model=16,
    n_layers=2,
    n_heads=2,
    n_kv_heads=1,
    head_dim=8,
    d_ff=32,
    vocab_size=VOCAB_SIZE,
)


def tiny_corpus(*, tokens: int = 40_000, seed: int = 0) -> Corpus:
    """Tokens that each depend on the one before, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    steps = rng.geometric(0.3, size=tokens)
    text = (np.cumsum(steps) % VOCAB_SIZE).astype(np.uint8)
    return Corpus(
        name="tiny",
        description="a walk with geometric steps",
        tokenizer="none",
        vocab_size=VOCAB_SIZE,
        train=text[: -tokens // 4],
        held_out=text[-tokens // 4 :],
        bytes_per_token=1.0,
        fingerprint=hashlib.sha256(text.tobytes()).hexdigest(),
    )


def tiny_spec(*, steps: int = 20, sequences: int = 8, lr: float = 1e-2, seed: int = 0) -> RunSpec:
    """A WSD run of `steps` updates of the tiny model."""
    return RunSpec(
        shape=TINY,
        seq_len=SEQ_LEN,
        parametrization=make_parametrization(
            "mup",
            d_model=TINY.d_model,
            n_layers=TINY.n_layers,
            head_dim=TINY.head_dim,
            base_d_model=TINY.d_model,
        ),
        optimizer=OPTIMIZERS["adamw"],
        lr=lr,
        weight_decay=0.1,
        schedule=make_schedule("wsd", steps=steps),
        batching=Batching(sequences=sequences),
        tokens=steps * sequences * SEQ_LEN,
        options=TrainOptions(seed=seed),
    )


def varied(spec: RunSpec, **changes: Any) -> RunSpec:
    """The run with other fields: of its own, of its options, and the clip of its optimizer."""
    names = {field.name for field in fields(spec.options)}
    options = replace(spec.options, **{k: v for k, v in changes.items() if k in names})
    own = {k: v for k, v in changes.items() if k not in {*names, "grad_clip"}}
    spec = replace(spec, options=options, **own)
    if "grad_clip" not in changes:
        return spec
    return replace(spec, optimizer=replace(spec.optimizer, grad_clip=changes["grad_clip"]))
