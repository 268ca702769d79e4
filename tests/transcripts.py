"""Run the commands of the README and the pages of docs and print them with their output, for cog.

`python -m cogapp -r PAGE.md` in the root rewrites the outputs of a page; `--check` in its place, in
the tests, fails when one of them is no longer what the command prints.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from planner.cli import main

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("WINDTUNNEL_SHARED", ROOT.parent / "shared"))

PLAN = "import sys; from planner.cli import main; sys.exit(main(sys.argv[1:]))"


def show(command: str) -> None:
    """Run `plan ...` and print the command with its stdout and stderr."""
    out = io.StringIO()
    program, *arguments = shlex.split(command)
    assert program == "plan"
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        main(arguments)
    print_block(command, out.getvalue())


def show_made(command: str, *, only: str = "") -> None:
    """As `show`, in a folder that keeps the files made; `> FILE` at the end is obeyed.

    Args:
        command: `plan ...`.
        only: words at the start of the lines to print, parted by `|`, with the indented lines
            below them; empty for all. What is left out is marked by dots.
    """
    typed, _, kept = command.partition(" > ")
    out, errors = io.StringIO(), io.StringIO()
    arguments = shlex.split(typed)[1:]
    with contextlib.chdir(scratch()), contextlib.redirect_stdout(out):
        with contextlib.redirect_stderr(errors if kept else out):
            main(arguments)
        if kept:
            Path(kept).write_text(out.getvalue(), encoding="utf-8")
    print_block(command, "" if kept else keep_lines(out.getvalue(), only))


def keep_lines(output: str, only: str) -> str:
    """The lines that start with one of some words, and the indented ones below them."""
    if not only:
        return output
    kept: list[str] = []
    keeping = False
    for line in output.splitlines():
        if not line.startswith(" "):
            keeping = line.startswith(tuple(only.split("|")))
        if keeping:
            kept.append(line)
        elif kept[-1:] != ["..."]:
            kept.append("...")
    return "\n".join(kept)


def show_measured(command: str) -> None:
    """Run a command on the measurements; where those are absent, keep what was printed last.

    Files are written to a scratch folder in which `../shared` is that of the measurements.
    """
    import cog  # it exists only inside cog's own run

    if not SHARED.is_dir():
        cog.out(cog.previous)
        return
    words = shlex.split(command)
    entry = ["-c", PLAN] if words[0] == "plan" else []
    assert words[0] in ("plan", "python")
    done = subprocess.run(
        [sys.executable, *entry, *words[1:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
        cwd=scratch(),
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "80"},
    )
    print_block(command, done.stdout)


def show_slow(command: str) -> None:
    """As `show_measured` where `WINDTUNNEL_SLOW` is set; otherwise keep what was printed last."""
    import cog

    if os.environ.get("WINDTUNNEL_SLOW"):
        show_measured(command)
    else:
        cog.out(cog.previous)


@cache
def scratch() -> Path:
    """A folder for the files of one run, beside a link to the measurements."""
    place = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, place)
    (place / "shared").symlink_to(SHARED)
    (place / "work").mkdir()
    (place / "work" / "data").symlink_to(ROOT / "data")
    return place / "work"


def print_block(command: str, output: str) -> None:
    """A fenced block: the command behind a prompt, then what it printed."""
    import cog

    lines = [line.rstrip() for line in output.rstrip().splitlines()]
    cog.out("\n".join(["```console", f"$ {command}", *lines, "```", ""]))
