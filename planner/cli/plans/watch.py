"""`plan watch`: a run's log checked while it trains."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from fitting.errors import InputError
from planner.cli.console import emit, say, to_json
from planner.cli.options import AS_JSON, argument, make_app, option

if TYPE_CHECKING:
    from fitting.logs.faults import Fault
    from fitting.logs.series import RunLog
    from planner.health.watch import Watched

FOUND = 1
"""Exit code where something was found."""

EXAMPLES = """Examples:

plan watch log.csv

plan watch log.csv --plan plan.json --curve curve.toml --follow || echo look"""

app = make_app()

_AGAINST = "Held against"
_FOLLOW = "While it trains"


@app.command(epilog=EXAMPLES)
def watch(
    log: Path = argument(
        "LOG",
        "CSV, Parquet, JSON lines, trainer_state.json, W&B chart or TensorBoard folder: step, "
        "loss; lr, grad_norm, max_attention_logit where logged",
    ),
    plan: Path | None = option(_AGAINST, "--plan", "PLAN.json", "whose lr it should have"),
    curve: Path | None = option(_AGAINST, "--curve", "CURVE.toml", "law that foretells its loss"),
    warmup_steps: float = option(
        _AGAINST,
        "--warmup-steps",
        "STEPS",
        "of the run, for --curve where there is no --plan",
        default=0.0,
    ),
    follow: bool = option(
        _FOLLOW, "--follow", None, "look again as it grows, until interrupted", default=False
    ),
    every: float = option(
        _FOLLOW, "--every", "SECONDS", "between two looks of --follow", default=10.0
    ),
    as_json: bool = AS_JSON,
) -> None:
    """Check a run's log for spikes, drift, plateaus, NaN and losses above a forecast.

    Prints each fault with its step and size. Thresholds come from the log's own noise: a healthy
    log gives an alarm about once in a hundred. Exit code 0 healthy, 1 something found, 2 bad input.
    """
    from fitting.logs.series import read_growing, read_log
    from planner.health.watch import watch_growing, watch_log
    from planner.plan.file import load_plan
    from planner.recommendation.schedule import read_curve_law

    if not 0 < every < math.inf:
        raise InputError(f"--every {every:g}: seconds above 0")
    document = None if plan is None else load_plan(plan)
    law = None if curve is None else read_curve_law(curve)
    look: Callable[[RunLog], Watched] = partial(
        watch_log, plan=document, law=law, warmup_steps=warmup_steps
    )
    if not follow:
        found = look(read_log(log))
        emit(_as_dict(found), "\n".join(_report(found)), as_json=as_json)
        raise typer.Exit(FOUND if found.faults else 0)
    any_found = False
    try:
        looks = watch_growing(partial(read_growing, log), look, partial(_pause, every))
        for found, new in looks:
            any_found |= bool(new)
            _tell(found, new, as_json=as_json)
    except KeyboardInterrupt:
        say("stopped")
    raise typer.Exit(FOUND if any_found else 0)


def _pause(seconds: float) -> bool:
    """Wait for the next look."""
    time.sleep(seconds)
    return True


def _tell(found: Watched, new: list[Fault], *, as_json: bool) -> None:
    """Print what is new, a line each, and how far the log is on a terminal."""
    from planner.health.watch import fault_line

    for fault in new:
        print(to_json(asdict(fault), indent=None) if as_json else fault_line(fault), flush=True)
    if sys.stderr.isatty():
        say(f"step {found.log.step[-1]:,.0f}")


def _report(found: Watched) -> list[str]:
    """The log in one line, its faults, and what could not be judged."""
    from planner.health.watch import fault_line

    log = found.log
    noise = "" if found.noise is None else f"; noise of a row {found.noise:.2g} nats"
    lines = [
        f"{log.name}: {len(log.step):,} rows, steps {log.step[0]:,.0f} to {log.step[-1]:,.0f}, "
        f"loss {log.loss[-1]:.4g}{noise}"
    ]
    lines += [fault_line(fault) for fault in found.faults]
    if not found.faults:
        lines.append("healthy: nothing that its noise does not explain")
    return [*lines, *(f"not judged: {note}" for note in found.notes)]


def _as_dict(found: Watched) -> dict[str, Any]:
    """What was found, for --json."""
    return {
        "log": found.log.name,
        "rows": len(found.log.step),
        "first_step": float(found.log.step[0]),
        "last_step": float(found.log.step[-1]),
        "noise": found.noise,
        "faults": [asdict(fault) for fault in found.faults],
        "notes": list(found.notes),
    }
