"""Weights & Biases without its package: exports of the runs page, of a chart, and local folders.

A runs page has a row a run with `Name` and `State`. A chart has `Step` and, for each run, a column
"RUN - METRIC": the last value counts. A local folder has `files/config.yaml` and
`files/wandb-summary.json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from fitting.errors import InputError
from fitting.files import read_table
from fitting.runs.readers import RunsReader, Track, as_table

SUMMARY = "wandb-summary.json"
"""Last value of each metric of a run, in its folder `files`."""

RANGE_SUFFIXES = ("__MIN", "__MAX")
"""Endings of a chart's columns that hold the range within a pixel, not a value."""

SEPARATOR = " - "
"""Between run and metric in a chart's columns."""


def _recognizes(path: str) -> bool:
    """Whether it is an export of a runs page or a chart, or a folder of runs."""
    source = Path(path)
    if source.is_dir():
        return bool(summaries(source))
    if source.suffix != ".csv":
        return False
    with source.open("rb") as file:
        header = file.readline().decode("utf-8-sig", errors="replace")
    names = {name.strip().strip('"') for name in header.split(",")}
    return {"Name", "State"} <= names or is_chart(names)


def _read(path: str, track: Track) -> pd.DataFrame:
    """One row a run, with `run_id`, and `status` where the source says it.

    Raises:
        InputError: neither an export nor a folder of runs, or a file in it is damaged.
    """
    source = Path(path)
    if source.is_dir():
        rows = [read_folder(file) for file in track(summaries(source), "reading W&B runs")]
        return as_table(rows, path, f"W&B run ({SUMMARY})")
    table = read_table(source)
    names = set(table.columns)
    if is_chart(names):
        return read_chart(table, path)
    if "Name" not in names:
        raise InputError(f"{path}: no column Name; export the table of the runs page as CSV")
    # Two runs may have one display name, while an ID is unique.
    return table.rename(columns={"ID" if "ID" in names else "Name": "run_id", "State": "status"})


def is_chart(names: set[str]) -> bool:
    """Whether a header is that of an exported chart."""
    return "Step" in names and any(SEPARATOR in name for name in names)


def read_chart(table: pd.DataFrame, path: str) -> pd.DataFrame:
    """The last value of each run's metric, at its last step."""
    rows: dict[str, dict[str, object]] = {}
    for column in table.columns:
        if SEPARATOR not in column or column.endswith(RANGE_SUFFIXES):
            continue
        run, _, metric = column.rpartition(SEPARATOR)
        if metric == "_step":
            continue
        filled = table[column][table[column].notna() & (table[column] != "")]
        row = rows.setdefault(run, {"run_id": run})
        if len(filled):
            row |= {metric: filled.iloc[-1], "step": table.loc[filled.index[-1], "Step"]}
    return as_table(list(rows.values()), path, "run of a chart")


def summaries(root: Path) -> list[Path]:
    """Summary files below a folder, each of one run."""
    return sorted(root.rglob(SUMMARY))


def read_folder(summary: Path) -> dict[str, object]:
    """One run of a local folder: its configuration, then its last metrics.

    Raises:
        InputError: a file is not what its name says.
    """
    try:
        metrics = json.loads(summary.read_text("utf-8"))
        config = read_config(summary.parent / "config.yaml")
    except (OSError, ValueError) as error:
        raise InputError(f"{summary.parent}: a damaged W&B run ({error})") from error
    flat = flatten(config) | flatten(metrics)
    # The folder above `files` is named offline-run-DATE_TIME-ID.
    return flat | {"run_id": summary.parent.parent.name.rpartition("-")[2]}


def read_config(path: Path) -> dict[str, Any]:
    """Hyperparameters of a run by name; empty where none were saved.

    Raises:
        ValueError: not YAML.
    """
    import yaml

    if not path.is_file():
        return {}
    try:
        raw = yaml.safe_load(path.read_text("utf-8")) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path.name} is not YAML") from error
    entries = raw.items() if isinstance(raw, dict) else ()
    return {
        name: entry["value"] if isinstance(entry, dict) and "value" in entry else entry
        for name, entry in entries
        if name not in {"_wandb", "wandb_version"}
    }


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    """Nested values under dotted names, as the runs page shows them."""
    flat: dict[str, object] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


READER = RunsReader(_recognizes, _read)
