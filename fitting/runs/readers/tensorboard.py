"""TensorBoard event files: one run a folder, the last value of each scalar, and its hparams."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from fitting.errors import InputError
from fitting.runs.readers import RunsReader, Track, as_table

EVENT_FILES = "*tfevents*"
"""Names of event files."""

HPARAMS_TAG = "_hparams_/session_start_info"
"""Where the hparams plugin keeps a run's hyperparameters."""

EVERYTHING = 0
"""Events kept a tag; 0 means all. The last is needed, and a reservoir might not keep it."""


def _recognizes(path: str) -> bool:
    """Whether it is an event file or a folder that has some."""
    return bool(event_folders(Path(path)))


def _read(path: str, track: Track) -> pd.DataFrame:
    """One row a folder with event files: `run_id`, `step` (last), hparams and last scalars.

    Raises:
        InputError: the package `tensorboard` is absent, or no run is in the path.
    """
    root, rows = Path(path), []
    for folder in track(event_folders(root), "reading event files"):
        events = open_events(folder, where=path)
        # A folder may hold several event files, as after a restart: the accumulator joins them.
        name = folder.relative_to(root).as_posix() if folder != root else folder.name
        rows.append({"run_id": name} | hyperparameters(events) | last_scalars(events))
    return as_table(rows, path, "TensorBoard run")


def open_events(folder: Path, *, where: str) -> Any:
    """Every scalar of a folder's event files, as tensorboard's accumulator.

    Raises:
        InputError: the package `tensorboard` is absent.
    """
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError as error:
        raise InputError(
            f"{where}: event files need the package tensorboard; pip install tensorboard"
        ) from error
    guidance = {"scalars": EVERYTHING, "tensors": 0}
    events = EventAccumulator(str(folder), size_guidance=guidance)
    events.Reload()
    return events


def event_folders(root: Path) -> list[Path]:
    """An event file itself, or every folder with event files."""
    if root.is_file():
        return [root] if "tfevents" in root.name else []
    return sorted({file.parent for file in root.rglob(EVENT_FILES)})


def last_scalars(events: Any) -> dict[str, object]:
    """The last value of each scalar by tag, and the last step of all as `step`."""
    last = {tag: events.Scalars(tag)[-1] for tag in events.Tags()["scalars"]}
    found: dict[str, object] = {tag: event.value for tag, event in last.items()}
    for tag in events.Tags()["tensors"]:
        # Writers of TensorFlow 2 keep scalars as tensors of one number.
        event = events.Tensors(tag)[-1]
        numbers = event.tensor_proto.float_val
        if len(numbers) == 1:
            last[tag], found[tag] = event, numbers[0]
    if last:
        found["step"] = max(event.step for event in last.values())
    return found


def hyperparameters(events: Any) -> dict[str, object]:
    """What the hparams plugin was told of the run; empty where it was not used."""
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    content = events.summary_metadata.get(HPARAMS_TAG)
    if content is None:
        return {}
    data = HParamsPluginData.FromString(content.plugin_data.content)
    return {
        name: getattr(value, value.WhichOneof("kind"))
        for name, value in data.session_start_info.hparams.items()
    }


READER = RunsReader(_recognizes, _read)
