"""The notebooks: what is stored in them is fit to be read, and each runs from top to bottom."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.notebooks import PATHS, execute

QUESTIONS = 5

MACHINE = re.compile(r"(?<![\w.])/(?:work|tmp|root|home|Users)/")
"""The start of a path of the machine that ran a notebook."""

each_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def cells_of(path: Path) -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads(path.read_text())["cells"]
    return cells


def test_every_question_of_the_guide_has_a_notebook() -> None:
    assert [int(path.name[0]) for path in PATHS] == list(range(1, QUESTIONS + 1))


@each_notebook
def test_stored_outputs_hold_no_error_and_no_path_of_the_machine(path: Path) -> None:
    outputs = [output for cell in cells_of(path) for output in cell.get("outputs", [])]
    assert outputs, f"python -m tests.notebooks {path.stem}"
    assert all(output["output_type"] != "error" for output in outputs)
    # A figure's letters may spell anything.
    texts = [{**output, "data": {**output.get("data", {}), "image/png": ""}} for output in outputs]
    assert not MACHINE.findall(json.dumps(texts))
    assert "Traceback" not in json.dumps(texts)


@each_notebook
def test_cells_keep_no_timestamps(path: Path) -> None:
    assert all(cell["metadata"] == {} for cell in cells_of(path))


@each_notebook
def test_code_was_run_once_from_top_to_bottom(path: Path) -> None:
    counts = [cell["execution_count"] for cell in cells_of(path) if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1))


@each_notebook
def test_a_notebook_is_light_enough_to_be_read_on_the_web(path: Path) -> None:
    assert path.stat().st_size < 300_000


@each_notebook
def test_links_lead_to_files(path: Path) -> None:
    text = "".join(
        "".join(cell["source"]) for cell in cells_of(path) if cell["cell_type"] == "markdown"
    )
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links
    assert [link for link in links if not (path.parent / link).exists()] == []


@pytest.mark.slow
@each_notebook
def test_a_notebook_runs_from_top_to_bottom(path: Path) -> None:
    book = execute(path)
    assert all(cell.execution_count for cell in book.cells if cell.cell_type == "code")
