"""Commands as typer runs them: found by name, loaded when called, errors in one line."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from fitting.errors import InputError, WindtunnelError
from planner.cli import COMMANDS, CommandLine


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
        return _flowing(command)


def _flowing(command: Any) -> Any:
    """A command whose help fills the terminal: rich would break lines where our source does.

    Paragraphs that begin with a backspace keep their lines, as everywhere in click.
    """
    parts = (command.help or "").split("\n\n")
    command.help = "\n\n".join(
        part if part.startswith("\b") else " ".join(part.split()) for part in parts
    )
    for inner in getattr(command, "commands", {}).values():
        _flowing(inner)
    return command


def run_command(typed: Sequence[str]) -> Any:
    """Run what was typed after `plan`; the exit code, or what a command returned.

    Raises:
        WindtunnelError: a command refused its input, or typer the options.
        KeyboardInterrupt: it was told to stop.
    """
    # A group waits for nothing of `plan`'s own options, which take a while to load.
    group = typed[0] if typed and typed[0] in COMMANDS else None
    module = import_module(f"planner.cli.{COMMANDS[group] if group else 'plan'}")
    try:
        return _flowing(typer.main.get_command(module.app)).main(
            args=list(typed[1:] if group else typed),
            prog_name=f"plan {group}" if group else "plan",
            standalone_mode=False,
            obj=CommandLine(tuple(typed)),
        )
    except typer.TyperException as error:
        kind = InputError if error.exit_code == InputError.exit_code else WindtunnelError
        raise kind(error.format_message()) from error
    except typer.Abort:
        raise KeyboardInterrupt from None
