"""The folder of a transformers run: the names of its files, its models, its JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fitting.errors import InputError

if TYPE_CHECKING:
    from planner.trainers.files import Files

ARGUMENTS, CONFIG, README = "training_args.json", "config.json", "README.txt"

MODELS = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
"""Model type and class: qwen2 has biases on queries, keys and values, qwen3 norms on q and k."""


def json_of(files: Files, name: str) -> dict[str, Any]:
    """One of the folder's JSON files; the whole of a single file."""
    text = files.get(name, files.get(""))
    if text is None:
        raise InputError(f"transformers: no {name} in the folder")
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InputError(f"transformers: {name} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"transformers: {name} is not a JSON object")
    return found
