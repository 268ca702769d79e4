"""What is at hand for a page: a plan, laws, runs, a sweep, a curve law.

A folder is read for `plan.json`, `laws.toml`, `curve.toml`, `runs.parquet` and `sweep.json`. A
plan says which law files it was given, taken only where their sha256 is the plan's; a law file's
command leads to its runs, which are fitted again for the audit and the optima.
"""

from __future__ import annotations

import hashlib
import math
import shlex
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from fitting.errors import FitError, InputError
from fitting.laws.file import read_law
from fitting.units import parse_count
from planner.facts.laws import DEFAULT_LAWS, read_lawbook
from planner.plan.file import load_plan
from planner.plan.reuse import known_laws

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fitting.fit.result import FittedLaws
    from fitting.laws.law import Law
    from fitting.runs.table import Runs
    from planner.plan.document import Plan
    from proxies.sweep.folder.about import About

TABLES = ("runs.parquet", "runs.csv")
"""Names of a folder's runs table; the first that is there is read."""

SAME_LAW = 1e-6
"""Relative difference of coefficients up to which a law fitted again is the file's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Where each part was found; None or empty where it was not."""

    plan: Path | None = None
    laws: Path | None = None
    curve: Path | None = None
    runs: tuple[Path, ...] = ()
    sweep: Path | None = None
    """The folder of a sweep."""

    def all(self) -> tuple[Path, ...]:
        """Every file, in the order of the fields."""
        single = (self.plan, self.laws, self.curve)
        about = () if self.sweep is None else (self.sweep / "sweep.json",)
        return (*(path for path in single if path is not None), *self.runs, *about)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that a page is made of; None where it is not there."""

    given: Path
    """What the user named."""
    files: Files
    book: Mapping[str, Law]
    """The shipped laws, then the user's."""
    plan: Plan | None = None
    law: Law | None = None
    """The user's own, as `plan fit --out` wrote it."""
    curve: Law | None = None
    runs: Runs | None = None
    fit: FittedLaws | None = None
    """What the runs say, fitted again."""
    about: About | None = None
    """The sweep behind the runs."""
    notes: tuple[str, ...] = ()
    """What does not fit together."""


def gather(path: Path, *, progress: Callable[[str], None] = lambda message: None) -> Evidence:
    """Everything that a plan, a law file or a folder leads to.

    Args:
        path: a plan's JSON, a law file, or a folder of a sweep or of `plan calibrate`.
        progress: called with what is being done.

    Raises:
        InputError: none of these, or a file that cannot be read.
    """
    progress("reading")
    files = follow(start(path))
    law = None if files.laws is None else read_law(files.laws)
    plan = None if files.plan is None else load_plan(files.plan)
    book = read_lawbook() if plan is None else known_laws(plan, files.plan or path)
    found = Evidence(
        given=path,
        files=files,
        book=book if law is None or law.name in book else {**book, law.name: law},
        plan=plan,
        law=law,
        curve=None if files.curve is None else read_law(files.curve),
        about=None if files.sweep is None else read_sweep(files.sweep),
    )
    if files.runs:
        found = with_runs(found, progress)
    return replace(found, notes=(*found.notes, *disagreements(found)))


