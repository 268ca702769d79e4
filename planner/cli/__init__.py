"""The command line: one file a command group, loaded when it is used.

`main` is the only entry. It prints every error of ours and of typer as one line on stderr and
returns the exit code: 0 done, 1 it could not be done, 2 bad input.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from fitting.errors import WindtunnelError
from planner.cli.console import INTERRUPTED, say

COMMANDS = {
    "curve": "schedules.curve",
    "fit": "runs.fit",
    "laws": "laws",
    "predict": "runs.predict",
    "import": "runs.import_",
    "schedule": "schedules.schedule",
    "export": "trainers.export",
    "trainers": "trainers.trainers",
    "proxy": "proxies",
    "import-config": "trainers.configs",
    "check": "trainers.check",
    "diff": "plans.diff",
    "verify": "plans.verify",
    "batch": "plans.batch",
    "sweep": "proxies.sweep",
    "calibrate": "proxies.calibrate",
    "next": "runs.next",
    "stability": "plans.stability",
    "watch": "plans.watch",
    "schema": "schema",
    "change": "plans.change",
    "report": "plans.report",
}
"""Command groups: what the user types, and the module of this folder that holds its `app`."""

ONE_THREAD = ("fit", "next", "report")
"""Commands whose matrices are so small that threads of the array library cost a third more time
than they save."""


@dataclass(frozen=True, slots=True)
class CommandLine:
    """The command line that a command answers; typer hands it on as `context.obj`."""

    arguments: tuple[str, ...]
    """What follows `plan`."""

    @property
    def text(self) -> str:
        """The whole line, as a result's provenance says it."""
        return shlex.join(["plan", *self.arguments])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `plan` with `arguments` (default: those of the process); return the exit code."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    if typed and typed[0] in ONE_THREAD:
        # They count only before the library's first import, and a user's own setting stands.
        for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ.setdefault(variable, "1")
    try:
        # Imported here because it brings typer.
        from planner.cli.commands import run_command

        code = run_command(typed)
        sys.stdout.flush()
    except WindtunnelError as error:
        say(" ".join(str(error).split()))
        return error.exit_code
    except (BrokenPipeError, SystemExit) as error:
        # Typer makes an exit of a pipe that broke inside a command.
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            raise
        # The reader has gone, as `head` does; Python would complain again when it closes stdout.
        _drop_stdout()
        return 0
    except OSError as error:
        if error.filename is not None:
            raise
        say(f"the output cannot be written ({error.strerror})")
        _drop_stdout()
        return 1
    except KeyboardInterrupt:
        code = INTERRUPTED
    if code == INTERRUPTED:
        say("stopped")
    return code if isinstance(code, int) else 0


def _drop_stdout() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
