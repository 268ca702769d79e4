"""The tests' own house: rooms as in the packages; no test imports a script or another test."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PACKAGES = ("fitting", "proxies", "planner")
SCRIPTS = "tests.benchmarks"


def imported(path: Path) -> set[str]:
    """Modules that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_every_folder_of_tests_is_a_room_of_the_package(package: str) -> None:
    folders = {path.parent.relative_to(TESTS) for path in (TESTS / package).rglob("test_*.py")}
    assert folders
    missing = [str(folder) for folder in folders if not (TESTS.parent / folder).is_dir()]
    assert missing == []


def test_no_test_imports_a_script() -> None:
    paths = [path for path in TESTS.rglob("*.py") if path.parent != TESTS / "benchmarks"]
    users = {str(p.relative_to(TESTS)) for p in paths if any(SCRIPTS in m for m in imported(p))}
    assert len(paths) > 100
    assert users == set()


def test_no_module_imports_a_test() -> None:
    """What two tests need stands in `tests/fixtures` or `tests/measured`."""
    users = {
        str(path.relative_to(TESTS))
        for path in TESTS.rglob("*.py")
        if any(".test_" in module for module in imported(path) if module.startswith("tests."))
    }
    assert users == set()
