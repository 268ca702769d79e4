"""How commands speak: results and JSON on stdout; progress, warnings and waits on stderr.

Nothing here needs typer, and rich loads where something is drawn.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from fitting.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

WIDTH_IN_A_PIPE = 80
"""Columns where there is no terminal, so that what is recorded does not depend on where."""

INTERRUPTED = 130
"""Exit code of a command that was told to stop."""


def make_console(*, stderr: bool = False, width: int = WIDTH_IN_A_PIPE) -> Console:
    """The console of every table: the terminal's width, or `width` columns in a pipe.

    Args:
        stderr: draw there and not on stdout.
        width: columns in a pipe.
    """
    from rich.console import Console

    on_terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(
        stderr=stderr, highlight=False, markup=False, width=None if on_terminal else width
    )


def plain_table(*columns: str, right: tuple[int, ...] = ()) -> Table:
    """A table without boxes, its header underlined by nothing but weight."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for index, name in enumerate(columns):
        table.add_column(name, justify="right" if index in right else "left", overflow="fold")
    return table


def to_json(plain: object, *, indent: int | None = 2) -> str:
    """Plain data as JSON; what is not finite becomes null, for JSON has no other word."""
    return json.dumps(_finite(plain), indent=indent, allow_nan=False, ensure_ascii=False)


def emit(plain: object, text: str, *, as_json: bool) -> None:
    """Print a result: as JSON, or as the text that people read."""
    print(to_json(plain) if as_json else text)


def warn(cautions: Iterable[str]) -> None:
    """Say on stderr what to know of a result, a line each."""
    for caution in cautions:
        print("warning:", caution, file=sys.stderr)


def say(message: str) -> None:
    """Tell on stderr what is being done."""
    print(f"plan: {message}", file=sys.stderr)


def require_torch() -> None:
    """Refuse to go on without torch, in one line that names the extra.

    Raises:
        InputError: torch is not installed.
    """
    if find_spec("torch") is None:
        raise InputError("training: needs torch; pip install '.[proxies]' in the checkout")


@contextmanager
def working() -> Iterator[Callable[[str], None]]:
    """A function that shows on stderr what is being done; silent where that is no terminal."""
    if not sys.stderr.isatty():
        yield lambda message: None
        return
    with make_console(stderr=True).status("starting") as status:
        yield status.update


@contextmanager
def counting(what: str, total: int | None) -> Iterator[Callable[[int, str], None]]:
    """A function that moves a bar on stderr by a count and says how things stand.

    Args:
        what: what is counted, before the bar.
        total: of all counts; None where nobody knows it ahead.
    """
    if not sys.stderr.isatty():
        yield lambda count, status: None
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}"),
    )
    with Progress(*columns, console=make_console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total, status="")
        yield lambda count, status: bar.update(task, advance=count, status=status)


def _finite(plain: Any) -> Any:
    if isinstance(plain, float):
        return plain if math.isfinite(plain) else None
    if isinstance(plain, Mapping):
        return {name: _finite(value) for name, value in plain.items()}
    if isinstance(plain, list | tuple):
        return [_finite(value) for value in plain]
    return plain
