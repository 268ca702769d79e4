"""`plan import-config`: a trainer's config as a target and pins."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fitting.units import parse_count

if TYPE_CHECKING:
    from planner.trainers.files import Given

EXAMPLES = """Examples:

plan import-config nanotron config_smollm2_135M.yaml

plan import-config transformers training_args.json --params 1B --tokens 20B --devices 8"""

TrainerName = Annotated[
    str, typer.Argument(metavar="TRAINER", help="One that plan trainers lists.")
]
ConfigFile = Annotated[Path, typer.Argument(metavar="FILE", help="Its config: a file or folder.")]
Params = Annotated[
    str | None, typer.Option(metavar="PARAMS", help="Where the file has no model: non-embedding.")
]
Tokens = Annotated[
    str | None, typer.Option(metavar="TOKENS", help="Where the file says no steps: trained on.")
]
SeqLen = Annotated[
    int | None, typer.Option(metavar="TOKENS", help="Where the file does not say: a sequence.")
]
Devices = Annotated[
    int | None, typer.Option(metavar="COUNT", help="Where the file does not say: GPUs.", min=1)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich", epilog=EXAMPLES
)


@app.command(epilog=EXAMPLES)
def import_config(
    trainer: TrainerName,
    file: ConfigFile,
    params: Params = None,
    tokens: Tokens = None,
    seq_len: SeqLen = None,
    devices: Devices = None,
    as_json: Json = False,
) -> None:
    """Read a trainer's config back to a target and pins.

    Prints the plan command line that plans the same run; what it cannot pin goes to stderr.
    --json prints the target, the shape and every number that the file says.
    """
    from planner.facts.laws import read_lawbook
    from planner.plan.configs import command_of_config, config_to_dict, unsaid
    from planner.trainers.import_config import import_config as read_config

    config = read_config(trainer, file, given_of(params, tokens, seq_len, devices))
    book = read_lawbook()
    if as_json:
        print(json.dumps(config_to_dict(config, book), indent=2, allow_nan=False))
        return
    left_out = unsaid(config, book)
    print(command_of_config(config))
    for note in (*config.faults, *config.notes):
        print("note:", note, file=sys.stderr)
    for note in left_out:
        print("not in the command:", note, file=sys.stderr)


def given_of(
    params: str | None, tokens: str | None, seq_len: int | None, devices: int | None
) -> Given:
    """What was typed beside the file."""
    from planner.trainers.files import Given

    return Given(
        params=None if params is None else parse_count(params, where="--params"),
        tokens=None if tokens is None else parse_count(tokens, where="--tokens"),
        seq_len=seq_len,
        devices=devices,
    )
