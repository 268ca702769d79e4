"""The published configs that `plan check` is tried on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


CONFIGS = Path(__file__).parents[1] / "fixtures" / "published_configs"
"""One file a run, named RUN.TRAINER.SUFFIX."""


def published_configs() -> dict[str, tuple[str, Path]]:
    """Trainer and file of every config, by name."""
    found = {}
    for path in sorted(CONFIGS.iterdir()):
        name, trainer, _ = path.name.rsplit(".", 2)
        found[name] = (trainer, path)
    return found
