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


def part_of(found: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A section of a file.

    Raises:
        InputError: it is missing, or holds no keys.
    """
    part = found.get(key)
    if not isinstance(part, dict):
        raise InputError(f"{key}: not a section of the file")
    return part


def yaml_of(files: Mapping[str, str], where: str) -> dict[str, Any]:
    """The one YAML file of an export.

    Raises:
        InputError: not YAML, or not a mapping.
    """
    import yaml

    try:
        found = yaml.safe_load(files[""])
    except yaml.YAMLError as error:
        raise InputError(f"{where}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise InputError(f"{where}: not a YAML mapping")
    return found


def yaml_text(head: list[str], document: Mapping[str, Any]) -> str:
    """A YAML file with comments at its head."""
    import yaml

    comments = "".join(f"# {line}\n" for line in head)
    return comments + "\n" + yaml.safe_dump(dict(document), sort_keys=False)
