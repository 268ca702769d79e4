"""Laws against practice: what each law says of published optima and recipes, as factors.

A factor is what was tuned or used over what the law says at those params and tokens, the lr at
the batch that was used. Optima (data/optima.csv) and recipes (data/recipes.csv) are kept apart:
recipes are choices. A law is asked alone, without practice as its second witness; `PLAN` stands
for the default plan, with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from statistics import median

from fitting.errors import InputError
from fitting.laws.evaluate import speaks_of
from fitting.laws.law import Law
from planner.facts.anchor import Anchor
from planner.facts.laws import without_own_laws
from planner.facts.optima import Tuned, read_tuned
from planner.facts.recipes import read_recipes
from planner.recommendation.anchored import Standing, anchored_batch, anchored_lr, stand
from planner.recommendation.conversion import convert_lr
from planner.recommendation.numbers import law_inputs, pick_sources
from planner.recommendation.sources import Ground, Sources, survey
from planner.request.choices import Choices
from proxies.run.parametrization import make_parametrization
from proxies.run.shape import Shape
from proxies.run.sizing import choose_shape

PLAN = "plan"
"""The default plan among the laws: Step Law and, outside its range, practice."""

QUANTITIES = ("lr", "batch_tokens")

SEQ_LEN = 2048
"""For laws that ask for FLOPs with attention."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """One published value over what one law says of it."""

    law: str
    run: str
    lab: str
    setup: str
    """What an anchor stands for: one lab's optimizer and trainer."""
    is_tuned: bool
    """Whether the value is an optimum; else it is a choice."""
    quantity: str
    """lr or batch_tokens."""
    used: float
    """In the law's terms."""
    said: float
    anchored: float | None = None
    """What the law says when it is anchored at the smallest model of the setup; None for that
    model itself, where there is no other size, and where it was not asked."""

    @property
    def factor(self) -> float:
        """Published over said."""
        return self.used / self.said


def compare_laws(
    book: Mapping[str, Law], *, names: Sequence[str] = (), anchored: bool = False
) -> list[Factor]:
    """Every published optimum and recipe against every law.

    Args:
        book: the law book.
        names: laws to compare, `PLAN` among them; all where it is empty.
        anchored: also anchor each law at the smallest model of each setup.

    Returns:
        Factors of the default plan and of each law of lr or batch in plain AdamW, in that order;
        a law has none where it is silent, and none against the points that it gave itself.
    """
    book = without_own_laws(book)
    groups: dict[tuple[bool, str], list[Tuned]] = {}
    for case in published(book):
        groups.setdefault((bool(case.tuned), case.setup), []).append(case)
    return [
        factor
        for name in names or (PLAN, *comparable_laws(book))
        for cases in groups.values()
        for factor in compare_setup(book, name, cases, anchored=anchored)
    ]


def published(book: Mapping[str, Law]) -> list[Tuned]:
    """Published optima, then recipes in plain AdamW that state their batch, with nothing tuned."""
    recipes = [
        Tuned(
            run=recipe.run,
            lab=recipe.lab,
            setup=recipe.lab,
            params=float(recipe.params),
            tokens=float(recipe.tokens),
            lr=recipe.lr,
            batch_tokens=float(recipe.batch_tokens),
            weight_decay=recipe.weight_decay or None,
            loss=None,
            tuned=frozenset(),
            optimizer=recipe.optimizer,
            parametrization=recipe.parametrization,
            d_model=None,
            base_d_model=None,
            law="",
            evidence=recipe.evidence,
            source=recipe.source,
        )
        for recipe in read_recipes()
        if recipe.is_comparable and recipe.batch_tokens is not None
    ]
    return [*(case for case in read_tuned(book) if case.tuned & set(QUANTITIES)), *recipes]


def comparable_laws(book: Mapping[str, Law]) -> list[str]:
    """Laws that give numbers of lr or batch for AdamW in standard parametrization."""
    return [
        law.name
        for law in book.values()
        if any(speaks_of(law, quantity) for quantity in QUANTITIES)
        and law.range.optimizer in (None, "adam", "adamw")
        and (law.range.parametrization or "sp") == "sp"
    ]


