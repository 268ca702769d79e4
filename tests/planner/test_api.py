"""The Python API: what `planner` offers, and that importing it costs nothing."""

from __future__ import annotations

import subprocess
import sys

import planner


def test_every_public_name_resolves_and_nothing_else_does() -> None:
    assert sorted(planner.__all__) == list(planner.__all__)
    for name in planner.__all__:
        assert getattr(planner, name).__name__ == name
    assert not hasattr(planner, "recommendation_of_the_day")


def test_importing_the_package_imports_none_of_its_rooms() -> None:
    code = "import planner, sys; print([m for m in sys.modules if m.startswith('planner.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
