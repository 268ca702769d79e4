"""Published training recipes: what was run, not what was best.

One row a trained model. A plan names the nearest of them beside its own numbers, and the law
`practice` is fitted to those that `Recipe.is_comparable` keeps.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

from fitting.errors import InputError

RECIPES_FILE = "recipes.csv"
"""In the data folder of the package."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one published dense model was trained; None where its source does not say."""

    run: str
    """As people name it: SmolLM2 135M."""
    key: str
    """Unique, in lower case."""
    lab: str
    """Who trained it."""
    family: str
    """Whose lr table it follows: `gpt3` where GPT-3's was reused, otherwise the lab."""
    params: int
    """Non-embedding, the final norm included."""
    total_params: int | None
    tokens: int
    """Trained on, or planned where the source says so."""
    lr: float
    """Peak that was actually run; for `mup` at the base width, for `muon` of the matrices."""
    batch_tokens: int | None
    """The main batch, after any ramp."""
    weight_decay: float | None
    warmup_steps: int | None
    schedule: str
    """cosine, linear, wsd, wsd-s, multi-step or cosine-inverse-sqrt."""
    final_lr_fraction: float | None
    """Final over peak lr that the schedule was set to, in [0, 1]."""
    optimizer: str
    """adamw or muon."""
    parametrization: str
    """sp, mup, or other."""
    seq_len: int
    evidence: str
    """verified, quoted or recalled: the weakest of what is known of lr and batch."""
    tuned: str
    """`choice`: nobody published a sweep that this lr is the optimum of."""
    source: str
    """Repository and path, or arXiv identifier."""

    @property
    def is_comparable(self) -> bool:
        """Whether its lr means what an AdamW plan in SP means by it."""
        return self.optimizer == "adamw" and self.parametrization == "sp"


def read_recipes() -> list[Recipe]:
    """All published recipes, in the file's order.

    Raises:
        InputError: a row of the file does not hold a recipe.
    """
    return list(read_file())


@cache
def read_file() -> tuple[Recipe, ...]:
    """The file's recipes, read once."""
    # By name, since mypy does not know the mapped package, and not by importlib.resources, whose
    # import takes longer than the reading.
    path = Path(import_module("planner.data").__path__[0]) / RECIPES_FILE
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        return tuple(
            parse_recipe(row, where=f"{RECIPES_FILE} line {rows.line_num}") for row in rows
        )


def parse_recipe(row: dict[str, str], *, where: str) -> Recipe:
    """A row of the file as a recipe.

    Raises:
        InputError: a column is missing or is not a number where it must be.
    """
    try:
        return Recipe(
            params=int(row["params"]),
            total_params=whole_or_none(row["total_params"]),
            tokens=int(row["tokens"]),
            lr=float(row["lr"]),
            batch_tokens=whole_or_none(row["batch_tokens"]),
            weight_decay=number_or_none(row["weight_decay"]),
            warmup_steps=whole_or_none(row["warmup_steps"]),
            final_lr_fraction=number_or_none(row["final_lr_fraction"]),
            seq_len=int(row["seq_len"]),
            **{name: row[name] for name in TEXT_COLUMNS},
        )
    except KeyError as error:
        raise InputError(f"{where}: has no column {error.args[0]}") from error
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error


TEXT_COLUMNS = (
    "run",
    "key",
    "lab",
    "family",
    "schedule",
    "optimizer",
    "parametrization",
    "evidence",
    "tuned",
    "source",
)
"""Columns that hold words."""


def whole_or_none(text: str) -> int | None:
    """A whole number, or None for an empty cell."""
    return int(text) if text else None


def number_or_none(text: str) -> float | None:
    """A number, or None for an empty cell."""
    return float(text) if text else None


def nearest_recipes(params: float, tokens: float, *, count: int = 3) -> list[Recipe]:
    """The published recipes nearest to a plan, comparable ones (AdamW in SP) before all others.

    Distance is sqrt(ln(N/N')^2 + ln(D/D')^2).

    Args:
        params: N, non-embedding, > 0.
        tokens: D, > 0.
        count: how many, >= 1.

    Returns:
        At most `count` recipes, nearest first.
    """

    def rank(recipe: Recipe) -> tuple[bool, float]:
        distance = math.hypot(math.log(recipe.params / params), math.log(recipe.tokens / tokens))
        return not recipe.is_comparable, distance

    return sorted(read_file(), key=rank)[:count]
