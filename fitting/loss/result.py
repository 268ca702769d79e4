"""A fitted loss law: what it predicts, with intervals, and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from fitting.arrays import Floats
from fitting.intervals import Z80
from fitting.laws.forms import FORMS
from fitting.laws.law import Covariance, Quantity
from fitting.loss.families import FAMILIES, natural
from fitting.loss.slopes import Centre, to_features
from fitting.text import Group, Lines, Table, plain_text
from fitting.units import format_count, format_range, format_small

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike


class FitStatus(Enum):
    """The verdict of a fit, ending in what to do."""

    IDENTIFIED = "given this form, the runs identify it; use it, with its interval"
    UNIDENTIFIED = (
        "the runs do not identify every coefficient; use its predictions, not its coefficients"
    )
    MISSES = (
        "it misses held-out larger runs by far more than its scatter; "
        "do not extrapolate, add larger runs"
    )
    UNTESTED = "too few runs to hold any out, so extrapolation is untested; add runs of other sizes"


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another family that predicts held-out runs about as well."""

    family: str
    free: Floats
    """Free parameters, shape (p,)."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How far held-out runs lay beyond the others, and how they were predicted."""

    distance: float
    """Mean distance in natural log from the largest run kept, > 0."""
    error: float
    """Mean absolute error of ln loss."""


