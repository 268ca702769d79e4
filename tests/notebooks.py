"""Run the notebooks and keep their outputs, for readers on the web and for the slow test.

    python -m tests.notebooks [NAME ...]

writes the outputs of the notebooks whose names begin so (of all without a name) into their files,
without what differs from one run to the next: no timestamps, colours or kernel versions.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))

TIMEOUT_SECONDS = 600
"""Of one cell. A notebook takes less than a minute on two quiet cores; a busy machine is slow."""

KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def execute(path: Path) -> nbformat.NotebookNode:
    """The notebook as its cells leave it, run in its own folder; a cell's error is raised."""
    book: nbformat.NotebookNode = nbformat.read(path, as_version=4)
    client = NotebookClient(
        book,
        timeout=TIMEOUT_SECONDS,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
    )
    # `plan` of this environment, as a user who activated it has it; tables at one width.
    programs = str(Path(sys.executable).parent)
    env = {"PATH": programs + os.pathsep + os.environ["PATH"], "COLUMNS": "100"}
    client.execute(env=os.environ | env)
    return book


def refresh(path: Path) -> None:
    """Run the notebook and write it back with its outputs."""
    book = execute(path)
    book.metadata = nbformat.from_dict(KERNEL)
    for number, cell in enumerate(book.cells):
        cell.id = f"cell-{number}"
        cell.metadata = nbformat.from_dict({})
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                output.text = plain(output.text)
    nbformat.write(book, path)


def plain(text: str) -> str:
    """Text without colours, which a kernel asks programs for, and without spaces at line ends."""
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
    return "\n".join(line.rstrip() for line in lines).strip("\n") + "\n"


if __name__ == "__main__":
    for chosen in PATHS:
        if chosen.name.startswith(tuple(sys.argv[1:]) or ""):
            refresh(chosen)
            print(f"{chosen.name}: {chosen.stat().st_size / 1000:.0f} KB")
