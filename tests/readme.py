"""Run the README's commands and print them with their output, for cog.

`cog -r README.md` rewrites the outputs; `cog --check README.md`, in the tests, fails when one of
them is no longer what the command prints.
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import subprocess
import sys
from pathlib import Path

from planner.cli import main

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("WINDTUNNEL_SHARED", ROOT.parent / "shared"))


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
    """Run a benchmark on the measurements; where those are absent, keep what was printed last."""
    import cog  # it exists only inside cog's own run

    if not SHARED.is_dir():
        cog.out(cog.previous)
        return
    words = [str(SHARED) if word == "../shared" else word for word in shlex.split(command)]
    assert words[0] == "python"
    done = subprocess.run(
        [sys.executable, *words[1:]], capture_output=True, text=True, check=True, cwd=ROOT
    )
    print_block(command, done.stdout)


def print_block(command: str, output: str) -> None:
    """A fenced block: the command behind a prompt, then what it printed."""
    import cog

    lines = [line.rstrip() for line in output.rstrip().splitlines()]
    cog.out("\n".join(["```console", f"$ {command}", *lines, "```", ""]))
