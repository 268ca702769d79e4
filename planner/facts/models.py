"""Known models by name: their shapes, counted, from `data/shapes.toml`.

A name is matched without regard to case, hyphens, underscores and spaces: "llama3-8b" and
"Llama-3-8B" are both `llama-3-8b`.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from fitting.errors import InputError, nearest_name
from proxies.run.shape import Shape, check_shape

SHAPES_FILE = "shapes.toml"
"""The file of known models in `data/`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """A published model's shape and where it was read."""

    name: str
    """As in the file: `llama-3-8b`."""
    aliases: tuple[str, ...] = ()
    """Other names of the same shape."""
    shape: Shape
    seq_len: int | None = None
    """Tokens of a sequence in most of its pretraining; None where no source read states it."""
    params: int
    """Published non-embedding parameters; `count_params(shape)` agrees."""
    total_params: int
    """Published parameters with embeddings; `count_params(shape)` agrees."""
    evidence: str
    """How well the shape is known: verified, quoted or recalled."""
    count: str
    """How well `total_params` is known: verified, quoted, recalled or computed (from the shape)."""
    source: str
    """Repository and path, or paper."""
    note: str = ""
    """What the model has that a `Shape` does not say; changes no count."""


def read_model(name: str) -> KnownModel:
    """The known model called `name`.

    Raises:
        InputError: no such model; the message names the nearest.

    Example:
        >>> read_model("Llama-3.1-8B").shape.d_ff
        14336
    """
    tables = read_tables()
    names = {
        plain_name(spelling): key
        for key, table in tables.items()
        for spelling in (key, *table.get("aliases", ()))
    }
    key = names.get(plain_name(name))
    if key is None:
        known = [s for key, table in tables.items() for s in (key, *table.get("aliases", ()))]
        nearest = nearest_name(name.lower(), known) or "; llama-3-8b and gpt2-xl are two"
        raise InputError(f"--model '{name}': no such model{nearest}")
    return parse_model(key, tables[key])


def list_models() -> list[str]:
    """Names of all known models, in the order of the file, without their aliases."""
    return list(read_tables())


def parse_model(name: str, table: dict[str, Any]) -> KnownModel:
    """A known model from its table of the file.

    Raises:
        InputError: a key that means nothing, one that is missing, or a shape that cannot be.
    """
    where = f"{SHAPES_FILE} {name}"
    shape_keys = {field.name for field in fields(Shape)}
    model_keys = {field.name for field in fields(KnownModel)} - {"name", "shape"}
    for key in table:
        if key not in shape_keys | model_keys:
            raise InputError(f"{where}: no such key '{key}'{nearest_name(key, shape_keys)}")
    rest = {key: value for key, value in table.items() if key in model_keys}
    aliases = tuple(rest.pop("aliases", ()))
    try:
        shape = Shape(**{key: value for key, value in table.items() if key in shape_keys})
        model = KnownModel(name=name, shape=shape, aliases=aliases, **rest)
    except TypeError as error:
        raise InputError(f"{where}: {error}") from error
    check_shape(shape, where=where)
    return model


@cache
def read_tables() -> dict[str, dict[str, Any]]:
    """The file's tables by model name, read once."""
    # By name, since mypy does not know the mapped package, and not by importlib.resources, whose
    # import takes longer than the reading.
    folder = import_module("planner.data").__path__[0]
    return tomllib.loads((Path(folder) / SHAPES_FILE).read_text("utf-8"))


def plain_name(name: str) -> str:
    """`name` in lower case without hyphens, underscores and spaces."""
    return "".join(letter for letter in name.lower() if letter not in "-_ ")
