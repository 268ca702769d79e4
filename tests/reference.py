"""Reference pages written by the code itself, for cog: help, schemas, rooms."""

from __future__ import annotations

import ast
import contextlib
import io
import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import typer

from planner.cli import COMMANDS, main

ROOT = Path(__file__).parents[1]


def show_help() -> None:
    """A section a command of `plan`, in the order of its help: what `--help` prints."""
    import cog  # it exists only inside cog's own run

    for words in [(), *(words for name in COMMANDS for words in commands_of(name))]:
        lines = [line.rstrip() for line in said(*words, "--help").strip().splitlines()]
        title = " ".join(("plan", *words))
        cog.out("\n".join([f"## {title}", "", "```text", *lines, "```", "", ""]))


def commands_of(name: str) -> Iterator[tuple[str, ...]]:
    """The words of a command and of those below it."""
    module = import_module(f"planner.cli.{COMMANDS[name]}")
    command: Any = typer.main.get_command(module.app)
    yield (name,)
    for inner in getattr(command, "commands", {}):
        yield (name, inner)


def show_schema(kind: str) -> None:
    """The tables of `plan schema KIND`: a row a key, first the file's own, then its parts'."""
    import cog

    schema = json.loads(said("schema", kind))
    cog.out("\n".join(list_keys(schema.get("items", schema))))
    for name, part in schema.get("$defs", {}).items():
        cog.out("\n".join(["", f"## {name}", "", about(part), "", *list_keys(part)]))


def list_keys(schema: dict[str, Any]) -> list[str]:
    """A Markdown table of an object's keys, or its values where it has none."""
    if "properties" not in schema:
        return [f"One of: {', '.join(map(str, schema['enum']))}.", ""]
    needed = schema.get("required", [])
    rows = [
        cells(f"`{key}`", type_of(part) + ("" if key in needed else ", optional"), about(part))
        for key, part in schema["properties"].items()
    ]
    return ["| key | value | meaning |", "|---|---|---|", *rows, ""]


def cells(*words: str) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(word.replace("|", "\\|") for word in words) + " |"


def about(schema: dict[str, Any]) -> str:
    """What a schema says of its value, on one line."""
    return " ".join(schema.get("description", "").split())


def type_of(schema: dict[str, Any]) -> str:
    """What a value may be, in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(map(type_of, schema["anyOf"])))
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"] if value)
    if "const" in schema:
        return f"`{schema['const']}`"
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {type_of(schema['items'])}" if "items" in schema else "list"
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def show_rooms() -> None:
    """The packages and their folders, each with the first line of its docstring."""
    import cog

    rows = []
    for package in ("planner", "proxies", "fitting"):
        for path in sorted((ROOT / package).rglob("__init__.py")):
            text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            folder = path.parent.relative_to(ROOT)
            indent = "  " * (len(folder.parts) - 1)
            rows.append((f"{indent}{folder.name}/", text.splitlines()[0]))
    width = max(len(name) for name, _ in rows) + 2
    cog.out("\n".join(["```text", *(f"{name:{width}}{about}" for name, about in rows), "```", ""]))


def said(*words: str) -> str:
    """What a command of `plan` prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        main(words)
    return out.getvalue()
