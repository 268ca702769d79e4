"""`plan schema`: JSON schemas of the files that `plan` reads and writes, for editors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fitting.errors import InputError, nearest_name
from planner.cli.console import to_json
from planner.cli.options import argument, make_app

EXAMPLES = """Examples:

plan schema spec > spec.schema.json

plan schema plan | jq .properties.lr"""

app = make_app()

NAME = argument(
    "NAME", "plan: of plan ... --json; law: a law file; spec: a sweep's SPEC.toml; runs: rows"
)


@app.command(epilog=EXAMPLES)
def schema(name: str = NAME) -> None:
    """Print the JSON schema of a plan, a law file, a sweep's spec or a runs table.

    Prints each key with its type, range, default and meaning. An editor that knows TOML schemas
    (Even Better TOML, taplo) completes and checks a file that starts with
    "#:schema spec.schema.json".
    """
    if name not in SCHEMAS:
        raise InputError(
            f"schema '{name}': no such schema{nearest_name(name, SCHEMAS)}; "
            f"known: {', '.join(SCHEMAS)}"
        )
    print(to_json(SCHEMAS[name]()))


def _make_plan_schema() -> dict[str, Any]:
    """The schema of a plan's JSON."""
    from planner.plan.schema import plan_schema

    return plan_schema()


def _make_law_schema() -> dict[str, Any]:
    """The schema of a law file."""
    from fitting.laws.schema import law_schema

    return law_schema()


def _make_spec_schema() -> dict[str, Any]:
    """The schema of a sweep's spec."""
    from proxies.sweep.spec_file import spec_schema

    return spec_schema()


def _make_runs_schema() -> dict[str, Any]:
    """The schema of a runs table's rows."""
    from fitting.runs.columns import runs_schema

    return runs_schema()


SCHEMAS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "plan": _make_plan_schema,
    "law": _make_law_schema,
    "spec": _make_spec_schema,
    "runs": _make_runs_schema,
}
"""A schema by name."""
