"""How a run is trained here: what its losses depend on beside what it is, and its corpus."""

from __future__ import annotations

from dataclasses import dataclass

from fitting.errors import InputError

DTYPES = ("float32", "bfloat16")
"""Types that matrix products may be computed in; weights and optimizer are float32."""

LARGEST_SEED = 2**63
"""Seeds are below it: more than that torch does not take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """Seeds, passes, measurements and precision of one training run."""

    seed: int = 0
    """Of the initial weights, and of the data order unless that has its own."""
    order_seed: int | None = None
    """Of the data order; None for `seed`."""
    epochs: int = 1
    """How often a token may be trained on, at least 1."""
    micro_batch_sequences: int | None = None
    """Sequences of one forward and backward pass; None for the whole of a fixed or ramped batch,
    half of the first of an adaptive one."""
    noise_interval: int | None = None
    """Updates between measurements of the gradient's noise; None for never, and each update of
    an adaptive batch. It needs two micro-batches or more."""
    eval_sequences: int = 256
    """Held-out sequences that the final loss is the mean of, at least 2."""
    dtype: str = "float32"
    """One of `DTYPES`."""
    compile: bool = False
    """Whether the model goes through torch.compile."""

    @property
    def data_seed(self) -> int:
        """Seed of the data order."""
        return self.seed if self.order_seed is None else self.order_seed


def check_options(options: TrainOptions) -> None:
    """Refuse options that no run can have.

    Raises:
        InputError: a value out of range.
    """
    for name, value, least in (
        ("epochs", options.epochs, 1),
        ("eval_sequences", options.eval_sequences, 2),
        ("micro_batch_sequences", options.micro_batch_sequences or 1, 1),
        ("noise_interval", options.noise_interval or 1, 1),
    ):
        if value < least:
            raise InputError(f"run: {name} {value}; at least {least}")
    for name, seed in (("seed", options.seed), ("order_seed", options.data_seed)):
        if not 0 <= seed < LARGEST_SEED:
            raise InputError(f"run: {name} {seed}; from 0 to 2^63 - 1")
    if options.dtype not in DTYPES:
        raise InputError(f"run: dtype '{options.dtype}'; one of {', '.join(DTYPES)}")
