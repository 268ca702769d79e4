"""The plan of a request: its draft, and the warnings that stand on it.

`recommend` is the Python API; the command line drafts a plan, so that the explanation can show the
arithmetic behind the same numbers, and finishes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fitting.laws.file import read_law
from fitting.laws.law import Law
from planner.facts.laws import SETUPS_LAW, read_lawbook
from planner.plan.document import KeptSurface, Plan, Provenance
from planner.plan.draft import Draft, draft_plan
from planner.plan.warnings.cautions import collect_cautions
from planner.request.request import Request, ask_for, kept_laws

if TYPE_CHECKING:
    from planner.request.choices import Choices
    from planner.request.target import Target
    from proxies.run.shape import Shape

VERSION = "0.1.0"


def recommend(
    target: Target,
    *,
    shape: Shape | None = None,
    choices: Choices | None = None,
    law_files: tuple[Path, ...] = (),
) -> Plan:
    """The plan for a target.

    Args:
        target: params and tokens, sequence length and vocabulary.
        shape: the model's shape; None chooses one whose count is within 3% of the params.
        choices: pins, law, optimizer, parametrization, schedule; None for the defaults.
        law_files: law files of the user's own, which come before the defaults.

    Returns:
        The plan; `planner.plan_to_json` writes it.

    Raises:
        InputError: choices that contradict each other or the target.

    Example:
        >>> from planner import Target
        >>> plan = recommend(Target(params=1e9, tokens=2e10, seq_len=2048, vocab_size=32000))
        >>> plan.lr.law, f"{plan.lr.value:.3g}", plan.batch_sequences
        ('step-law', '0.000996', 216)
    """
    book = read_lawbook(law_files)
    own = kept_laws(law_files, book)
    return make_plan(ask_for(target, shape=shape, choices=choices, laws=own), book)


def make_plan(request: Request, book: Mapping[str, Law], *, command: str = "") -> Plan:
    """The plan of a request.

    Args:
        request: what was asked.
        book: the law book, the user's files included.
        command: as typed, for the plan's provenance.

    Raises:
        InputError: choices that contradict each other or the target, laws that say nothing of it.
    """
    return finish_plan(draft_plan(request, book), command=command)


def finish_plan(draft: Draft, *, command: str = "") -> Plan:
    """A draft with its warnings and its provenance."""
    compute = draft.compute
    kept = None
    if compute is not None:
        from planner.compute.planned import planned_compute

        kept = planned_compute(compute)
    return Plan(
        request=draft.request,
        target=draft.target,
        run=draft.run,
        numbers=draft.numbers,
        surface=_kept_surface(draft),
        compute=kept,
        witnesses=draft.witnesses,
        provenance=Provenance(version=VERSION, command=command, laws=_digests(draft)),
        warnings=collect_cautions(draft),
        anchors=draft.choices.anchors,
        data=draft.data,
        batch_growth=draft.growth,
        budget=draft.budget,
    )


def _kept_surface(draft: Draft) -> KeptSurface | None:
    """The surface about the recommendation, placed by the plan's own lr and batch."""
    found = draft.derivation.placed
    if found is None:
        return None
    return KeptSurface(
        law=found.law,
        sha256=draft.book[found.law].sha256,
        lr_shift=found.lr_shift / draft.derivation.conversion.factor,
        batch_shift=found.batch_shift,
    )


def _digests(draft: Draft) -> dict[str, str]:
    """sha256 of each law file that a number of the plan came from."""
    found = draft.derivation
    names = {law.name for law in found.laws.values()}
    for estimate in (found.lr, found.free_batch):
        names |= set(estimate.weights or {})
    for move in (found.lr_move, found.batch_move):
        names |= set() if move is None else {move.law}
    names |= set() if found.placed is None else {found.placed.law}
    names |= {SETUPS_LAW} & draft.book.keys()
    laws = [draft.book[name] for name in sorted(names)]
    if draft.choices.curve is not None:
        laws.append(read_law(draft.choices.curve))
    return {law.name: law.sha256 for law in laws}
