"""Run the README's commands and print them with their output, for cog.

`cog -r README.md` rewrites the outputs; `cog --check README.md`, in the tests, fails when one of
them is no longer what the command prints.
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
        sys.argv = ["plan", *arguments]
        main(arguments)
    print_block(command, out.getvalue())


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
    return place / "work"


def print_block(command: str, output: str) -> None:
    """A fenced block: the command behind a prompt, then what it printed."""
    import cog

    lines = [line.rstrip() for line in output.rstrip().splitlines()]
    cog.out("\n".join(["```console", f"$ {command}", *lines, "```", ""]))
