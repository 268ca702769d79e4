"""Values found in a trainer's file, checked as they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fitting.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping


def as_int(found: Mapping[str, Any], key: str, default: int | None = None) -> int:
    """A whole number; `default` where the file is silent, as the trainer's own is.

    Raises:
        InputError: it is missing and has no default, or is no whole number.
    """
    value = found.get(key)
    if value is None:
        value = default
    if value is None:
        raise InputError(f"{key}: not in the file, and the trainer has no default for it")
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise InputError(f"{key}: {value!r} is not a whole number")
    return int(value)


def as_float(found: Mapping[str, Any], key: str, default: float | None = None) -> float:
    """A number; `default` where the file is silent, as the trainer's own is.

    Raises:
        InputError: it is missing and has no default, or is no number.
    """
    value = found.get(key)
    if value is None:
        value = default
    if value is None:
        raise InputError(f"{key}: not in the file, and the trainer has no default for it")
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise InputError(f"{key}: {value!r} is not a number")
    try:
        # YAML reads 3e-4, which people write, as text.
        return float(value)
    except ValueError as error:
        raise InputError(f"{key}: {value!r} is not a number") from error
