"""All laws of one table of runs, and what they say of themselves.

`fitting.fit.laws` makes them; here they become text, plain values and a law file.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from enum import Enum
from html import escape
from typing import TYPE_CHECKING, Any

from fitting.fit.summary import law_block, loss_block
from fitting.laws.file import make_law
from fitting.laws.law import Law, Quantity, Range, Source
from fitting.laws.surface import surface_quantity
from fitting.text import Block, Lines, plain_text
from fitting.units import format_count, format_range, format_size

if TYPE_CHECKING:
    from fitting.cells.spline import Optimum
    from fitting.fit.audit import Audit
    from fitting.fit.bend import Bend
    from fitting.loss.result import LossFit
    from fitting.runs.outcomes import RunsReport
    from fitting.runs.setting import Group
    from fitting.surface.fit import SurfaceFit

COSTLY = 0.002
"""Mean regret of a corner left out, as a fraction of the loss, from which a law is not to be
followed outside its runs. *Assumed*: run-to-run noise of the loss is about 0.2%."""


class Verdict(Enum):
    """What the fit is good for, ending in what to do."""

    HOLDS = (
        "corners left out of the fit cost little: use it inside its range, and outside with its "
        "intervals"
    )
    MISSES = (
        "a corner left out of the fit cost more than 0.2% of the loss: do not follow it outside "
        "its range; add runs there"
    )
    UNTESTED = (
        "too few cells to leave a corner out, so extrapolation is untested: use it inside its "
        "range; add sizes"
    )
    DOUBTFUL = (
        "these runs do not show where the best lr and batch are: settle the doubts before using "
        "them"
    )
    LOSS_ONLY = (
        "the runs tell the loss alone: take lr and batch from a published law, or tune them at "
        "several sizes"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorShare:
    """How much of what is known of the optimum came from a prior law."""

    name: str
    carried_to: str | None
    """Parametrization of the runs where the law was measured in another: its lr is then taken as
    flat in params at fixed tokens / params, its level as free."""
    params: float
    """Size at which the shares hold."""
    tokens: float
    lr: float
    """Share in [0, 1]."""
    batch_tokens: float

    def sentence(self) -> str:
        """The finding, in one line."""
        law = (
            self.name if self.carried_to is None else f"{self.name}, carried to {self.carried_to},"
        )
        return (
            f"{law} gave {self.lr:.0%} of what is known of lr and {self.batch_tokens:.0%} "
            f"of batch at {format_size(self.params, self.tokens)}; the runs gave the rest"
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FittedLaws:
    """What a table of runs says; None where it says nothing, with the reason in `notes`."""

    group: Group
    """Parametrization and optimizer of the runs."""
    surface: SurfaceFit | None
    penalty_scatter: float | None
    """Standard deviation of ln loss as a share of what leaving the optimum costs."""
    lr: Quantity | None
    batch_tokens: Quantity | None
    weight_decay: Quantity | None
    loss: LossFit | None
    loss_spread: float | None
    """By how much more than foretold the audits missed the loss, in ln per unit of log distance
    outside the runs; None where they could not tell."""
    optima: tuple[Optimum, ...]
    """Measured in each cell with runs enough, without a law."""
    audits: tuple[Audit, ...]
    bends: tuple[Bend, ...]
    """Where the optimum bends in log-log."""
    prior: PriorShare | None
    target: tuple[float, float] | None
    doubts: tuple[str, ...]
    """What makes lr and batch doubtful; see `fitting.fit.doubts`."""
    notes: tuple[str, ...]
    """What could not be fitted and why, and what looks odd."""
    runs: RunsReport
    range: Range

    @property
    def verdict(self) -> Verdict:
        """What the fit is good for."""
        if self.surface is None:
            return Verdict.LOSS_ONLY
        if self.doubts:
            return Verdict.DOUBTFUL
        if not self.audits:
            return Verdict.UNTESTED
        worst = max(audit.regret for audit in self.audits)
        return Verdict.MISSES if worst > COSTLY else Verdict.HOLDS

    def to_law(self, name: str, command: str) -> Law:
        """The fit as a law file.

        Args:
            name: of the law, the stem of its file.
            command: what made it, for `[source]`.
        """
        count = f"{self.runs.used:,} runs"
        base = "" if math.isnan(self.group.base_d_model) else f"lr is that of {self.group}. "
        source = Source(
            key=name,
            title=f"Fit of {count} by plan fit",
            evidence="fitted",
            note=base + self.verdict.value,
            caution=self.caution(),
            command=command,
        )
        return make_law(name, source=source, limits=self.range, quantities=self.quantities())

    def caution(self) -> str:
        """What a plan by these laws must say: the verdict and the doubts, unless all is well."""
        said = [] if self.verdict in (Verdict.HOLDS, Verdict.LOSS_ONLY) else [self.verdict.value]
        said += self.doubts
        if self.loss is not None and self.surface is None:
            said.append("its loss is that of runs as they were, not at the best lr and batch")
        return "; ".join(said)

    def quantities(self) -> dict[str, Quantity]:
        """The tables of the law file."""
        found = {
            "lr": self.lr,
            "batch_tokens": self.batch_tokens,
            "weight_decay": self.weight_decay,
            "loss": None
            if self.loss is None
            else loss_quantity(self.loss, self.loss_spread or 0.0),
            "surface": self.surface_quantity(),
        }
        return {name: quantity for name, quantity in found.items() if quantity is not None}

    def surface_quantity(self) -> Quantity | None:
        """The surface as the `[surface]` table of a law file."""
        fit = self.surface
        if fit is None:
            return None
        return replace(
            surface_quantity(fit.surface, n=fit.n, r2=fit.r2),
            scatter=fit.residual_scale,
            penalty_scatter=self.penalty_scatter,
        )

    def to_dict(self) -> dict[str, Any]:
        """The fit as `plan fit --json` prints it."""
        found = self.quantities()
        names = ("surface", "lr", "batch_tokens", "weight_decay", "loss")
        return {
            **{name: asdict(found[name]) if name in found else None for name in names},
            "loss_fit": None if self.loss is None else self.loss.to_dict(),
            "audit": [audit.to_dict() for audit in self.audits],
            "runs": self.runs.to_dict(),
            "verdict": self.verdict.name.lower(),
            "prior": None if self.prior is None else asdict(self.prior),
            "bends": [asdict(bend) for bend in self.bends],
            "optima": [asdict(optimum) for optimum in self.optima],
            "target": self.target,
            "range": asdict(self.range),
            "doubts": list(self.doubts),
            "notes": list(self.notes),
        }

    def summary(self) -> str:
        """The fit in plain text, at most 80 columns."""
        return plain_text(self.blocks())

    def blocks(self) -> list[Block]:
        """The fit as text: verdict, laws, what was left out, audit, loss, range."""
        found: list[Block] = [Lines((self.title(), self.verdict.value)), *self.law_blocks()]
        notes = [self.runs.summary(), self.prior_line()]
        notes += [f"doubt: {doubt}" for doubt in self.doubts]
        notes += [f"note: {note}" for note in self.notes]
        audits = [f"audit: {audit.sentence()}" for audit in self.audits]
        audits += [f"bend: {bend.sentence()}" for bend in self.bends]
        found += [Lines(tuple(notes)), Lines(tuple(audits))]
        if self.loss is not None:
            found.append(loss_block(self.loss, of_cells=self.surface is not None))
        return [*found, Lines(("± is one standard error; brackets hold 80%", self.range_line()))]

    def title(self) -> str:
        """What was fitted to what."""
        names = [name.replace("_", " ") for name in self.quantities() if name != "surface"]
        cells = "" if self.surface is None else f" in {len(self.surface.cells)} cells"
        return f"{', '.join(names)} fitted to {self.runs.used:,} runs{cells} of {self.group}"

    def law_blocks(self) -> list[Lines]:
        """What is said of lr, batch and weight decay."""
        at = self.target
        if at is None and self.surface is not None:
            cells: list[list[float]] = self.surface.cells.tolist()
            params, tokens = max(cells, key=lambda cell: cell[0] * cell[1])
            at = params, tokens
        return [
            law_block(
                name,
                quantity,
                limits=self.range,
                at=at,
                assumed=self.surface is not None and self.surface.scatter.cells == 0,
            )
            for name, quantity in self.quantities().items()
            if name in ("lr", "batch_tokens", "weight_decay") and at is not None
        ]

    def prior_line(self) -> str:
        """What the prior gave."""
        if self.surface is None:
            return ""
        return "prior: " + ("none" if self.prior is None else self.prior.sentence())

    def range_line(self) -> str:
        """Sizes of the runs."""
        spans = {"params": self.range.params, "tokens": self.range.tokens}
        spans["batch"] = self.range.batch_tokens
        return "range: " + ", ".join(
            f"{name} {format_range(span[0], span[1], format_count)}"
            for name, span in spans.items()
            if span is not None
        )

    def _repr_html_(self) -> str:
        """The summary, for a notebook."""
        return f"<pre>{escape(self.summary())}</pre>"


def loss_quantity(fit: LossFit, spread: float) -> Quantity:
    """The loss law as a table of a law file that says how errors grow outside the runs.

    A law file measures distance in ln params, ln tokens and ln (tokens / params) together; the
    fit measured its held-out error, beyond its scatter, along ln params, ln tokens and their sum.
    A step straight up in the sum by r is one of r / sqrt(2) by the file's measure, so that errors
    along it are larger by sqrt(2) for each unit. The largest of the three counts. Plans are of
    sizes that no run had, so the scatter of sizes counts everywhere.

    Args:
        fit: the loss law.
        spread: what the audits missed beyond that, in ln per unit of the file's distance.
    """
    quantity = fit.to_quantity()
    growth = [
        math.sqrt(max((reach.error / 0.8) ** 2 - fit.scatter**2, 0.0))
        / reach.distance
        * (math.sqrt(2) if kind == "N D" else 1.0)
        for kind, reach in fit.reach.items()
    ]
    return replace(
        quantity,
        scatter=math.hypot(fit.scatter, fit.size_scatter),
        form_log_sd=math.hypot(max(growth), spread),
    )
