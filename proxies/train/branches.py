"""Several budgets from one stable run: WSD's decays branch off where each of them begins.

A warmup-stable-decay run of any budget is the same run until its decay starts. One trunk is
trained at the peak, and each budget's decay goes on from the trunk's state at that step: a sweep
over budgets costs the longest stable phase and the decays, not the sum of the runs. Each branch is
the run that `train_run` makes of its spec, number for number.

Source: Hu et al. 2024 (arXiv 2404.06395), section 4; Hägele et al. 2024 (arXiv 2405.18392).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fitting.errors import InputError
from proxies.corpus import Corpus
from proxies.run.batching import count_steps
from proxies.run.result import CurvePoint, RunResult, Status
from proxies.run.schedule import make_schedule
from proxies.run.spec import RunSpec
from proxies.train.checkpoint import identify_run
from proxies.train.loop import Probe, advance, finish, keep_in, resume
from proxies.train.state import capture_state, restore_state, start_state


def branch_specs(spec: RunSpec, budgets: Sequence[int]) -> list[RunSpec]:
    """The run of each budget, all with the warmup of `spec` and its decay's share of the steps.

    Args:
        spec: a WSD run whose batch is known ahead.
        budgets: tokens, each at least 1 and named once.

    Returns:
        One spec a budget, in rising order.

    Raises:
        InputError: another schedule, an adaptive batch, a budget twice, or one too short for the
            warmup and its decay.
    """
    schedule = spec.schedule
    if schedule.kind != "wsd":
        raise InputError(f"branches: schedule {schedule.kind} has no stable phase; use wsd")
    if spec.batching.adaptive:
        raise InputError(
            f"branches: batching {spec.batching.kind} depends on the run; use fixed or ramp"
        )
    if not budgets or len(set(budgets)) < len(budgets):
        raise InputError(f"branches: budgets {list(budgets)}; name each once, at least one")
    share = schedule.decay_steps / schedule.steps
    found = []
    for tokens in sorted(budgets):
        steps = count_steps(spec.batching, tokens=tokens, seq_len=spec.seq_len)
        wsd = make_schedule(
            "wsd",
            steps=steps,
            warmup_steps=schedule.warmup_steps,
            decay_steps=max(1, round(share * steps)),
            decay_shape=schedule.decay_shape,
            final_lr_fraction=schedule.final_lr_fraction,
        )
        found.append(replace(spec, tokens=tokens, schedule=wsd))
    return found


def train_branches(
    spec: RunSpec,
    corpus: Corpus,
    budgets: Sequence[int],
    *,
    directory: Path | None = None,
    device: str = "cpu",
    probes: Sequence[Probe] = (),
    on_step: Callable[[CurvePoint], bool] | None = None,
) -> list[RunResult]:
    """Train one model to each budget, the stable phase once.

    With a directory the trunk is kept in `trunk` and each branch in `tokens-BUDGET` of it; after a
    kill the same call goes on where it stopped, and a larger budget goes on from the trunk.

    Args:
        spec: as `branch_specs` has it.
        corpus: as in `train_run`.
        budgets: tokens of each result.
        directory: None to keep nothing.
        device: cpu, cuda or cuda:N.
        probes: called on each trained model.
        on_step: told of each update of trunk and branches; False ends the trunk or that branch,
            and every longer budget with the trunk.

    Returns:
        One result a budget, in rising order; those beyond a trunk that diverged or was pruned
        have its status and curve.

    Raises:
        InputError: as `branch_specs` and `train_run`.
    """
    specs = branch_specs(spec, budgets)
    state = start_state(specs[-1], corpus, device=device)
    trunk = keep_in(_part(directory, "trunk"), trunk_identity(specs[-1], corpus))
    resume(state, trunk)
    results: list[RunResult] = []
    status: Status = "finished"
    for branch in specs:
        start = branch.schedule.warmup_steps + branch.schedule.stable_steps
        part = keep_in(
            _part(directory, f"tokens-{branch.tokens}"),
            identify_run(branch, corpus_fingerprint=corpus.fingerprint),
        )
        if status == "finished":
            status = advance(
                state, specs[-1], corpus, keeping=trunk, on_step=on_step, until_step=start
            )
        at_branch = copy.deepcopy(capture_state(state))
        ended = status
        if status == "finished":
            if not resume(state, part) and state.step > start:
                raise InputError(
                    f"{part.folder}: its checkpoint is gone, and the trunk beside it is past "
                    "its branch; delete both to start again"
                )
            ended = advance(state, branch, corpus, keeping=part, on_step=on_step)
        results.append(finish(state, branch, corpus, status=ended, keeping=part, probes=probes))
        restore_state(state, at_branch)
    return results


def trunk_identity(spec: RunSpec, corpus: Corpus) -> dict[str, Any]:
    """What the trunk's checkpoint agrees on with any budget: all but tokens, stable and decay."""
    identity = identify_run(spec, corpus_fingerprint=corpus.fingerprint)
    del identity["tokens"]
    return identity | {"schedule": {"warmup_steps": spec.schedule.warmup_steps}}


def _part(directory: Path | None, name: str) -> Path | None:
    """A folder in `directory`, where there is one."""
    return None if directory is None else directory / name
