"""What a law is: quantities with a form, named coefficients, a range and a source.

A law file (TOML) has `[source]`, `[range]` and any of the tables in `QUANTITIES`. The same
format serves the shipped law book, `plan fit --out` and a user's `--laws`. Evaluation uses
`math` alone, so that planning never waits for an array library.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from fitting.errors import InputError, nearest_name
from fitting.laws.file import quantity_problem
from fitting.laws.forms import FORMS

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import TypeAdapter

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


Point = Mapping[str, float]
"""Inputs of a law by name, all above 0; `fitting.laws.forms.INPUTS` lists them."""


def evaluate_law(quantity: Quantity, point: Point) -> float | None:
    """The value of one quantity at `point`, or None where the law is silent.

    A law is silent when its form gives no absolute value (`text`, `exponents`), when it needs an
    input that `point` lacks, or outside the rows of a table.

    Args:
        quantity: a table of a law file.
        point: inputs by name, each above 0.

    Returns:
        Infinity where its numbers overflow, else the quantity in its own unit (lr and weight decay
        per step, batch in tokens, loss in nats
        per token).
    """
    form = FORMS[quantity.form]
    if not form.needs(quantity.coefficients) <= point.keys():
        return None
    try:
        value = form.evaluate(quantity, point)
    except (OverflowError, ZeroDivisionError):
        return math.inf
    if value is None or quantity.maximum is None:
        return value
    return min(value, quantity.maximum)


def law_log_sd(quantity: Quantity, point: Point) -> float | None:
    """Standard deviation of ln(value) from the coefficients' covariance; None where unknown."""
    form = FORMS[quantity.form]
    if quantity.covariance is None or form.log_gradient is None:
        return None
    # Rounding to the printed digits can leave a variance a hair below 0.
    variance = quantity.covariance.log_variance(form.log_gradient(quantity, point))
    return math.sqrt(max(variance, 0.0))


def distance_squared(limits: Range, at: Mapping[str, float]) -> float:
    """Squared log distance from a point to the range a law was measured in; 0 inside.

    The sum over params, tokens and tokens per param of the squared log of the factor by which
    the point lies outside; limits that the source does not state count as met.
    """
    return sum(distance * distance for distance in log_distances(limits, at).values())


def log_distances(limits: Range, at: Mapping[str, float]) -> dict[str, float]:
    """For each stated limit that the point breaks, the log of the factor by which it does."""
    point = {
        "params": at["params"],
        "tokens": at["tokens"],
        "tokens_per_param": at["tokens"] / at["params"],
    }
    found: dict[str, float] = {}
    for name, value in point.items():
        stated = getattr(limits, name)
        if stated is None:
            continue
        low, high = stated
        distance = max(math.log(low / value), math.log(value / high), 0.0)
        if distance > 0:
            found[name] = distance
    return found


def read_law(path: Path, *, trusted: bool = False) -> Law:
    """Read a law file.

    Args:
        path: the TOML file; its stem is the law's name.
        trusted: skip the schema check, for files that the tests have checked.

    Raises:
        InputError: the file is missing, is not TOML, or breaks the schema; one line.
    """
    try:
        content = path.read_bytes()
        raw = tomllib.loads(content.decode("utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except RecursionError as error:
        raise InputError(f"{path}: nested too deeply to be a law file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file in UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not valid TOML: {error}") from error
    law = build_law(raw, name=path.stem, content=content, trusted=trusted)
    if not trusted:
        check_law(law, where=str(path))
    return law


def build_law(raw: Mapping[str, Any], *, name: str, content: bytes, trusted: bool) -> Law:
    """A law from a parsed file; keys are checked only in so far as the dataclasses do.

    Raises:
        InputError: an untrusted file has an unknown table or key, or a value of the wrong type.
    """
    for key in () if trusted else raw:
        if key not in (*QUANTITIES, "source", "range"):
            known = nearest_name(key, (*QUANTITIES, "source", "range"))
            raise InputError(f"law {name}: unknown table [{key}]{known}")
    if not trusted and "source" not in raw:
        raise InputError(f"law {name}: has no [source] table (plan laws show step-law prints one)")
    read = from_trusted if trusted else from_untrusted
    return Law(
        name=name,
        source=read(Source, raw["source"], f"law {name} [source]"),
        range=read(Range, raw.get("range", {}), f"law {name} [range]"),
        quantities={
            key: read(Quantity, raw[key], f"law {name} [{key}]") for key in QUANTITIES if key in raw
        },
        content=content,
    )


def check_law(law: Law, *, where: str) -> None:
    """Refuse a law whose numbers do not fit its forms.

    Raises:
        InputError: the table and key, what is wrong, what would be right.
    """
    for name in COUNTS:
        limits = getattr(law.range, name)
        if limits is not None and not (len(limits) == 2 and 0 < limits[0] <= limits[1] < math.inf):
            raise InputError(f"{where} [range] {name}: {limits} is not [low, high] above 0")
    if not law.quantities:
        raise InputError(f"{where}: has none of the tables {', '.join(QUANTITIES)}")
    for name, quantity in law.quantities.items():
        problem = quantity_problem(quantity)
        if problem is not None:
            raise InputError(f"{where} [{name}] {problem}")


def law_to_toml(law: Law) -> str:
    """The law as the text of a law file; `read_law` of it gives the same law."""
    import tomli_w

    raw: dict[str, Any] = {"source": given(law.source), "range": given(law.range)}
    raw |= {name: given(quantity) for name, quantity in law.quantities.items()}
    return tomli_w.dumps(raw)


def given(part: Source | Range | Quantity | Covariance) -> dict[str, Any]:
    """The fields of a part that are not at their empty default."""
    values = {f.name: getattr(part, f.name) for f in fields(part)}
    return {
        name: given(value) if isinstance(value, Covariance) else value
        for name, value in values.items()
        if value is not None and value not in ("", {}, [])
    }


def from_trusted(kind: type[Any], raw: Mapping[str, Any], where: str) -> Any:
    """A part of a file that the tests have checked."""
    if "covariance" not in raw:
        return kind(**raw)
    return kind(**{**raw, "covariance": Covariance(**raw["covariance"])})


def from_untrusted(kind: type[Any], raw: object, where: str) -> Any:
    """A part of a user's file, its types checked.

    Raises:
        InputError: the first key that is unknown, missing or of the wrong type.
    """
    from pydantic import ValidationError

    # Through JSON, because only there does strict mode (a quoted "1.79" is no number) take tables.
    try:
        return part_schemas()[kind].validate_json(json.dumps(raw, default=str), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(step) for step in first["loc"])
        raise InputError(f"{where} {key}: {first['msg'].lower()}") from error


@cache
def part_schemas() -> dict[type[Any], TypeAdapter[Any]]:
    """pydantic's schema of each part; kept, because building one takes longer than using it."""
    from pydantic import TypeAdapter

    return {kind: TypeAdapter(kind) for kind in (Source, Range, Quantity)}
