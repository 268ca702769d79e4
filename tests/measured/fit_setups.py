"""The spread between setups, fitted to measured optima, and judged by labs left out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fitting.laws.file import make_law
from fitting.laws.law import Law, Range, Source
from planner.facts.laws import without_own_laws
from planner.facts.optima import Tuned, read_tuned
from planner.recommendation.conversion import Conversion, convert_lr
from planner.recommendation.estimate import Estimate
from planner.recommendation.numbers import law_inputs, pick_sources
from planner.recommendation.sources import Ground, Sources, ask, move_lr, survey
from planner.request.choices import Choices
from proxies.run.parametrization import make_parametrization
from proxies.run.sizing import choose_shape
from tests.measured.setups import Offset, Spread, fit_spread, spread_quantity

SOURCE = Source(
    key="windtunnel2026setups",
    title="How far tuned values lie from the default laws in other setups",
    evidence="fitted",
    note=(
        "The spread between setups (corpus, tokenizer, trainer, tricks) of ln(tuned value / law),"
        " normal with mean 0: a level, a slope along constant tokens per param, a slope along the"
        " horizon at constant params. From the tuned sweeps of data/optima.csv; recipes, which are"
        " choices, are not among them. Carries no value of its own: it is what a plan's"
        " elsewhere interval adds, and what an anchor takes away."
    ),
    command="python -m tests.benchmarks.fit_setups data/laws/setups.toml",
)

QUANTITIES = ("lr", "batch_tokens", "weight_decay", "loss")

JUDGED = ("lr", "batch_tokens")
"""Quantities that labs enough have tuned for one to be held out."""

TEXT = "Exponents 0: in the mean best values elsewhere move as the law's; the covariance is theirs."


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One published optimum and what the plan says there."""

    tuned: Tuned
    quantity: str
    used: float
    """In the law's terms."""
    said: Estimate
    """The plan's, at the optimum's own batch, for the planned optimizer and parametrization but
    in the law's terms."""
    offset: Offset

    def factor(self) -> float:
        """Tuned over planned."""
        return self.used / self.said.value


def compare(book: Mapping[str, Law], tuned: Tuned) -> list[Compared]:
    """Every value that one optimum tuned."""
    choices = Choices(
        optimizer=tuned.optimizer,
        parametrization=tuned.parametrization,
        base_d_model=tuned.base_d_model,
    )
    sources = pick_sources(without_own_laws(book), choices, ())
    shape = choose_shape(tuned.params, vocab_size=32_000, tied_embeddings=False).shape
    ground = survey(sources, law_inputs(tuned.params, tuned.tokens, shape, 2048))
    rule = make_parametrization(
        tuned.parametrization,
        d_model=tuned.d_model or shape.d_model,
        n_layers=shape.n_layers,
        head_dim=shape.head_dim,
        base_d_model=tuned.base_d_model,
    )
    planned = convert_lr(sources.laws["lr"], choices, rule)
    return [
        compare_one(sources, ground, tuned, quantity, planned)
        for quantity in QUANTITIES
        if quantity in tuned.tuned or (quantity == "loss" and tuned.loss is not None)
    ]


def compare_one(
    sources: Sources, ground: Ground, tuned: Tuned, quantity: str, planned: Conversion
) -> Compared:
    """One value of one optimum."""
    batch = tuned.batch_tokens or ground.batch.value
    used, moved, shared = getattr(tuned, quantity), 1.0, 0.0
    said = ground.batch
    if quantity == "lr":
        move = move_lr(sources, ground, batch)
        moved = 1.0 if move is None else move.factor
        said, used, shared = ground.lr, used / planned.factor, planned.log_sd
    elif quantity == "weight_decay":
        assert tuned.lr is not None
        point = {**ground.point, "batch_tokens": batch, "lr": tuned.lr / planned.factor}
        said, used = ask(sources, quantity, point), used * planned.factor
    elif quantity == "loss":
        said = ground.loss
    law = said.law
    offset = Offset(
        setup=tuned.setup,
        params=tuned.params,
        tokens=tuned.tokens,
        log_ratio=math.log(used / (law.value * moved)),
        log_sd=math.sqrt((law.coefficient_variance or 0.0) + law.form_variance),
        shared_log_sd=shared,
    )
    return Compared(
        tuned=tuned,
        quantity=quantity,
        used=used,
        said=said.times(moved, log_sd=shared),
        offset=offset,
    )


def compare_all(book: Mapping[str, Law]) -> list[Compared]:
    """Every tuned value of every optimum."""
    return [found for tuned in read_tuned(book) for found in compare(book, tuned)]


def fit_all(
    compared: Iterable[Compared], *, names: Sequence[str], exclude_lab: str | None = None
) -> dict[str, Spread]:
    """The spread of each of `names`, with a lab held out."""
    kept = [found for found in compared if found.tuned.lab != exclude_lab]
    return {
        name: fit_spread([found.offset for found in kept if found.quantity == name])
        for name in names
    }


def setups_law(spreads: Mapping[str, Spread]) -> Law:
    """The spread as a law."""
    quantities = {name: spread_quantity(spread, TEXT) for name, spread in spreads.items()}
    return make_law("setups", source=SOURCE, limits=Range(), quantities=quantities)


def held_out(book: Mapping[str, Law]) -> list[Compared]:
    """Every tuned value beside a plan whose `elsewhere` knows nothing of its lab."""
    compared = compare_all(book)
    found = []
    for lab in dict.fromkeys(one.tuned.lab for one in compared):
        without = {**book, "setups": setups_law(fit_all(compared, names=JUDGED, exclude_lab=lab))}
        found += [
            again
            for tuned in read_tuned(book)
            if tuned.lab == lab
            for again in compare(without, tuned)
        ]
    return found


def is_held(found: Compared) -> bool:
    """Whether the interval `elsewhere` holds the tuned value."""
    low, high = found.said.elsewhere()
    assert low is not None
    assert high is not None
    return low <= found.used <= high


def share(found: Sequence[Compared]) -> float:
    """Share of the values held."""
    return sum(is_held(one) for one in found) / len(found)
