"""JSON schemas of the files of this package: law files and rows of a runs table.

What `fitting.laws.law` and `fitting.runs.columns` read is the source: nothing is said twice here.
"""

from __future__ import annotations

import math
from typing import Any

from fitting.laws.forms import FORMS
from fitting.laws.law import COUNTS, QUANTITIES, Quantity, Range, Source
from fitting.runs.columns import COLUMNS, REQUIRED, STATUSES, Column

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def law_schema() -> dict[str, Any]:
    """The JSON schema of a law file's tables, TOML or JSON, with each key's meaning.

    It holds keys, types and forms; that a form has its coefficients is checked on reading.
    """
    from pydantic import TypeAdapter

    parts = (Source, Range, Quantity)
    _, found = TypeAdapter.json_schemas(
        [(part, "validation", TypeAdapter(part)) for part in parts], title="law file"
    )
    tables = found["$defs"]
    tables["Quantity"]["properties"]["form"]["enum"] = sorted(FORMS)
    for name in COUNTS:
        limits = next(
            branch
            for branch in tables["Range"]["properties"][name]["anyOf"]
            if branch["type"] == "array"
        )
        limits |= {"minItems": 2, "maxItems": 2}
        limits["items"] |= {"exclusiveMinimum": 0}
    return {
        "$schema": DRAFT,
        "title": "law file",
        "description": "A scaling law: where it is from, where it was measured, what it says.",
        "type": "object",
        "properties": {
            "source": {"$ref": "#/$defs/Source"},
            "range": {"$ref": "#/$defs/Range"},
            **{name: {"$ref": "#/$defs/Quantity"} for name in QUANTITIES},
        },
        "required": ["source"],
        "additionalProperties": False,
        "$defs": tables,
    }


def runs_schema() -> dict[str, Any]:
    """The JSON schema of a runs table as a list of rows, one a run, with each column's meaning.

    An unknown value is null or left out; a null loss is that of a run that diverged. Columns of
    one's own are carried along.
    """
    return {
        "$schema": DRAFT,
        "title": "runs table",
        "description": "Rows of a runs table (CSV or Parquet), one training run each.",
        "type": "array",
        "items": {
            "type": "object",
            "properties": {name: column_schema(name, column) for name, column in COLUMNS.items()},
            "required": list(REQUIRED),
        },
    }


def column_schema(name: str, column: Column) -> dict[str, Any]:
    """One column: its type, its bounds, its meaning."""
    known = name in REQUIRED and column.finite
    kind = "string" if column.text else "number"
    found: dict[str, Any] = {"description": column.meaning}
    found["type"] = kind if known else [kind, "null"]
    if name == "status":
        found["enum"] = [*STATUSES, "", None]
    if column.low > -math.inf:
        found["minimum" if column.low_allowed else "exclusiveMinimum"] = column.low
    if column.below < math.inf:
        found["exclusiveMaximum"] = column.below
    return found
