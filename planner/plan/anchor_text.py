"""Anchors as typed: `params=134M tokens=2.7B lr=8e-3 batch=0.5M weight-decay=0.1`, or a file.

A file is a runs table, with an anchor a cell, the JSON of a plan that was carried out, or
`TRAINER:FILE`, the config of a run in its trainer's own words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fitting.errors import InputError, nearest_name
from fitting.units import parse_count
from planner.facts.anchor import DEFAULT_GRID, Anchor, make_anchor, own_errors

LARGEST_GRID = 100.0
"""Factor between values tried above which nobody has tuned anything."""

KEYS = (
    "params",
    "tokens",
    "lr",
    "batch",
    "batch-sequences",
    "seq-len",
    "weight-decay",
    "loss",
    "grid",
    "optimizer",
    "parametrization",
    "width",
    "base-width",
)
"""What an anchor written as text may say."""

OTHER_NAMES = {"batch-tokens": "batch", "wd": "weight-decay"}
"""What people write too, and the key that it means."""

FORMS = (
    "'params=134M tokens=2.7B lr=8e-3', a runs table (.csv, .parquet), a plan (.json) or a "
    "trainer's config (transformers:FILE)"
)
"""What `--anchor` takes."""

CONFIG = re.compile(r"[a-z_-]+:(?!//)")
"""How a trainer's config starts: with the trainer's name."""

KEYED = re.compile(r"[^/]*=")
"""How key=value text starts, so that a value that ends like a file is none."""

PAIR = re.compile(r"([A-Za-z][A-Za-z_-]*)\s*=\s*([^\s,=]+)[\s,]*")


def read_anchors(texts: Sequence[str], *, seq_len: int) -> tuple[Anchor, ...]:
    """Anchors as given on the command line.

    Args:
        texts: key=value text, the path of a runs table or a plan, or TRAINER:FILE, each.
        seq_len: tokens a sequence of a batch that is given in sequences.

    Raises:
        InputError: what is wrong with which, and what would be right.
    """
    return tuple(
        replace(anchor, given=text)
        for text in texts
        for anchor in read_anchor(text, seq_len=seq_len)
    )


def read_anchor(text: str, *, seq_len: int) -> tuple[Anchor, ...]:
    """The anchors of one `--anchor`; a runs table has one a cell.

    Raises:
        InputError: neither text with an equals sign nor a file that is known.
    """
    if CONFIG.match(text):
        # Imported here because trainers load what their formats need.
        from planner.plan.anchor_config import anchor_of_config

        return (anchor_of_config(text),)
    suffix = Path(text).suffix.lower()
    if suffix in (".json", ".csv", ".parquet") and not KEYED.match(text):
        # Imported here because tables load pandas.
        from planner.plan.anchor_files import anchor_of_plan, anchors_of_runs

        return (anchor_of_plan(Path(text)),) if suffix == ".json" else anchors_of_runs(Path(text))
    if "=" not in text:
        raise InputError(f"--anchor '{text}': is not taken; give {FORMS}")
    return (parse_anchor(text, seq_len=seq_len),)


def parse_anchor(text: str, *, seq_len: int) -> Anchor:
    """An anchor from key=value text.

    Raises:
        InputError: a key that is unknown, twice or missing, or a value out of bounds.

    Example:
        >>> parse_anchor("params=134M tokens=2.7B lr=8e-3 batch=0.5M", seq_len=2048).batch_tokens
        500000.0
    """
    where = f"--anchor '{text}'"
    given = split_pairs(text, where=where)
    for name in ("params", "tokens", "lr"):
        if name not in given:
            example = {"params": "134M", "tokens": "2.7B", "lr": "8e-3"}[name]
            raise InputError(f"{where}: has no {name}; add {name}={example}")
    numbers = {
        name: parse_count(given[name], where=f"{where} {name}")
        for name in KEYS
        if name in given and name not in ("optimizer", "parametrization", "weight-decay")
    }
    batch = batch_of(numbers, seq_len=seq_len, where=where)
    decay = decay_of(given, where=where)
    grid = numbers.get("grid", DEFAULT_GRID)
    if not 1 < grid <= LARGEST_GRID:
        raise InputError(
            f"{where} grid {grid:g}: is the factor between the values tried, above 1 and at most "
            f"{LARGEST_GRID:g}"
        )
    return make_anchor(
        where,
        params=numbers["params"],
        tokens=numbers["tokens"],
        lr=numbers["lr"],
        batch_tokens=batch,
        weight_decay=decay,
        loss=numbers.get("loss"),
        optimizer=given.get("optimizer"),
        parametrization=given.get("parametrization"),
        d_model=whole(numbers.get("width"), where=f"{where} width"),
        base_d_model=whole(numbers.get("base-width"), where=f"{where} base-width"),
        log_sd=own_errors(grid, batch_tokens=batch, weight_decay=decay, loss=numbers.get("loss")),
    )


def split_pairs(text: str, *, where: str) -> dict[str, str]:
    """Keys and values of an anchor's text, keys with hyphens.

    Raises:
        InputError: a part without an equals sign, or a key unknown or given twice.
    """
    found: dict[str, str] = {}
    position = 0
    stripped = text.strip()
    while position < len(stripped):
        match = PAIR.match(stripped, position)
        if match is None:
            rest = stripped[position:].split()[0]
            raise InputError(f"{where}: '{rest}' is not key=value; write lr=8e-3")
        key, value = match[1].lower().replace("_", "-"), match[2]
        key = OTHER_NAMES.get(key, key)
        if key not in KEYS:
            raise InputError(
                f"{where}: unknown key '{key}'{nearest_name(key, KEYS)}; one of {', '.join(KEYS)}"
            )
        if key in found:
            raise InputError(f"{where}: {key} is given twice; leave one out")
        found[key] = value
        position = match.end()
    return found


def batch_of(numbers: Mapping[str, float], *, seq_len: int, where: str) -> float | None:
    """The batch in tokens, given in tokens or in sequences.

    Raises:
        InputError: given both ways, or a sequence length that nothing uses.
    """
    if "batch-sequences" not in numbers:
        if "seq-len" in numbers:
            raise InputError(f"{where}: seq-len is for batch-sequences; leave it out or give both")
        return numbers.get("batch")
    if "batch" in numbers:
        raise InputError(f"{where}: batch and batch-sequences are given; leave one out")
    return numbers["batch-sequences"] * numbers.get("seq-len", float(seq_len))


def decay_of(given: Mapping[str, str], *, where: str) -> float | None:
    """The weight decay; one of 0 anchors nothing.

    Raises:
        InputError: 0, which has no logarithm, or no number.
    """
    if "weight-decay" not in given:
        return None
    text = given["weight-decay"]
    try:
        zero = float(text) == 0
    except ValueError:
        zero = False
    if zero:
        raise InputError(
            f"{where}: weight-decay 0 has no logarithm and moves nothing; leave it out"
        )
    return parse_count(text, where=f"{where} weight-decay")


def whole(value: float | None, *, where: str) -> int | None:
    """A width as a whole number.

    Raises:
        InputError: it is not one.
    """
    if value is not None and not value.is_integer():
        raise InputError(f"{where} {value:g}: must be a whole number")
    return None if value is None else int(value)
