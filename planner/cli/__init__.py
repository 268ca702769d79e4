"""The command line: one file a command group, loaded when it is used.

`main` is the only entry. It prints every error of ours and of typer as one line on stderr and
returns the exit code: 0 done, 1 it could not be done, 2 bad input.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from fitting.errors import WindtunnelError

if TYPE_CHECKING:
    from planner.plan.document import Plan

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
    "watch": "plans.health",
    "schema": "schema",
    "change": "plans.change",
    "report": "plans.report",
}
"""Command groups: what the user types, and the module of this folder that holds its `app`."""


INTERRUPTED = 130
"""Exit code after Ctrl-C."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The command line that a command answers; typer hands it on as `context.obj`."""

    arguments: tuple[str, ...]
    """What follows `plan`."""
    before: Plan | None = None
    """The plan of `--from`, whose own options are among the arguments."""


class LazyGroup(TyperGroup):
    """A group whose commands are modules of `planner.cli`, imported when they are called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of the command groups, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a module `planner.cli.NAME`, or None."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"planner.cli.{COMMANDS[cmd_name]}")
        command = typer.main.get_command(module.app)
        command.name = cmd_name
        return flowing(command)


def flowing(command: Any) -> Any:
    """A command whose help fills the terminal: rich would break lines where our source does.

    Paragraphs that begin with a backspace keep their lines, as everywhere in click.
    """
    parts = (command.help or "").split("\n\n")
    command.help = "\n\n".join(
        part if part.startswith("\b") else " ".join(part.split()) for part in parts
    )
    for inner in getattr(command, "commands", {}).values():
        flowing(inner)
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `plan` with `arguments` (default: those of the process); return the exit code."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    try:
        # A group waits for nothing of `plan`'s own options, which take a while to load.
        group = typed[0] if typed and typed[0] in COMMANDS else None
        module = import_module(f"planner.cli.{COMMANDS[group] if group else 'plan'}")
        code = flowing(typer.main.get_command(module.app)).main(
            args=typed[1:] if group else list(typed),
            prog_name=f"plan {group}" if group else "plan",
            standalone_mode=False,
            obj=Asked(tuple(typed)),
        )
        sys.stdout.flush()
    except (WindtunnelError, typer.TyperException) as error:
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        print("plan:", " ".join(message.split()), file=sys.stderr)
        return int(getattr(error, "exit_code", 1))
    except (BrokenPipeError, SystemExit) as error:
        # Typer makes an exit of a pipe that broke inside a command.
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            raise
        # The reader has gone, as `head` does; Python would complain again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.filename is not None:
            raise
        print(f"plan: the output cannot be written ({error.strerror})", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (typer.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    if code == INTERRUPTED:
        print("plan: stopped", file=sys.stderr)
    return code if isinstance(code, int) else 0
