"""The README and the pages of docs: commands, links and paths in them are what they say."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

TEXTS = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md"))]
}
"""Every document by its path."""

SHOWN = r'show(?:_measured|_slow|_made)?\("([^"]+)"[,)]'

MADE = [page for page, text in TEXTS.items() if "[[[cog" in text]
SLOW = [page for page, text in TEXTS.items() if " show_slow(" in text]

SET_UP = {
    "python3 -m venv .venv && .venv/bin/pip install -q . && "
    ".venv/bin/plan --params 1B --tokens 20B",
    "bash scripts/test",
    ".venv/bin/python -m pytest -m slow",
    "bash scripts/test-trainers",
}
"""Commands that install the project: CI runs the second in a fresh clone, so no test does."""

PATH = re.compile(
    r"(?<![\w./-])(?:data|docs|fitting|notebooks|planner|proxies|scripts|tests)/[\w./-]+"
)
"""A file or folder of the checkout."""

PLACEHOLDER = re.compile(r"[A-Z]{3}")
"""A part of a path that stands for another, as NAME; no file of ours is written so."""


PACKAGES = ("fitting", "proxies", "planner", "tests")


def check(page: str, **environment: str) -> None:
    """Fail where cog would change a page."""
    done = subprocess.run(
        [sys.executable, "-m", "cogapp", "--check", "--diff", page],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )
    assert done.returncode == 0, f"python -m cogapp -r {page}\n{done.stdout}{done.stderr}"


def prose(page: str) -> str:
    """A page without its fenced blocks and comments."""
    return re.sub(r"```.*?```|<!--.*?-->", "", TEXTS[page], flags=re.DOTALL)


def anchors(page: str) -> set[str]:
    """What the headings of a page are linked by."""
    titles = re.findall(r"^#+ (.+)$", TEXTS[page], flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def links(page: str) -> list[tuple[str, str]]:
    """File, from the root, and section of every link of a page to the checkout."""
    found = []
    for link in re.findall(r"\]\(([^)\s]+)\)", TEXTS[page]):
        if "://" not in link:
            file, _, section = link.partition("#")
            path = (ROOT / page).parent / file if file else ROOT / page
            found.append((os.path.relpath(path, ROOT), section))
    return found


@pytest.mark.parametrize("page", MADE)
def test_a_page_shows_what_its_commands_print(page: str) -> None:
    check(page)


@pytest.mark.slow
@pytest.mark.parametrize("page", SLOW)
def test_a_page_shows_what_its_slow_commands_print(page: str) -> None:
    check(page, WINDTUNNEL_SLOW="1")


@pytest.mark.parametrize("page", TEXTS)
def test_every_command_of_a_page_is_shown_by_cog_or_sets_up(page: str) -> None:
    prompts = re.findall(r"^\$ (.+)$", TEXTS[page], flags=re.MULTILINE)
    assert prompts == re.findall(SHOWN, TEXTS[page])
    assert set(re.findall(r"^    (\S.*)$", prose(page), flags=re.MULTILINE)) <= SET_UP


def test_the_readme_says_how_to_set_up_and_to_test() -> None:
    assert set(re.findall(r"^    (\S.*)$", prose("README.md"), flags=re.MULTILINE)) == SET_UP


@pytest.mark.parametrize("page", TEXTS)
def test_links_lead_to_files_and_to_their_sections(page: str) -> None:
    for file, section in links(page):
        assert (ROOT / file).exists(), file
        assert not section or section in anchors(file), f"{file}#{section}"


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, new = set(), {"README.md"}
    while new:
        reached |= new
        new = {file for page in new for file, _ in links(page) if file in TEXTS} - reached
    assert set(TEXTS) == reached


@pytest.mark.parametrize("page", sorted(set(TEXTS) - {"CHANGELOG.md"}))
def test_paths_named_in_a_page_exist(page: str) -> None:
    named = {path.rstrip("./") for path in PATH.findall(prose(page))}
    missing = {path for path in named if not (ROOT / path).exists()}
    assert {path for path in missing if not PLACEHOLDER.search(path)} == set()


@pytest.mark.parametrize("page", sorted(set(TEXTS) - {"CHANGELOG.md"}))
def test_scripts_named_in_a_page_exist(page: str) -> None:
    modules = re.findall(r"python -m\s+(tests[\w.]+)", TEXTS[page])
    paths = [ROOT / module.rstrip(".").replace(".", "/") for module in modules]
    assert [path for path in paths if not path.with_suffix(".py").is_file()] == []


@cache
def defined() -> set[str]:
    """Classes, their fields as `Class.field`, and constants of our code, the page's script too."""
    script = (ROOT / "planner" / "report" / "page.js").read_text(encoding="utf-8")
    found = set(re.findall(r"^const (\w+)", script, flags=re.MULTILINE))
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                fields = [part.target for part in node.body if isinstance(part, ast.AnnAssign)]
                found |= {node.name, *(f"{node.name}.{ast.unparse(field)}" for field in fields)}
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                found |= {ast.unparse(target) for target in targets}
    return found


@pytest.mark.parametrize("page", [page for page in TEXTS if page.startswith("docs/recipes/")])
def test_names_in_a_recipe_are_of_our_code(page: str) -> None:
    names = set(re.findall(r"`([A-Z]\w+(?:\.\w+)?)`", prose(page)))
    assert names - defined() == set()


@pytest.mark.parametrize("page", TEXTS)
def test_no_document_names_a_machine_path(page: str) -> None:
    assert not re.search(r"(?<![\w.])/(work|root|tmp|home)/", TEXTS[page])
