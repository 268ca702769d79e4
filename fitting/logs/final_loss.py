"""The final loss of a run that is under way, by how finished runs of its cell went on from there.

    ln final - ln now = a + b ln(lr / lr0) + c ln(batch / batch0) + e ln(now / now0) + g + noise

at equal progress under the same schedule. A higher lr loses more in the decay (b), and a run that
is behind makes up for some of it (e), so curves alone mislead; g is a Gaussian process over ln lr
and ln batch for what is not linear. With a conjugate prior on the scale of everything the
prediction is a Student t, whose width says how few runs there are and how far the new one lies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fitting.arrays import Floats

NOISE = 0.005
"""Prior scale of the noise in ln loss: run-to-run spread and what the linear form misses."""

NOISE_RUNS = 3.0
"""How many runs that counts as. *Assumed.*"""

LEVEL_SD = 1.0
"""Prior sd of a: hardly any prior."""

SLOPE_SD = np.array([0.03, 0.03, 0.3])
"""Prior sd of b, c and e; b and c in ln loss per factor of e. *Assumed*: a decay from 4 times
the lr then takes 4% more off the loss."""

BEND_SD = 0.02
"""Prior sd of g. *Assumed.*"""

LENGTH = 2.0
"""Its correlation length in ln lr and ln batch. *Assumed.*"""


@dataclass(frozen=True, slots=True)
class Peers:
    """Finished runs of one cell, as columns of equal length; every value finite and above 0."""

    lr: Floats
    batch_tokens: Floats
    now: Floats
    """Smoothed training loss at the progress of the run to judge, nats per token."""
    final: Floats
    """Final loss, nats per token."""


@dataclass(frozen=True, slots=True)
class FinalLoss:
    """A Student t distribution of ln final loss."""

    location: float
    scale: float
    freedom: float

    def lower(self, chance: float) -> float:
        """The loss that the run ends below with a given chance, nats per token."""
        from scipy.stats import t

        return float(np.exp(self.location + self.scale * t.ppf(chance, self.freedom)))


def kernel(first: Floats, second: Floats) -> Floats:
    """Prior covariance of ln final - ln now between runs, without noise, shape (n, m).

    Columns are ln lr, ln batch and ln now over a common centre.
    """
    distance = np.sum((first[:, None, :2] - second[:, :2]) ** 2, axis=2) / LENGTH**2
    linear = LEVEL_SD**2 + (first * SLOPE_SD**2) @ second.T
    covariance: Floats = linear + BEND_SD**2 * np.exp(-distance / 2)
    return covariance


def predict_final(peers: Peers, *, lr: float, batch_tokens: float, now: float) -> FinalLoss:
    """What a run will end at.

    Args:
        peers: finished runs of its cell, at least one.
        lr: of the run, > 0.
        batch_tokens: of the run, > 0.
        now: its smoothed training loss at the same progress, nats per token, > 0.
    """
    columns = np.log(np.column_stack([peers.lr, peers.batch_tokens, peers.now]))
    centre = columns.mean(axis=0)
    here = np.log([[lr, batch_tokens, now]]) - centre
    known = columns - centre
    drop = np.log(peers.final / peers.now)
    across = kernel(here, known)[0]
    solved = np.linalg.solve(
        kernel(known, known) + NOISE**2 * np.eye(len(drop)), np.column_stack([drop, across])
    )
    # The scale of the whole prior is learnt too: 1 is what the constants above say.
    freedom = NOISE_RUNS + len(drop)
    scale = (NOISE_RUNS + drop @ solved[:, 0]) / freedom
    variance = kernel(here, here)[0, 0] + NOISE**2 - across @ solved[:, 1]
    return FinalLoss(
        location=float(np.log(now) + across @ solved[:, 0]),
        scale=float(np.sqrt(scale * variance)),
        freedom=freedom,
    )
