"""One name for one thing: what fitting defines is named once, classes in the whole tree."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("fitting", "proxies", "planner")


def defined(package: str, kind: type[ast.ClassDef | ast.FunctionDef]) -> Iterator[str]:
    """Public names at the top of a package's modules."""
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, kind) and not node.name.startswith("_"):
                yield node.name


def test_a_class_of_fitting_has_a_name_of_its_own() -> None:
    ours = set(defined("fitting", ast.ClassDef))
    assert len(ours) > 80
    every = Counter(name for package in PACKAGES for name in defined(package, ast.ClassDef))
    assert {name for name in ours if every[name] > 1} == set()


def test_a_public_function_of_fitting_has_a_name_of_its_own() -> None:
    ours = Counter(defined("fitting", ast.FunctionDef))
    assert len(ours) > 300
    assert {name for name, count in ours.items() if count > 1} == set()