def start(path: Path) -> Files:
    """The parts that a path names by itself.

    Raises:
        InputError: it is no plan, law file or folder with one.
    """
    if path.is_dir():
        return in_folder(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; name a plan's JSON, a law file, a DIR")
    if path.suffix == ".json":
        return Files(plan=path)
    if path.suffix == ".toml":
        return Files(laws=path)
    raise InputError(
        f"{path}: ends in '{path.suffix}'; a report is of a plan (.json), laws (.toml) or a folder"
    )


def in_folder(folder: Path) -> Files:
    """The parts that lie in a folder.

    Raises:
        InputError: none does.
    """

    def here(name: str) -> Path | None:
        return folder / name if (folder / name).is_file() else None

    table = next((path for path in map(here, TABLES) if path is not None), None)
    found = Files(
        plan=here("plan.json"),
        laws=here("laws.toml"),
        curve=here("curve.toml"),
        runs=() if table is None else (table,),
        sweep=folder if here("sweep.json") else None,
    )
    if found == Files(sweep=found.sweep):
        raise InputError(
            f"{folder}: has none of plan.json, laws.toml and {', '.join(TABLES)}; name the folder "
            "of plan calibrate or plan sweep"
        )
    return found


def follow(files: Files) -> Files:
    """The parts that a plan's request and a law file's command lead to, where they still lie."""
    if files.plan is not None:
        plan = load_plan(files.plan)
        digests = set(plan.provenance.laws.values())

        def behind(*names: str | Path | None) -> Path | None:
            paths = (find_file(str(name), near=files.plan) for name in names if name is not None)
            known = (path for path in paths if path is not None and digest(path) in digests)
            return next(known, None)

        if plan.request is not None:
            files = replace(
                files,
                laws=files.laws or behind(*(law.path for law in plan.request.laws)),
                curve=files.curve or behind(plan.request.choices.curve),
            )
    if files.laws is not None and not files.runs:
        named = fitted_tables(read_law(files.laws).source.command)
        paths = [find_file(name, near=files.laws) for name in named]
        if all(path is not None for path in paths):
            files = replace(files, runs=tuple(path for path in paths if path is not None))
    return files


def option_values(command: str, option: str) -> list[str]:
    """Values of an option in the command line of a law file."""
    words = split_words(command)
    after = [word for before, word in pairwise(words) if before == option]
    return after + [word.split("=", 1)[1] for word in words if word.startswith(f"{option}=")]


def fitted_tables(command: str) -> list[str]:
    """Runs tables of a `plan fit` command line; empty for another command."""
    words = split_words(command)
    if words[1:2] != ["fit"]:
        return []
    end = next((place for place, word in enumerate(words) if word.startswith("-")), len(words))
    return words[2:end]


def split_words(command: str) -> list[str]:
    """Words of a command line; none of one that no shell would take."""
    try:
        return shlex.split(command)
    except ValueError:
        return []


def find_file(name: str, *, near: Path | None) -> Path | None:
    """A file of a command, where it was called or beside the file that names it."""
    places = [Path(name)] + ([] if near is None else [near.parent / name])
    return next((path for path in places if path.is_file()), None)


def digest(path: Path) -> str:
    """sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_sweep(folder: Path) -> About | None:
    """What the sweep in a folder is."""
    from proxies.sweep.folder.about import read_about

    return read_about(folder)


def with_runs(found: Evidence, progress: Callable[[str], None]) -> Evidence:
    """The evidence with its runs, fitted again as the law file says it was."""
    from fitting.fit.laws import fit_laws
    from fitting.runs.table import read_runs

    runs = read_runs(found.files.runs)
    found = replace(found, runs=runs)
    command = "" if found.law is None else found.law.source.command
    prior = (option_values(command, "--prior") or [""])[0]
    by_default = not prior
    prior = prior or DEFAULT_LAWS["lr"]
    if prior != "none" and prior not in found.book:
        return replace(
            found, notes=(f"the runs were not fitted again: no law '{prior}', their prior",)
        )
    try:
        fit = fit_laws(
            runs,
            prior=None if prior == "none" else found.book[prior],
            only_if_needed=by_default,
            target=fit_target(command),
            progress=progress,
        )
    except (FitError, InputError) as error:
        return replace(found, notes=(f"the runs were not fitted again: {error}",))
    return replace(found, fit=fit)


def fit_target(command: str) -> tuple[float, float] | None:
    """The size that a fit was for."""
    named = option_values(command, "--target")
    if not named or named[0].count(":") != 1:
        return None
    params, tokens = named[0].split(":")
    return parse_count(params, where="--target"), parse_count(tokens, where="--target")


def disagreements(found: Evidence) -> list[str]:
    """Where the parts do not belong together, for a reader to judge."""
    notes = []
    plan, law = found.plan, found.law
    if plan is not None and law is not None and law.sha256 not in plan.provenance.laws.values():
        notes.append(
            f"{found.files.plan} was not made from {found.files.laws} as it is now: plan again "
            "with --laws, or take the page's laws for another's"
        )
    if law is not None and found.fit is not None and not same_laws(law, found.fit):
        notes.append(
            f"{found.files.laws} is not what these runs give now: its lines are drawn as they "
            "are, optima and audit are those of the runs (plan fit makes it again)"
        )
    return notes


def same_laws(law: Law, fit: FittedLaws) -> bool:
    """Whether a fit gives the lr and batch of a law file."""
    again = fit.quantities()
    return all(
        name in again
        and all(
            math.isclose(value, again[name].coefficients.get(key, math.nan), rel_tol=SAME_LAW)
            for key, value in law.quantities[name].coefficients.items()
        )
        for name in ("lr", "batch_tokens")
        if name in law.quantities
    )
