"""An anchor from the config of a trainer: the run that it describes, tuned and gone well."""

from __future__ import annotations

from pathlib import Path

from fitting.errors import InputError
from planner.facts.anchor import DEFAULT_GRID, Anchor, make_anchor, own_errors
from planner.trainers.import_config import import_config


def anchor_of_config(text: str) -> Anchor:
    """The model of `TRAINER:FILE`, as `transformers:training_args.json`.

    Raises:
        InputError: no such trainer, or a file that its reader cannot read or that says half of
            the run.
    """
    trainer, _, name = text.partition(":")
    where = f"--anchor '{text}'"
    try:
        config = import_config(trainer, Path(name))
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    if config.notes:
        raise InputError(
            f"{where}: {'; '.join(config.notes)}: so its batch and tokens are not known; write it "
            "as 'params=134M tokens=2.7B lr=8e-3 batch=0.5M'"
        )
    run, rule = config.run, config.run.parametrization
    decay = run.weight_decay or None
    return make_anchor(
        where,
        params=float(run.active.params),
        tokens=float(run.total_tokens),
        lr=run.lr,
        batch_tokens=float(run.batch_tokens),
        weight_decay=decay,
        optimizer=run.optimizer.name,
        parametrization=rule.name,
        d_model=run.shape.d_model,
        base_d_model=None if rule.name == "sp" else rule.base_d_model,
        log_sd=own_errors(
            DEFAULT_GRID, batch_tokens=float(run.batch_tokens), weight_decay=decay, loss=None
        ),
    )
