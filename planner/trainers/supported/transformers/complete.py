"""Configs that say half of a run: what the user adds takes the place of what they leave out.

transformers alone splits a run over files that are often apart: `TrainingArguments` know neither
the model nor the number of devices, and count epochs where no steps are given.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from fitting.errors import InputError
from planner.trainers.files import Files, Given, read_files
from planner.trainers.supported.transformers.folder import ARGUMENTS, CONFIG, MODELS, json_of
from planner.trainers.values import as_float, as_int
from proxies.run.defaults import SEQ_LEN, VOCAB_SIZE
from proxies.run.sizing import choose_shape


def complete(path: Path, given: Given) -> tuple[Files, tuple[str, ...]]:
    """The arguments and the model's config of a run, whatever of them there is at `path`.

    Args:
        path: the folder, one of its two files, or a file of another name with either or both.
        given: facts that the files leave out.

    Raises:
        InputError: a fact that is in no file and is not given, by the option that gives it.
    """
    files = read_beside(path)
    arguments = json_of(files, ARGUMENTS)
    config = model_of(files)
    notes: list[str] = []
    if config.get("model_type") not in MODELS:
        config = usual_model(config, given, notes)
    elif given.seq_len is not None:
        # The config has the longest sequence that the model takes, not that of the run.
        config["max_position_embeddings"] = given.seq_len
    config["windtunnel"] = {"data_parallel": devices_of(config, given, notes)}
    arguments["max_steps"] = steps_of(arguments, config, given, notes)
    arguments["warmup_steps"] = warmup_of(arguments)
    return {
        ARGUMENTS: json.dumps(arguments),
        CONFIG: json.dumps(config),
    }, tuple(notes)


def read_beside(path: Path) -> Files:
    """The two files of a folder, also where only one of them is named; else one file."""
    if path.name not in (ARGUMENTS, CONFIG):
        return read_files(path)
    beside = [path.with_name(name) for name in (ARGUMENTS, CONFIG)]
    return {
        found.name: read_files(found)[""] for found in beside if found == path or found.exists()
    }


def model_of(files: Files) -> dict[str, Any]:
    """The model's config; empty where there is none."""
    if CONFIG in files or "" in files:
        return json_of(files, CONFIG)
    return {}


def usual_model(config: dict[str, Any], given: Given, notes: list[str]) -> dict[str, Any]:
    """The config of a usual shape of the params given.

    Raises:
        InputError: no params are given.
    """
    kind = config.get("model_type")
    if given.params is None and kind is not None:
        raise InputError(
            f"model_type {kind!r} is not one of {', '.join(MODELS)}; give plan check "
            "and plan import-config its --params"
        )
    if given.params is None:
        raise InputError(
            f"says no model (model_type); put {CONFIG} beside it, or give plan check "
            "and plan import-config its --params"
        )
    shape = choose_shape(given.params, vocab_size=VOCAB_SIZE, tied_embeddings=False).shape
    seq_len = given.seq_len or SEQ_LEN
    missing = "no model in the file" if kind is None else f"model_type {kind!r} is not read"
    notes.append(f"{missing}: a usual one of --params, sequences of {seq_len} tokens")
    sizes = {
        "model_type": "llama",
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.d_model,
        "intermediate_size": shape.d_ff,
        "num_hidden_layers": shape.n_layers,
        "num_attention_heads": shape.n_heads,
        "num_key_value_heads": shape.n_kv_heads,
        "max_position_embeddings": seq_len,
    }
    return {**config, **sizes}


def devices_of(config: dict[str, Any], given: Given, notes: list[str]) -> int:
    """Devices of the run: those of an export, else as given, else one."""
    said = (config.get("windtunnel") or {}).get("data_parallel")
    if said is None and given.devices is None:
        notes.append("the file does not say on how many devices: taken as 1 (--devices)")
    return said or given.devices or 1


def steps_of(
    arguments: dict[str, Any], config: dict[str, Any], given: Given, notes: list[str]
) -> int:
    """Steps of the run: the file's, else those of the tokens given.

    Raises:
        InputError: neither.
    """
    steps = as_int(arguments, "max_steps", -1)
    if steps > 0:
        return steps
    if given.tokens is None:
        raise InputError(
            "says no max_steps; add them, or give plan check and plan import-config the --tokens"
        )
    batch: int = (
        as_int(arguments, "per_device_train_batch_size", 8)
        * as_int(arguments, "gradient_accumulation_steps", 1)
        * config["windtunnel"]["data_parallel"]
        * as_int(config, "max_position_embeddings")
    )
    notes.append("no max_steps in the file: those of --tokens")
    return math.ceil(given.tokens / batch)


def warmup_of(arguments: dict[str, Any]) -> int:
    """Warmup in steps, also where it is said as a share of them, as transformers rounds it."""
    ratio = as_float(arguments, "warmup_ratio", 0.0)
    warmup = as_float(arguments, "warmup_steps", 0.0)
    if 0 < warmup < 1:
        ratio, warmup = warmup, 0.0
    return round(warmup) if warmup else math.ceil(ratio * as_int(arguments, "max_steps"))
