"""Law files: TOML read, checked and written.

A law file has `[source]`, `[range]` and any of the tables in `QUANTITIES`. The same format serves
the shipped law book, `plan fit --out` and a user's `--laws`.
"""

from __future__ import annotations

import math
import tomllib
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Any

from fitting.errors import InputError, nearest_name
from fitting.laws.forms import FORMS, INPUTS
from fitting.laws.law import COUNTS, QUANTITIES, Covariance, Law, Quantity, Range, Source

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pydantic import TypeAdapter

LARGEST_LOG_SD = 10.0
"""A standard deviation of ln above this, a factor of 20,000, says nothing and overflows."""

NEGATIVE_EIGENVALUE = -1e-4
"""Lowest eigenvalue a correlation matrix may have: six printed digits round it this far."""


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
    read = _from_trusted if trusted else _from_untrusted
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


def make_law(
    name: str, *, source: Source, limits: Range, quantities: Mapping[str, Quantity]
) -> Law:
    """A law that was not read: its content is the law file that says the same."""
    import tomli_w

    raw: dict[str, Any] = {"source": part_to_dict(source), "range": part_to_dict(limits)}
    raw |= {key: part_to_dict(quantity) for key, quantity in quantities.items()}
    content = tomli_w.dumps(raw).encode()
    return Law(name=name, source=source, range=limits, quantities=quantities, content=content)


def part_to_dict(part: Source | Range | Quantity | Covariance) -> dict[str, Any]:
    """The fields of a part that are not at their empty default."""
    values = {f.name: getattr(part, f.name) for f in fields(part)}
    return {
        name: part_to_dict(value) if isinstance(value, Covariance) else value
        for name, value in values.items()
        if value is not None and value not in ("", {}, [])
    }


def _from_trusted(kind: type[Any], raw: Mapping[str, Any], where: str) -> Any:
    """A part of a file that the tests have checked."""
    if "covariance" not in raw:
        return kind(**raw)
    return kind(**{**raw, "covariance": Covariance(**raw["covariance"])})


def _from_untrusted(kind: type[Any], raw: object, where: str) -> Any:
    """A part of a user's file, its types checked.

    Raises:
        InputError: the first key that is unknown, missing or of the wrong type.
    """
    import json

    from pydantic import ValidationError

    # Through JSON, because only there does strict mode (a quoted "1.79" is no number) take tables.
    try:
        return _part_schemas()[kind].validate_json(json.dumps(raw, default=str), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(step) for step in first["loc"])
        raise InputError(f"{where} {key}: {first['msg'].lower()}") from error


@cache
def _part_schemas() -> dict[type[Any], TypeAdapter[Any]]:
    """pydantic's schema of each part; kept, because building one takes longer than using it."""
    from pydantic import TypeAdapter

    return {kind: TypeAdapter(kind) for kind in (Source, Range, Quantity)}


def quantity_problem(quantity: Quantity) -> str | None:
    """What is wrong with one table of a law file, or None."""
    if quantity.form not in FORMS:
        known = nearest_name(quantity.form, FORMS) or f"; one of {', '.join(FORMS)}"
        return f"form '{quantity.form}': no such form{known}"
    return name_problem(quantity) or number_problem(quantity) or content_problem(quantity)


def name_problem(quantity: Quantity) -> str | None:
    """Coefficients that are missing, unknown to the form, or never reached; or None."""
    form, names = FORMS[quantity.form], quantity.coefficients.keys()
    missing = form.required - names
    if missing:
        return f"coefficients: {', '.join(sorted(missing))} missing ({form.formula})"
    unknown = [name for name in names if not form.allows(name)]
    if unknown:
        known = nearest_name(unknown[0], form.required | (set(INPUTS) if form.exponents else set()))
        return f"coefficients: '{unknown[0]}' means nothing to form {quantity.form}{known}"
    if quantity.form == "exponents" and not names:
        return "coefficients: none given; name at least one exponent by its input"
    for name in quantity.reference:
        if name not in form.needs(quantity.coefficients):
            return f"reference: '{name}' has no exponent in coefficients"
    return mixed_term_problem(names - form.required) if form.numbered else None


