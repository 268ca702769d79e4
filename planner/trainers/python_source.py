"""Literals in a Python config, read without running it.

Trainers whose configs are Python are read by what stands there: top-level constants, and the
keyword arguments of calls that are literals or names of such constants.
"""

from __future__ import annotations

import ast
from typing import Any

from fitting.errors import InputError


def parse(text: str, where: str) -> ast.Module:
    """The syntax tree.

    Raises:
        InputError: not Python.
    """
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise InputError(f"{where}: not a Python module: {error}") from error


def read_constants(tree: ast.AST) -> dict[str, Any]:
    """Every assignment of a literal to a name, at any depth; the last one counts."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                found[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                # No literal: a call or a class, which no plan needs.
                continue
    return found


def read_calls(tree: ast.AST, name: str) -> list[dict[str, Any]]:
    """The keyword arguments of every call of `name` that are literals or constants, in order."""
    constants = read_constants(tree)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(name):
            pairs = ((word.arg, word.value) for word in node.keywords if word.arg)
            read = {key: evaluate(value, constants) for key, value in pairs}
            found.append({key: value for key, value in read.items() if value is not UNKNOWN})
    return found


def evaluate(node: ast.expr, constants: dict[str, Any]) -> Any:
    """A literal or a constant, dicts of them included; UNKNOWN for anything else."""
    if isinstance(node, ast.Name):
        return constants.get(node.id, UNKNOWN)
    if isinstance(node, ast.Dict):
        pairs = {
            ast.literal_eval(key): evaluate(value, constants)
            for key, value in zip(node.keys, node.values, strict=True)
            if isinstance(key, ast.Constant)
        }
        return {key: value for key, value in pairs.items() if value is not UNKNOWN}
    try:
        return ast.literal_eval(node)
    except ValueError:
        return UNKNOWN


UNKNOWN = object()
"""What cannot be read without running the module."""
