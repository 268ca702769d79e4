"""`plan check`: a trainer's config beside what we would recommend."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from planner.cli.trainers.configs import (
    ConfigFile,
    Devices,
    Json,
    Params,
    SeqLen,
    Tokens,
    TrainerName,
    given_of,
)

EXAMPLES = """Examples:

plan check megatron pretrain.sh

plan check transformers training_args.json --params 1B --tokens 20B --devices 8"""

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich", epilog=EXAMPLES
)


@app.command(epilog=EXAMPLES)
def check(
    trainer: TrainerName,
    file: ConfigFile,
    params: Params = None,
    tokens: Tokens = None,
    seq_len: SeqLen = None,
    devices: Devices = None,
    anchor: Annotated[
        list[str] | None,
        typer.Option(metavar="ANCHOR", help="A model you tuned, as plan --anchor; repeatable."),
    ] = None,
    laws: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Your own law file; repeatable.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare a trainer's config with what we would recommend for it.

    Prints each number beside ours, where it would lie in a setup nobody measured, what it costs in
    loss by the measured surface, what looks unstable and one verdict line. Exit 0 for any verdict.
    """
    from planner.plan.anchor_text import read_anchors
    from planner.review.check import check_run
    from planner.review.check_text import check_lines, check_to_dict
    from planner.trainers.import_config import import_config

    config = import_config(trainer, file, given_of(params, tokens, seq_len, devices))
    found = check_run(
        config,
        anchors=read_anchors(anchor or (), seq_len=config.run.seq_len),
        law_files=tuple(laws or ()),
    )
    if as_json:
        print(json.dumps(check_to_dict(found), indent=2, allow_nan=False))
        return
    print("\n".join(check_lines(found)))
    for warning in found.cautions:
        print("of our plan:", warning, file=sys.stderr)