def mixed_term_problem(names: set[str]) -> str | None:
    """Terms that are not numbered c1, c2, ... without a gap, which no sum would reach; or None."""
    count = sum(name.startswith("c") for name in names)
    for name in sorted(names):
        if int(name[1:]) > count or f"c{name[1:]}" not in names:
            return (
                f"coefficients: '{name}' belongs to no term; number them c1, c2, ... without gaps"
            )
    return None


def number_problem(quantity: Quantity) -> str | None:
    """Numbers that are not finite, or not above 0 where they must be; or None."""
    for name, value in (quantity.coefficients | quantity.reference).items():
        if not math.isfinite(value):
            return f"{name}: {value} is not a finite number"
    positive = {
        name: quantity.coefficients[name]
        for name in sorted(FORMS[quantity.form].positive)
        if name in quantity.coefficients
    }
    if quantity.maximum is not None:
        positive["maximum"] = quantity.maximum
    for name, value in (positive | quantity.reference).items():
        if not 0 < value < math.inf:
            return f"{name}: {value} is not above 0"
    return None


def content_problem(quantity: Quantity) -> str | None:
    """What is wrong with scatter, rows, text or covariance, or None."""
    for name in ("scatter", "form_log_sd", "penalty_scatter"):
        value = getattr(quantity, name)
        if value is not None and not 0 <= value <= LARGEST_LOG_SD:
            return f"{name}: {value} is not a standard deviation of ln, 0 to {LARGEST_LOG_SD:g}"
    if quantity.cliff is not None and not 1 < quantity.cliff < math.inf:
        return f"cliff: {quantity.cliff} is not a multiple of the law's value above 1"
    if quantity.form == "text" and not quantity.text:
        return "text: missing"
    if quantity.covariance is not None:
        return row_problem(quantity) or covariance_problem(quantity, quantity.covariance)
    return row_problem(quantity)


def row_problem(quantity: Quantity) -> str | None:
    """What is wrong with the rows of a table, or None."""
    if quantity.form != "table":
        return f"rows: form {quantity.form} has none" if quantity.rows else None
    if len(quantity.rows) < 2:
        return "rows: a table needs two rows with params and value"
    for row in quantity.rows:
        if row.keys() != {"params", "value"} or not all(0 < v < math.inf for v in row.values()):
            return f"rows: {row} is not params and value above 0"
    params = [row["params"] for row in quantity.rows]
    if len(set(params)) < len(params):
        return "rows: two rows have the same params"
    return None


def covariance_problem(quantity: Quantity, covariance: Covariance) -> str | None:
    """What is wrong with a quantity's covariance, or None."""
    names, matrix = covariance.names, covariance.matrix
    known = {*quantity.coefficients, "log_scale"} - {"scale"}
    if not set(names) <= known or len(set(names)) < len(names):
        return f"covariance: names {names} are not among {sorted(known)}, each once"
    if len(matrix) != len(names) or any(len(row) != len(names) for row in matrix):
        return f"covariance: the matrix is not {len(names)} x {len(names)}"
    for i, row in enumerate(matrix):
        for j, value in enumerate(row):
            bound = math.sqrt(max(matrix[i][i], 0) * max(matrix[j][j], 0)) * (1 + 1e-9)
            if not abs(value) <= bound or not math.isclose(value, matrix[j][i], rel_tol=1e-9):
                return f"covariance: entry {names[i]}, {names[j]} is not that of a covariance"
    if lowest_eigenvalue(matrix) < NEGATIVE_EIGENVALUE:
        return "covariance: the matrix gives some combination a variance below 0"
    return None


def lowest_eigenvalue(matrix: list[list[float]]) -> float:
    """Lowest eigenvalue of the correlation matrix of a covariance."""
    # Imported here because planning reads law files without checking them, and without numpy.
    import numpy as np

    covariance = np.array(matrix)
    sd = np.sqrt(np.diag(covariance))
    scale = np.where(sd > 0, sd, 1.0)
    return float(np.linalg.eigvalsh(covariance / np.outer(scale, scale)).min(initial=0.0))
