"""MLflow's folder `mlruns`, read as the files it is: no package, no server.

An experiment is a folder of runs; a run has `meta.yaml`, and one file a parameter (`params/`), tag
(`tags/`) and metric (`metrics/`, lines of "timestamp value step").
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from fitting.errors import InputError
from fitting.runs.readers import RunsReader, Track, as_table

STATES = {"1": "running", "2": "scheduled", "3": "finished", "4": "failed", "5": "killed"}
"""MLflow's RunStatus by number (mlflow/protos/service.proto)."""


def _recognizes(path: str) -> bool:
    """Whether it is a folder with a run or with experiments."""
    return Path(path).is_dir() and bool(mlflow_runs(Path(path)))


def _read(path: str, track: Track) -> pd.DataFrame:
    """One row a run: parameters, the last value of each metric, `run_id`, `status`.

    A metric whose name is also a parameter's is called `metrics.NAME`. Deleted runs are left out.

    Raises:
        InputError: no run is in it, or a metric's file has no number.
    """
    rows = [read_run(folder) for folder in track(mlflow_runs(Path(path)), "reading MLflow runs")]
    return as_table([row for row in rows if row is not None], path, "MLflow run")


def mlflow_runs(root: Path) -> list[Path]:
    """Folders of runs in a run, an experiment or `mlruns`."""
    metas = [*root.glob("meta.yaml"), *root.glob("*/meta.yaml"), *root.glob("*/*/meta.yaml")]
    return sorted(meta.parent for meta in metas if (meta.parent / "metrics").is_dir())


def read_run(folder: Path) -> dict[str, object] | None:
    """One run as a row, or None for a deleted one."""
    # meta.yaml of a run is flat, so that its lines are all there is to it.
    lines = (folder / "meta.yaml").read_text("utf-8").splitlines()
    pairs = [line.partition(":") for line in lines]
    meta = {key.strip(): value.strip().strip("'\"") for key, _, value in pairs}
    if meta.get("lifecycle_stage") == "deleted":
        return None
    row: dict[str, object] = {"run_id": meta.get("run_id", folder.name)}
    if "status" in meta:
        row["status"] = STATES.get(meta["status"], meta["status"])
    for file in files_below(folder / "params"):
        row[name_below(file, folder / "params")] = file.read_text("utf-8").strip()
    for file in files_below(folder / "metrics"):
        name = name_below(file, folder / "metrics")
        row[f"metrics.{name}" if name in row else name] = last_value(file)
    return row


def files_below(folder: Path) -> list[Path]:
    """Files at any depth: a metric `eval/loss` is a file in a folder."""
    return sorted(file for file in folder.rglob("*") if file.is_file())


def name_below(file: Path, folder: Path) -> str:
    """The name of a metric or parameter."""
    return file.relative_to(folder).as_posix()


def last_value(file: Path) -> str:
    """The value at the last step of a metric, the latest where a step was logged twice.

    Raises:
        InputError: a line is not "timestamp value step".
    """
    last, found = (-1, -1), ""
    for number, line in enumerate(file.read_text("utf-8").splitlines(), start=1):
        try:
            timestamp, value, step = line.split()[:3]
            when = (int(step), int(timestamp))
        except ValueError as error:
            raise InputError(
                f"{file} row {number}: '{line[:40]}' is not timestamp, value and step"
            ) from error
        if when >= last:
            last, found = when, value
    return found


READER = RunsReader(_recognizes, _read)
