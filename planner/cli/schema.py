"""`plan schema`: JSON schemas of the files that `plan` reads and writes, for editors."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import typer

from fitting.errors import InputError, nearest_name

EXAMPLES = """Examples:

plan schema spec > spec.schema.json

plan schema spec | jq '."$defs".SearchSpec'"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")


@app.command(epilog=EXAMPLES)
def schema(
    name: str = typer.Argument(metavar="NAME", help="spec: a sweep's SPEC.toml."),
) -> None:
    """Print the JSON schema of a file, for editors.

    Prints each key with its type, range, default and meaning. An editor that knows TOML schemas
    (Even Better TOML, taplo) completes and checks a file that starts with
    "#:schema spec.schema.json".
    """
    if name not in SCHEMAS:
        raise InputError(
            f"schema '{name}': no such schema{nearest_name(name, SCHEMAS)}; "
            f"known: {', '.join(SCHEMAS)}"
        )
    print(json.dumps(SCHEMAS[name](), indent=1))


def make_spec_schema() -> dict[str, Any]:
    """The schema of a sweep's spec."""
    from proxies.sweep.spec_file import spec_schema

    return spec_schema()


SCHEMAS: Mapping[str, Callable[[], dict[str, Any]]] = {"spec": make_spec_schema}
"""A schema by name."""
