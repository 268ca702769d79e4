"""Do two small widths name the lr at which a third one's attention logits run away?

    python -m tests.benchmarks.stability_forecast train
    python -m tests.benchmarks.stability_forecast report

`train` runs `data/sweeps/stability.toml` (widths 32, 64 and 128, lr by factors of 2 up to 0.26,
Python's own sources as bytes), once without norms on queries and keys and once with them, and
writes the table. `report` fits the logits of widths 32 and 64 alone and compares the lr foretold
for width 128 with the one between its runs, log-linear, at each threshold that all sizes pass.
Recorded on 2026-11-21 on 2 shared CPU cores, torch 2.13: about 5 core minutes; `seconds` is wall
time and longer.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pandas as pd

from fitting.probes.lr_sensitivity import lr_sensitivities
from fitting.runs.table import read_runs
from tests.measured.stability_forecast import NORMED, PLAIN, RECORDED, ROOT, forecasts

COLUMNS = [
    *("run_id", "params", "tokens", "loss", "lr", "batch_tokens", "weight_decay", "optimizer"),
    *("parametrization", "d_model", "n_layers", "vocab_size", "seq_len", "seed", "loss_se"),
    *("status", "corpus", "group", "max_attention_logit", "attention_entropy", "output_log_z"),
    *("grad_rms", "loss_at_init", "top_singular_value", "seconds"),
]
"""Kept of a sweep's table."""


def main() -> None:
    """Train or report."""
    if sys.argv[1] == "train":
        train()
        return
    print(report(RECORDED))


def train() -> None:
    """Run both sweeps and write the table."""
    from proxies.sweep.folder.records import TABLE
    from proxies.sweep.run_sweep import Means, run_sweep
    from proxies.sweep.spec_file import read_spec

    spec = read_spec(ROOT / "data" / "sweeps" / "stability.toml")
    tables = []
    normed = replace(spec.model, qk_norm="per-head")
    for group, model in ((PLAIN, spec.model), (NORMED, normed)):
        with tempfile.TemporaryDirectory() as folder:
            changed = replace(spec, model=model)
            run_sweep(changed, Path(folder), means=Means(executor="sequential"))
            tables.append(pd.read_parquet(Path(folder) / TABLE).assign(group=group))
    record(tables)


def record(tables: list[pd.DataFrame]) -> None:
    """Write the runs of both groups as one table."""
    table = pd.concat(tables)
    table["run_id"] = table["group"] + "-" + table["run_id"]
    table.sort_values(["group", "params", "lr"])[COLUMNS].to_csv(
        RECORDED, index=False, float_format="%.7g"
    )


def report(path: Path) -> str:
    """The table of forecasts, and what the norm does to the lr sensitivity."""
    lines = ["logit    foretold lr (80%)             measured lr   off by   inside"]
    for each in forecasts(path):
        foretold = f"{each.foretold:.3g} ({each.low:.3g} to {each.high:.3g})"
        lines.append(
            f"{each.threshold:6g}   {foretold:30}{each.measured:<14.3g}x {each.factor:.2f}   "
            f"{'yes' if each.inside else 'no'}"
        )
    runs = read_runs(path)
    lines += ["", "width   group        largest logit at lr 0.26   lr sensitivity, nats"]
    for group in (PLAIN, NORMED):
        part = runs.select(runs.table["group"] == group)
        for model in lr_sensitivities(part, bounds=None):
            rows = part.table[part.table["params"] == model.params].sort_values("lr")
            lines.append(
                f"{rows['d_model'].iloc[0]:5.0f}   {group:11}  "
                f"{rows['max_attention_logit'].iloc[-1]:24.4g}   {model.value:20.3f}"
            )
    lines.append(f"\n{len(runs.table)} runs")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