def compare_setup(
    book: Mapping[str, Law], name: str, cases: Sequence[Tuned], *, anchored: bool
) -> list[Factor]:
    """One setup's published values against one law."""
    smallest = min(case.params for case in cases)
    found = []
    for case in cases:
        if case.law == name:
            continue
        others = [c for c in cases if c.params == smallest and c.lr is not None]
        anchors = others if anchored and case.params != smallest else []
        try:
            found += compare_case(book, name, case, anchors=anchors)
        except InputError:
            # The law is silent at this size, or its form has no number there.
            continue
    return found


def compare_case(
    book: Mapping[str, Law], name: str, case: Tuned, *, anchors: Sequence[Tuned]
) -> list[Factor]:
    """One published run against one law.

    Raises:
        InputError: the law is silent there.
    """
    choices = Choices(
        law=None if name == PLAN else name,
        optimizer=case.optimizer,
        parametrization=case.parametrization,
        base_d_model=case.base_d_model,
    )
    sources = pick_sources(book, choices, ())
    if name != PLAN:
        sources = replace(sources, practice={})
    point, shape = inputs_of(case.params, case.tokens)
    ground = survey(sources, point)
    standings = stand(
        [as_anchor(one) for one in anchors],
        sources,
        choices,
        lambda anchor: inputs_of(anchor.params, anchor.tokens),
    )
    return [
        Factor(
            law=name,
            run=case.run,
            lab=case.lab,
            setup=case.setup,
            is_tuned=bool(case.tuned),
            quantity=quantity,
            used=used_value(case, quantity, sources.laws["lr"], choices, shape),
            said=said_value(sources, ground, case, quantity, ()),
            anchored=said_value(sources, ground, case, quantity, standings) if anchors else None,
        )
        for quantity in QUANTITIES
        if quantity in (case.tuned or QUANTITIES)
        and (name == PLAN or speaks_of(book[name], quantity))
    ]


@cache
def inputs_of(params: float, tokens: float) -> tuple[dict[str, float], Shape]:
    """Inputs of the laws at a size, with a usual shape."""
    shape = choose_shape(params, vocab_size=32_000, tied_embeddings=False).shape
    return law_inputs(params, tokens, shape, SEQ_LEN), shape


def as_anchor(case: Tuned) -> Anchor:
    """A published run as an anchor of all that it states; a recipe moves lr and batch."""
    anchor = case.as_anchor()
    if case.tuned:
        return anchor
    half = math.log(2) / 2
    return replace(anchor, log_sd=dict.fromkeys(QUANTITIES, half))


def used_value(case: Tuned, quantity: str, law: Law, choices: Choices, shape: Shape) -> float:
    """The published value, an lr in the law's terms.

    Raises:
        InputError: the law's lr cannot be carried to the run's optimizer or parametrization.
    """
    value = case.lr if quantity == "lr" else case.batch_tokens
    assert value is not None
    if quantity != "lr":
        return value
    rule = make_parametrization(
        case.parametrization,
        d_model=case.d_model or shape.d_model,
        n_layers=shape.n_layers,
        head_dim=shape.head_dim,
        base_d_model=case.base_d_model,
    )
    return value / convert_lr(law, choices, rule).factor


def said_value(
    sources: Sources,
    ground: Ground,
    case: Tuned,
    quantity: str,
    standings: Sequence[Standing],
) -> float:
    """What the law says, anchored where there are anchors; an lr at the run's batch."""
    batch = anchored_batch(sources, ground, standings).value
    if quantity == "batch_tokens":
        return batch
    at = case.batch_tokens or batch
    return anchored_lr(sources, ground, standings, batch_tokens=at).value


def typical(factors: Iterable[float]) -> float | None:
    """Median factor either way, at least 1; None of none."""
    logs = [abs(math.log(factor)) for factor in factors]
    return math.exp(median(logs)) if logs else None


def typical_by_setup(factors: Sequence[Factor], *, anchored: bool = False) -> float | None:
    """Median over setups of their median factor either way, each setup counting as one."""
    by_setup: dict[str, list[float]] = {}
    for one in factors:
        said = one.anchored if anchored else one.said
        if said is not None:
            by_setup.setdefault(one.setup, []).append(one.used / said)
    return typical(typical(found) or 1.0 for found in by_setup.values())
