"""SPEC.toml to a checked `SweepSpec`, and its JSON schema for editors."""

from __future__ import annotations

import json
import tomllib
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from fitting.errors import InputError, nearest_name
from proxies.sweep.axes import is_varied, lattice, sequence_bounds
from proxies.sweep.cells import (
    check_schedules,
    expand_cells,
    family_shapes,
    member_parametrization,
)
from proxies.sweep.spec import AxisRange, SweepSpec

if TYPE_CHECKING:
    from pathlib import Path

AXIS_KINDS = ("value", "list", "range")
"""Steps of pydantic's path to an error that are no keys of the file."""

ANY_VOCAB = 256
"""Stands for the tokenizer's vocabulary in checks, none of which depends on it."""


def read_spec(path: Path) -> SweepSpec:
    """A sweep's spec, checked as far as no corpus, law or machine is needed.

    Args:
        path: SPEC.toml (`plan schema spec` says its keys).

    Raises:
        InputError: the file, the key, what is wrong with its value and what would be right.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file in UTF-8") from error
    return parse_spec(text, where=str(path))


def parse_spec(text: str, *, where: str) -> SweepSpec:
    """A sweep's spec from the text of its file.

    Raises:
        InputError: as `read_spec`.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{where}: not valid TOML: {error}") from error
    try:
        # Through JSON, because only there does strict mode (a quoted "1" is no number) take lists.
        spec = spec_adapter().validate_json(json.dumps(raw, default=str), strict=True)
    except ValidationError as error:
        raise InputError(f"{where} {say_error(error)}") from error
    try:
        _check_sweep(spec)
    except InputError as error:
        raise InputError(f"{where} {error}") from error
    return spec


def spec_schema() -> dict[str, Any]:
    """The JSON schema of SPEC.toml, with each key's meaning, for editors."""
    return spec_adapter().json_schema()


@cache
def spec_adapter() -> TypeAdapter[SweepSpec]:
    """pydantic's reading of a spec; kept, because building it takes longer than using it."""
    return TypeAdapter(SweepSpec)


def say_error(error: ValidationError) -> str:
    """One of pydantic's errors as `[table] key: what is wrong`; a misspelt key before others."""
    errors = error.errors()
    first = next((e for e in errors if e["type"] == "unexpected_keyword_argument"), errors[0])
    path = [step for step in first["loc"] if step not in AXIS_KINDS]
    table = f"[{path[0]}]" if path else "spec"
    key = "".join(f" {step}" if isinstance(step, str) else f"[{step}]" for step in path[1:])
    where = f"{table}{key}"
    if first["type"] == "missing":
        return f"{where}: missing"
    if first["type"] == "unexpected_keyword_argument":
        return f"{where}: no such {'key' if key else 'table'}{nearest_key(path)}"
    said = first["msg"].removeprefix("Value error, ").removeprefix("count ")
    return f"{where}: {first['input']!r} given; {said[0].lower()}{said[1:]}"


def nearest_key(path: list[Any]) -> str:
    """The known key most like the last one of a path, as the end of a message."""
    schema = spec_schema()
    known = schema
    for step in path[:-1]:
        reference = known.get("properties", {}).get(step, {}).get("$ref", "")
        known = schema["$defs"].get(reference.rpartition("/")[2], {})
    return nearest_name(str(path[-1]), known.get("properties", {}))


def _check_sweep(spec: SweepSpec) -> None:
    """Refuse what no single field shows.

    Raises:
        InputError: the key, what is wrong with its value and what would be right.
    """
    check_search(spec)
    budget = spec.budget
    if (budget.tokens is None) == (budget.tokens_per_param is None):
        raise InputError("[budget]: give one of tokens and tokens_per_param")
    model = spec.model
    if model.tied_embeddings and spec.run.head_init_std is not None:
        raise InputError(
            f"[run] head_init_std: {spec.run.head_init_std:g}, but the head is the embedding; "
            "leave it out, or leave out tied_embeddings"
        )
    for shape in family_shapes(model, vocab_size=ANY_VOCAB):
        try:
            member_parametrization(model, shape)
        except InputError as error:
            raise InputError(f"[model] {error}") from error
    cells = expand_cells(spec, vocab_size=ANY_VOCAB)
    if budget.flops is not None and budget.flops < cells[0].flops:
        raise InputError(
            f"[budget] flops: {budget.flops:.3g} is less than one run of the smallest cell, "
            f"{cells[0].flops:.3g}"
        )
    check_schedules(spec, cells)


def check_search(spec: SweepSpec) -> None:
    """Refuse axes that no batch or sampler fits."""
    search, seq_len = spec.search, spec.run.seq_len
    for name in ("lr", "batch_tokens", "weight_decay"):
        axis = getattr(search, name)
        if isinstance(axis, AxisRange) and axis.low >= axis.high:
            raise InputError(f"[search] {name}: low {axis.low:g} is not below high {axis.high:g}")
    batch = search.batch_tokens
    if isinstance(batch, AxisRange):
        low, high = sequence_bounds(batch, seq_len=seq_len)
        if high <= low:
            raise InputError(
                f"[search] batch_tokens: {batch.low:g} to {batch.high:g} holds fewer than 2 whole "
                f"numbers of sequences of {seq_len} tokens"
            )
    else:
        for value in lattice(batch):
            if value % seq_len:
                raise InputError(
                    f"[search] batch_tokens: {value:g} is not a multiple of seq_len {seq_len}"
                )
    check_sampler(spec)


def check_sampler(spec: SweepSpec) -> None:
    """Refuse what a sampler cannot search."""
    search = spec.search
    axes = (search.lr, search.batch_tokens, search.weight_decay)
    if search.law is not None and search.start is not None:
        raise InputError("[search]: give one of law and start")
    if (search.sampler == "target") != (search.target is not None):
        raise InputError(
            "[search] target: the sampler target needs one and no other takes one; give "
            'target = { params = "1B", tokens = "20B" } and sampler = "target", or neither'
        )
    if search.sampler in ("cells", "target"):
        if search.sampler == "cells" and search.law is None and search.start is None:
            raise InputError("[search] sampler: cells starts from a law; give law or start")
        if search.sampler == "target" and search.start is not None:
            raise InputError("[search] start: target starts from a law; give law, or neither")
        if is_varied(search.weight_decay):
            raise InputError(
                f"[search] weight_decay: {search.sampler} searches lr and batch_tokens; give one "
                "weight decay, or sampler tpe, gp or grid"
            )
        if not any(map(is_varied, axes)):
            raise InputError("[search]: lr and batch_tokens have one value each; give a range")
    elif spec.budget.interval_width is not None:
        raise InputError(
            f"[budget] interval_width: the sampler {search.sampler} knows no interval; "
            "use cells or target"
        )
    if search.sampler == "cma" and any(isinstance(axis, tuple) for axis in axes):
        raise InputError("[search] sampler: cma searches ranges, not lists; give low and high")
