"""What a calibration's folder holds beside its sweep: what was asked, the laws and the plan.

calibration.json  what was asked for; another request is refused
laws.toml         the laws of its runs
plan.json         the plan by these laws
report.html       all of it on one page
The rest is the sweep's (`proxies.sweep.folder.about`).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from fitting.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

ASKED = "calibration.json"
LAWS = "laws.toml"
PLAN = "plan.json"
REPORT = "report.html"
RUNS = "runs.parquet"
RESULTS = "results.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a calibration is for; the same command asks for the same."""

    params: float
    """Non-embedding, of the target."""
    tokens: float
    """Of the target's training."""
    seq_len: int
    """Of the target."""
    vocab_size: int
    """Of the target."""
    budget: str
    """As typed: FLOPs, or a time."""
    corpus: str
    tokenizer: str
    parametrization: str
    optimizer: str
    prior: str
    """Name of the law that is combined with the runs, or none."""
    interval: float
    """Upper over lower end of the interval at the target at which the sweep is done, > 1."""
    seed: int


def check_folder(folder: Path, request: Request) -> None:
    """Refuse a folder that was made for something else.

    Raises:
        InputError: naming what differs, or what is there.
    """
    path = folder / ASKED
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {folder}: is a file; name a folder")
    if path.exists():
        before = read_request(path)
        for name in (f.name for f in fields(Request)):
            was, now = getattr(before, name), getattr(request, name)
            if was != now:
                raise InputError(
                    f"{folder}: was made for {name} {was}, not {now}; repeat that, or name "
                    "another DIR"
                )
    elif (folder / RESULTS).exists():
        raise InputError(f"{folder}: has a sweep that no calibration made; name a new DIR")


def write_request(folder: Path, request: Request) -> None:
    """Write down what a folder is made for, before its first run."""
    from fitting.files import replace_file

    replace_file(folder / ASKED, (json.dumps(asdict(request), indent=1) + "\n").encode())


def read_request(path: Path) -> Request:
    """What a folder was made for.

    Raises:
        InputError: the file is damaged.
    """
    try:
        return Request(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: damaged; a new DIR starts over") from error
