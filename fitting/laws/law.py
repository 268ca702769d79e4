"""What a law is: quantities with a form, named coefficients, a range and a source.

A law file (TOML) has `[source]`, `[range]` and any of the tables in `QUANTITIES`. The same
format serves the shipped law book, `plan fit --out` and a user's `--laws`. Evaluation uses
`math` alone, so that planning never waits for an array library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    pass

QUANTITIES = (
    "lr",
    "batch_tokens",
    "critical_batch_tokens",
    "weight_decay",
    "loss",
    "surface",
    "curve",
    "growth_tokens",
    "advice",
)
"""What a law may speak of; one table each in its file."""

COUNTS = (
    "params",
    "tokens",
    "unique_tokens",
    "tokens_per_param",
    "batch_tokens",
    "flops",
    "lr",
    "steps",
)
"""What a law's range may limit, each as [low, high]."""

Evidence = Literal["verified", "quoted", "recalled", "fitted", "measured"]
"""Read in the source or in two places; one careful quotation; from memory; fitted by us to
published runs; measured by us."""

NO_EXTRA = {"extra": "forbid", "use_attribute_docstrings": True}
"""pydantic's reading of a user's file: unknown keys are refused, a schema says what each means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a law comes from."""

    __pydantic_config__: ClassVar[dict[str, Any]] = NO_EXTRA

    key: str
    """Citation key, also the BibTeX key."""
    title: str
    evidence: Evidence
    url: str = ""
    """Where to read it; empty for a law fitted here."""
    authors: str = ""
    year: int | None = None
    note: str = ""
    """What a user must know before trusting it."""
    caution: str = ""
    """What every plan by this law must say."""
    command: str = ""
    """For `fitted` and `measured`: the command that made the numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """The setting that a law was measured in; None where the source does not say."""

    __pydantic_config__: ClassVar[dict[str, Any]] = NO_EXTRA

    params: list[float] | None = None
    """Lowest and highest params, in the law's own meaning of params."""
    tokens: list[float] | None = None
    unique_tokens: list[float] | None = None
    """Fewest and most distinct tokens; None where the data did not repeat, or were not limited."""
    tokens_per_param: list[float] | None = None
    batch_tokens: list[float] | None = None
    flops: list[float] | None = None
    lr: list[float] | None = None
    """Lowest and highest peak lr of the runs behind a curve law."""
    steps: list[float] | None = None
    """Fewest and most optimizer steps of these runs."""
    optimizer: str | None = None
    parametrization: str | None = None
    schedule: str | None = None
    seq_len: int | None = None
    params_meaning: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Covariance:
    """Covariance of a quantity's coefficients, in the order of `names`."""

    __pydantic_config__: ClassVar[dict[str, Any]] = NO_EXTRA

    names: list[str]
    matrix: list[list[float]]

    def log_variance(self, gradient: Mapping[str, float]) -> float:
        """Variance of ln(value), g' C g, for the gradient of ln(value) by name."""
        g = [gradient[name] for name in self.names]
        return sum(
            a * b * c
            for a, row in zip(g, self.matrix, strict=True)
            for b, c in zip(g, row, strict=True)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """One quantity of a law: its form and its numbers."""

    __pydantic_config__: ClassVar[dict[str, Any]] = NO_EXTRA

    form: str
    """A key of `fitting.laws.forms.FORMS`."""
    coefficients: dict[str, float] = field(default_factory=dict)
    reference: dict[str, float] = field(default_factory=dict)
    """Each input is divided by its reference before the exponent is applied; 1 if absent."""
    covariance: Covariance | None = None
    scatter: float | None = None
    """Standard deviation of ln(measured / law)."""
    form_log_sd: float | None = None
    """Standard deviation of ln(value) from the form, per unit of log distance outside the range;
    None where it was not measured."""
    penalty_scatter: float | None = None
    """For a surface: standard deviation of ln loss as a share of what leaving the optimum costs,
    ln(1 + q) over its least; beside `scatter`, which holds near the optimum."""
    cliff: float | None = None
    """Lowest multiple of the law's value at which a run of its own sweep diverged."""
    maximum: float | None = None
    """Cap on the value; None for no cap."""
    rows: list[dict[str, float]] = field(default_factory=list)
    """For the form `table`: `params` and `value` of each row."""
    text: str = ""
    """For the form `text`, or a remark on any other."""
    evidence: Evidence | None = None
    """Where it differs from the source's: a table whose numbers are known less well."""
    n: int | None = None
    """Points the fit used."""
    r2: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """A law file: source, range and the quantities it speaks of."""

    name: str
    """The file's stem."""
    source: Source
    range: Range
    quantities: Mapping[str, Quantity]
    content: bytes = field(repr=False)
    """The file's bytes."""

    @property
    def sha256(self) -> str:
        """Digest of the file's bytes, for a plan's provenance."""
        # Imported here because it costs 4 ms that only a provenance needs.
        import hashlib

        return hashlib.sha256(self.content).hexdigest()
