"""The README: every command in it is run, and what it shows is what is printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")

SET_UP = {
    "python3 -m venv .venv && .venv/bin/pip install -q . && "
    ".venv/bin/plan --params 1B --tokens 20B",
    "bash scripts/test",
    ".venv/bin/python -m pytest -m slow",
    "bash scripts/test-trainers",
}
"""Commands that install the project: CI runs the second in a fresh clone, so no test does."""


def test_what_the_readme_shows_is_what_its_commands_print() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cogapp", "--check", "README.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_what_the_readme_shows_of_slow_commands_is_what_they_print() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cogapp", "--check", "README.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"WINDTUNNEL_SLOW": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_command_of_the_readme_is_shown_by_cog_or_sets_up() -> None:
    shown = set(re.findall(r'show(?:_measured|_slow|_made)?\("([^"]+)"[,)]', README))
    prompts = set(re.findall(r"^\$ (.+)$", README, flags=re.MULTILINE))
    indented = set(
        re.findall(
            r"^    (\S.*)$", re.sub(r"```.*?```", "", README, flags=re.DOTALL), flags=re.MULTILINE
        )
    )
    assert prompts == shown
    assert indented == SET_UP


@pytest.mark.parametrize("path", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_no_document_names_a_machine_path(path: str) -> None:
    assert not re.search(r"(?<![\w.])/(work|root|tmp|home)/", (ROOT / path).read_text())
