"""The JSON schema of law files; what `fitting.laws.law` reads is its source."""

from __future__ import annotations

from typing import Any

from fitting.laws.forms import FORMS
from fitting.laws.law import COUNTS, QUANTITIES, Quantity, Range, Source

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
