"""The one tree of errors, each of which a user reads as a single line.

    WindtunnelError          what is wrong could be said in one line
    ├── InputError           the input is bad; exit code 2
    ├── FitError             the input is fine, but no answer can be had from it; exit code 1
    └── ExportError          the plan cannot be said in the trainer's words; exit code 1

A message reads *where*: *what is wrong, with the value*; *what would be right*.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable


class WindtunnelError(Exception):
    """What went wrong, in one line, with the exit code that a script sees."""

    exit_code: ClassVar[int] = 1


class InputError(WindtunnelError):
    """An option, a file or a table cannot be used as given."""

    exit_code = 2


class FitError(WindtunnelError):
    """A fit could not be made from valid input."""


class ExportError(WindtunnelError):
    """A plan cannot be written for a trainer without changing what it says."""


def nearest_name(name: str, known: Iterable[str]) -> str:
    """The known name most like `name`, as the end of an error message.

    Example:
        >>> nearest_name("steplaw", ["step-law", "porian"])
        "; nearest is 'step-law'"
        >>> nearest_name("xyz", ["step-law"])
        ''
    """
    # Imported here because difflib costs 8 ms that only an error needs.
    from difflib import get_close_matches

    found = get_close_matches(name, list(known), n=1, cutoff=0.4)
    return f"; nearest is '{found[0]}'" if found else ""
