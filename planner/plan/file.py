"""The JSON schema of a plan, from the dataclasses that read and write it.

Meanings are the docstrings under their fields, read from their source, so that the document
itself need not know of any schema.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from dataclasses import is_dataclass
from typing import Any, get_args, get_type_hints

from planner.plan.document import SCHEMA, Plan


def plan_schema() -> dict[str, Any]:
    """The JSON schema of what `plan ... --json` prints, with each key's meaning.

    Keys that are not in it are allowed: `--explain` adds one, and so may a later version.
    """
    from pydantic import TypeAdapter

    found = TypeAdapter(Plan).json_schema()
    for part in parts_of(Plan):
        table = found if part is Plan else found["$defs"][part.__name__]
        for name, meaning in meanings(part).items():
            table["properties"][name]["description"] = meaning
    found["properties"]["schema"] |= {"const": SCHEMA, "description": "Version of these keys."}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | found


def parts_of(part: type) -> list[type]:
    """A dataclass and those that its fields are made of, each once."""
    found = [part]
    for kind in get_type_hints(part).values():
        for inner in dataclasses_in(kind):
            found += [each for each in parts_of(inner) if each not in found]
    return found


def dataclasses_in(kind: Any) -> list[type]:
    """Dataclasses in a type: itself, or the members of a union or a container."""
    if isinstance(kind, type) and is_dataclass(kind):
        return [kind]
    return [inner for part in get_args(kind) for inner in dataclasses_in(part)]


def meanings(part: type) -> dict[str, str]:
    """The docstring under each field of a dataclass that has one, on one line."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(part))).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, said in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(said, ast.Expr)
            and isinstance(said.value, ast.Constant)
        ):
            found[field.target.id] = " ".join(str(said.value.value).split())
    return found