@dataclass(frozen=True, slots=True)
class LossPrediction:
    """Predicted losses with 80% intervals; each field of the shape of the inputs."""

    low: Floats
    value: Floats
    """Nats per token."""
    high: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class LossFit:
    """A fitted loss law and how well it is known."""

    family: str
    """A key of `fitting.loss.families.FAMILIES`."""
    free: Floats
    """Free parameters, shape (p,)."""
    samples: Floats
    """Those of each bootstrap, shape (b, p)."""
    centre: Centre
    """Of the runs."""
    coefficients: dict[str, float]
    """By the names of a law file, N and D in plain counts."""
    covariance_matrix: Floats
    """Of the coefficients, in their order."""
    ridge: float
    """Strength of the pull on exponents; 0 for none."""
    scatter: float
    """Robust standard deviation of ln(measured / fit)."""
    size_scatter: float
    """Standard deviation of ln loss that all runs of a new size share; 0 where not measured."""
    sizes: Floats
    """Distinct params of the runs."""
    held_out: Mapping[str, float]
    """Mean error of ln loss on each held-out set; empty where runs are few."""
    error: float | None
    """Mean of those by N D; None where nothing was held out."""
    reach: Mapping[str, Reach]
    """How held-out runs were predicted, by "N D", "N" and "D"."""
    alternatives: tuple[Alternative, ...]
    """Families with comparable held-out error."""
    errors: Mapping[str, float]
    """Mean held-out error of every family weighed, lowest first."""
    profile: tuple[float, float] | None
    """Range of E that fits about equally well; None where the family has no E."""
    condition: float
    """Condition number of the slopes, columns scaled to length 1."""
    n: int
    """Runs used."""
    rejected: Mapping[str, int]
    """Runs left out, by reason."""
    r2: float
    """Share of the variance of the loss of the runs used."""
    lowest: tuple[float, float]
    """Smallest params and tokens of the runs used."""
    highest: tuple[float, float]
    """Largest params and tokens of the runs used."""
    largest: float
    """Largest ln(N D) of the runs used."""

    @property
    def form(self) -> str:
        """Name of the form in a law file."""
        return FAMILIES[self.family].form

    @property
    def status(self) -> FitStatus:
        """The verdict."""
        if self.error is None:
            return FitStatus.UNTESTED
        if self.error > 5 * max(self.scatter, 1e-3):
            return FitStatus.MISSES
        known = not self.unidentified and self.irreducible_identified is not False
        return FitStatus.IDENTIFIED if known else FitStatus.UNIDENTIFIED

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """80% interval of each coefficient: 10th and 90th percentile of the bootstraps.

        Widened to hold the estimate itself where the bootstraps are skewed away from it.
        """
        found = natural(FAMILIES[self.family], self.samples, self.centre)
        limits = {name: np.quantile(column, [0.1, 0.9]) for name, column in found.items()}
        return {
            name: (
                min(float(low), self.coefficients[name]),
                max(float(high), self.coefficients[name]),
            )
            for name, (low, high) in limits.items()
        }

    @property
    def unidentified(self) -> tuple[str, ...]:
        """Exponents whose 80% interval is wider than 0.1 and than half their value to each side."""
        member = FAMILIES[self.family]
        low, high = np.quantile(self.samples, [0.1, 0.9], axis=0)
        return tuple(
            coefficient
            for name, coefficient in member.exponents.items()
            for j in [member.names.index(name)]
            if (high[j] - low[j]) / 2 > max(0.1, abs(self.free[j]) / 2)
        )

    @property
    def irreducible_loss(self) -> tuple[float, float] | None:
        """Range of E: its 80% interval, its profile and the values of comparable families.

        None where the family names no irreducible loss.
        """
        if self.profile is None:
            return None
        values = [*self.intervals["E"], *self.profile]
        for other in self.alternatives:
            names = FAMILIES[other.family].names
            if "log_e" in names:
                values.append(float(np.exp(other.free[names.index("log_e")])))
        return min(values), max(values)

    @property
    def irreducible_identified(self) -> bool | None:
        """Whether E's range is within a quarter of its value; None where there is no E."""
        found = self.irreducible_loss
        if found is None:
            return None
        value = self.coefficients["E"]
        return found[0] > 0.75 * value and found[1] < 1.25 * value

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must not conclude, in plain words: what, how much, what to do."""
        said = []
        if self.irreducible_identified is False and self.irreducible_loss is not None:
            low, high = self.irreducible_loss
            said.append(
                f"irreducible loss E is not identified: {low:.2f} to {high:.2f} fit about "
                "equally well; do not read it as the entropy of text"
            )
        if self.unidentified:
            said.append(
                f"not identified by these runs: {', '.join(self.unidentified)}; vary params and "
                "tokens independently to tell them apart"
            )
        if self.condition > 1e4:
            said.append(
                f"condition number {self.condition:.0e}: some combination of the coefficients is "
                "hardly seen by these runs; use predictions near them"
            )
        return tuple(said)

    def predict(
        self, params: ArrayLike, tokens: ArrayLike, *, unique_tokens: ArrayLike | None = None
    ) -> LossPrediction:
        """Loss of runs at their best learning rate and batch, with 80% intervals.

        The half-width in ln loss is the root of the summed squares of the runs' scatter, that of
        sizes (at params that no run had), and the larger of two: what the fit believes of its
        error (the bootstraps' 10th or 90th percentile and the spread of the families that
        predict held-out runs about as well), and what held-out runs showed of it (see
        `extrapolation_sd`).

        Args:
            params: non-embedding parameters N, > 0.
            tokens: training tokens D, > 0.
            unique_tokens: distinct tokens; None means that nothing repeats.
        """
        n, d = (np.atleast_1d(np.asarray(x, dtype=np.float64)) for x in (params, tokens))
        n, d = (np.array(x) for x in np.broadcast_arrays(n, d))
        given = d if unique_tokens is None else np.asarray(unique_tokens, dtype=np.float64)
        features = to_features(n, d, np.minimum(given, d), self.centre)
        member = FAMILIES[self.family]
        log_loss = member.evaluate(features, self.free[None])[0][0]
        sampled = member.evaluate(features, self.samples)[0] - log_loss
        below, above = np.quantile(sampled, [0.1, 0.9], axis=0)
        others = [
            FAMILIES[other.family].evaluate(features, other.free[None])[0][0] - log_loss
            for other in self.alternatives
        ]
        # The chosen family counts as one of the choices, with a difference of 0.
        choice = np.sum(np.square(others), axis=0) / (len(others) + 1) if others else 0.0
        shown = self.extrapolation_sd(n, d) ** 2
        # Counts of a shape are requested and built to within a percent.
        seen = (np.abs(np.log(n[:, None] / self.sizes)) < 0.01).any(axis=1)
        scatter = np.hypot(self.scatter, np.where(seen, 0.0, self.size_scatter))

        def half_width(sampled_side: Floats) -> Floats:
            believed = sampled_side**2 + Z80**2 * choice
            found: Floats = np.sqrt(np.maximum(believed, Z80**2 * shown) + (Z80 * scatter) ** 2)
            return found

        return LossPrediction(
            low=np.exp(log_loss - half_width(np.minimum(below, 0))),
            value=np.exp(log_loss),
            high=np.exp(log_loss + half_width(np.maximum(above, 0))),
        )

    def extrapolation_sd(self, params: Floats, tokens: Floats) -> Floats:
        """Standard deviation of ln loss from going beyond the runs; 0 inside.

        In each of N D, N and D: the held-out error, less the runs' scatter, times the distance
        over that at which it was measured. The largest of the three counts.
        """
        log_n, log_d = np.log(params), np.log(tokens)
        beyond = {
            "N D": log_n + log_d - self.largest,
            "N": log_n - np.log(self.highest[0]),
            "D": log_d - np.log(self.highest[1]),
        }
        found = np.zeros_like(log_n)
        for kind, reach in self.reach.items():
            # A Gaussian's mean absolute error is 0.8 of its standard deviation.
            excess = np.sqrt(max((reach.error / 0.8) ** 2 - self.scatter**2, 0.0))
            found = np.maximum(found, excess * beyond[kind] / reach.distance)
        return found

    def to_quantity(self) -> Quantity:
        """The law as the `[loss]` table of a law file.

        Its scatter is the larger of the runs' and the held-out error, because a law file cannot
        say that errors grow beyond the runs.
        """
        held_out = 0.0 if self.error is None else self.error / 0.8
        return Quantity(
            form=self.form,
            coefficients=self.coefficients,
            covariance=Covariance(
                names=list(self.coefficients), matrix=self.covariance_matrix.tolist()
            ),
            scatter=max(float(np.hypot(self.scatter, self.size_scatter)), held_out),
            text=" ".join(self.warnings),
            n=self.n,
            r2=self.r2,
        )

    def to_dict(self) -> dict[str, Any]:
        """The fit as `plan fit --json` prints it."""
        return {
            "form": self.form,
            "family": self.family,
            "coefficients": self.coefficients,
            "intervals": self.intervals,
            "covariance": self.covariance_matrix.tolist(),
            "scatter": self.scatter,
            "size_scatter": self.size_scatter,
            "held_out": dict(self.held_out),
            "families": dict(self.errors),
            "irreducible_loss_identified": self.irreducible_identified,
            "condition": self.condition,
            "r2": self.r2,
            "n": self.n,
            "rejected": dict(self.rejected),
            "status": self.status.name.lower(),
            "warnings": list(self.warnings),
        }

    def summary(self) -> str:
        """The fit in plain text, at most 80 columns."""
        head = [f"loss: {self.family} fitted to {self.n} runs; {self.status.value}"]
        head.append(f"form: {FORMS[self.form].formula}")
        tail = []
        if self.held_out:
            missed = ", ".join(f"{label} {error:.2%}" for label, error in self.held_out.items())
            tail.append(f"error on the largest runs, held out: by {missed}")
        others = [
            f"{name} {error:.2%}" for name, error in self.errors.items() if name != self.family
        ]
        if others and self.held_out:
            tail.append(f"other families, mean held-out error: {', '.join(others)}")
        left_out = [f"{count} ({reason})" for reason, count in self.rejected.items()]
        tail.append(f"left out: {', '.join(left_out) or 'none'}")
        tail.append(
            f"scatter {self.scatter:.2%} of runs, {self.size_scatter:.2%} of sizes; "
            f"R2 {self.r2:.4f}, ridge {self.ridge:g}, "
            f"condition number {format_small(self.condition, 2)}"
        )
        tail += self.correlation_lines()
        params, tokens = (
            format_range(*ends, format_count)
            for ends in zip(self.lowest, self.highest, strict=True)
        )
        tail.append(f"range: params {params}, tokens {tokens}")
        tail += [f"warning: {said}" for said in self.warnings]
        return plain_text(
            [Group((Lines(tuple(head)), self.coefficient_table(), Lines(tuple(tail))))]
        )

    def coefficient_table(self) -> Table:
        """Each coefficient with its 80% interval."""
        rows = (
            (name, f"{format_small(value, 4)} ({format_range(*ends)})")
            for (name, value), ends in zip(
                self.coefficients.items(), self.intervals.values(), strict=True
            )
        )
        return Table(rows=tuple(rows), indent=2)

    def correlation_lines(self) -> list[str]:
        """Correlations over 0.5 between exponents, as one line or none."""
        member = FAMILIES[self.family]
        places = [(c, member.names.index(name)) for name, c in member.exponents.items()]
        matrix = np.atleast_2d(np.corrcoef(self.samples.T))
        found = [
            f"{a} {b} {matrix[i, j]:+.2f}"
            for k, (a, i) in enumerate(places)
            for b, j in places[k + 1 :]
            if abs(matrix[i, j]) > 0.5
        ]
        return [f"correlations over 0.5: {', '.join(found)}"] if found else []

    def _repr_html_(self) -> str:
        """The summary, for a notebook."""
        return f"<pre>{escape(self.summary())}</pre>"
