"""What the commands print, recorded: so that a move of code shows that nothing else moved.

    python -m tests.goldens [GROUP...]

rewrites `tests/golden/GROUP/NAME.txt`, one file a situation of `SITUATIONS`: the commands as they
are typed, then the output of the last one, its warnings, and the files that it wrote. The test
`tests/test_goldens.py` compares: text to the byte, numbers of fits and reports within 1e-6.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

from planner.cli import main
from tests.fixtures.runs import decayed_table, loss_table, tuned_table

GOLDEN = Path(__file__).parent / "golden"

DATA = Path(__file__).parents[1] / "data"
EXAMPLE = DATA / "runs" / "example.csv"
CURVE = DATA / "laws" / "multi-power-100m.toml"

PLANS: dict[str, str] = {
    "default": "--params 1B --tokens 20B",
    "small": "--params 100M --tokens 2B",
    "tiny": "--params 5M --tokens 50M",
    "large": "--params 70B --tokens 2T",
    "flops": "--flops 1e21",
    "tokens_per_param": "--params 400M --tokens-per-param 20",
    "known_model": "--model llama-3.2-1b --tokens 100B",
    "own_shape": "--d-model 1024 --layers 24 --heads 16 --tokens 10B --tied --vocab 50304",
    "seq_len": "--params 300M --tokens 30B --seq-len 4096",
    "pinned_batch": "--params 1B --tokens 20B --batch 1M",
    "pinned_lr": "--params 1B --tokens 20B --lr 3e-4",
    "pinned_decay": "--params 1B --tokens 20B --weight-decay 0.1",
    "pinned_all": "--params 1B --tokens 20B --batch 2M --lr 5e-4 --weight-decay 0.05 --warmup 500",
    "pinned_steps": "--params 1B --tokens 20B --steps 20000",
    "far_batch": "--params 1B --tokens 20B --batch 64M",
    "cosine": "--params 1B --tokens 20B --schedule cosine",
    "linear": "--params 1B --tokens 20B --schedule linear",
    "checkpoints": "--params 400M --checkpoints 5B,10B,20B",
    "pow2": "--params 1B --tokens 20B --round-batch pow2",
    "mup": "--params 1B --tokens 20B --parametrization mup --base-width 256",
    "completep": "--params 1B --tokens 20B --parametrization completep --base-layers 4",
    "lion": "--params 1B --tokens 20B --optimizer lion",
    "muon": "--params 1B --tokens 20B --optimizer muon",
    "law": "--params 1B --tokens 20B --law deepseek",
    "law_with_loss": "--params 1B --tokens 20B --law kaplan",
    "own_laws": "--params 1B --tokens 20B --laws laws.toml",
    "anchor": "--params 1B --tokens 20B --anchor 'params=134M tokens=2.7B lr=8e-3 batch=0.5M'",
    "anchors": "--params 7B --tokens 140B --anchor 'params=134M tokens=2.7B lr=2e-3 batch=0.5M "
    "loss=3.1 weight-decay=0.1' --anchor 'params=400M tokens=8B lr=1e-3 batch=0.5M loss=2.8'",
    "gpus": "--params 1B --tokens 20B --gpus 8xH100",
    "many_gpus": "--model llama-3.1-70b --tokens 2T --gpus 1024xH100 --price 2.5",
    "too_small_gpu": "--params 30B --tokens 600B --gpus 1xrtx4090",
    "unnamed_gpus": "--params 1B --tokens 20B --gpus 8",
    "days": "--days 3 --gpus 8xH100",
    "cost": "--cost 5000 --gpus 64xH100 --price 2.5 --inference-tokens 1T",
    "repeats": "--params 400M --tokens 40B --unique-tokens 5B",
    "experts": "--params 400M --tokens 20B --experts 64 --active 8",
    "experts_gpus": "--params 1B --tokens 100B --experts 32 --active 4 --gpus 64xH100",
    "growth": "--params 1B --tokens 100B --batch-growth noise-scale",
    "best_schedule": "--params 100M --tokens 2B --schedule best --curve curve.toml",
    "short_run": "--params 1B --tokens 100M",
    "long_run": "--params 100M --tokens 1T",
}
"""Every situation of a plan: its options."""

FITS: dict[str, str] = {
    "example": "fit example.csv --prior none",
    "example_prior": "fit example.csv",
    "example_target": "fit example.csv --prior none --target 10M:200M",
    "tuned": "fit tuned.csv --prior none",
    "tuned_prior": "fit tuned.csv",
    "few": "fit few.csv",
    "decayed": "fit decayed.csv --prior none",
    "loss_only": "fit loss.csv",
    "two_files": "fit tuned.csv other.csv",
    "loss_few": "fit loss_few.csv",
}
"""Fits whose JSON is recorded."""

TRAINERS = (
    "litgpt",
    "megatron",
    "nanotron",
    "olmo_core",
    "pytorch",
    "torchtitan",
    "transformers",
)

EXPORTED = ("default", "own_shape", "gpus", "mup", "growth", "cosine")
"""Plans that every trainer writes, `--lossy` where it has to."""

REVIEWS: dict[str, str] = {
    "batch": "batch plan_default.json",
    "batch_plan": "batch plan_gpus.json",
    "verify": "verify plan_default.json",
    "diff": "diff plan_default.json plan_pinned_all.json",
    "diff_targets": "diff plan_default.json plan_small.json",
    "change_batch": "change batch plan_default.json --at-token 10B --batch 1M",
    "change_extend": "change extend plan_default.json --tokens 40B",
    "change_gpus": "change gpus plan_gpus.json --gpus 64xH100",
    "change_grow": "change grow plan_small.json --layers 34 --tokens 4B",
    "from_plan": "--from plan_pinned_batch.json --tokens 40B",
    "check_litgpt": "check litgpt export_cosine.yaml",
    "check_megatron": "check megatron export_default.sh",
    "check_torchtitan": "check torchtitan export_default.py",
    "import_megatron": "import-config megatron export_default.sh --json",
    "laws": "laws",
    "laws_show": "laws show step-law",
    "laws_compare": "laws compare",
    "predict": "predict loss_laws.toml loss_few.csv",
    "schedule": "schedule wsd --steps 1000 --lr 1e-3",
    "trainers": "trainers",
}
"""Commands that read plans, laws and configs."""

REPORTS: dict[str, str] = {
    "default": "report plan_default.json -o report.html",
    "small": "report plan_small.json -o report.html",
    "pinned": "report plan_pinned_all.json -o report.html",
    "laws": "report laws.toml -o report.html",
    "own_laws": "report plan_own_laws.json -o report.html",
}
"""Reports whose figures' data are recorded."""


def record(groups: list[str]) -> None:
    """Rewrite the files of the groups, all of them by default."""
    for group in groups or list(GROUPS):
        for name, text in GROUPS[group]().items():
            path = GOLDEN / group / f"{name}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


def plans() -> dict[str, str]:
    """The table, the JSON and the explanation of every plan."""
    with workplace():
        found = {name: said(f"plan {options}") for name, options in PLANS.items()}
        found |= {f"{name}.json": said(f"plan {options} --json") for name, options in PLANS.items()}
        for name in ("default", "pinned_batch", "anchors", "experts", "mup"):
            found[f"{name}.explain"] = said(f"plan {PLANS[name]} --explain")
    return found


def fits() -> dict[str, str]:
    """The JSON of every fit, numbers to 9 digits, and two summaries."""
    with workplace():
        found = {name: rounded(run(f"plan {words} --json")) for name, words in FITS.items()}
        found["example.summary"] = said(f"plan {FITS['example']}")
        found["loss_only.summary"] = said(f"plan {FITS['loss_only']}")
    return found


def exports() -> dict[str, str]:
    """What every trainer is told."""
    found = {}
    with workplace():
        for name in EXPORTED:
            write_plan_json(name)
            for trainer in TRAINERS:
                found[f"{name}.{trainer}"] = exported(f"plan_{name}.json", trainer)
    return found


def reviews() -> dict[str, str]:
    """What the commands say that read a plan, a law or a config."""
    with workplace():
        for name in ("default", "small", "pinned_all", "pinned_batch", "gpus", "cosine"):
            write_plan_json(name)
        run("plan export litgpt plan_cosine.json -o export_cosine.yaml --lossy")
        run("plan export megatron plan_default.json -o export_default.sh --lossy")
        run("plan export torchtitan plan_default.json -o export_default.py --lossy")
        return {name: said(f"plan {words}") for name, words in REVIEWS.items()}


def reports() -> dict[str, str]:
    """The data behind the figures of a report, numbers to 9 digits, and the text of its tables."""
    found = {}
    with workplace():
        for name in ("default", "small", "pinned_all", "own_laws"):
            write_plan_json(name)
        for name, words in REPORTS.items():
            printed = run(f"plan {words} --force" if name != "default" else f"plan {words}")
            page = Path("report.html").read_text(encoding="utf-8")
            data = re.search(
                r'<script type="application/json" id="data">(.*?)</script>', page, re.S
            )
            assert data is not None
            text = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.S)
            words_only = re.sub(r"\s*\n\s*", "\n", re.sub(r"<[^>]+>", "\n", text))
            found[name] = f"{rounded(data[1])}\n{words_only.strip()}\n{printed}"
    return found


GROUPS = {
    "plans": plans,
    "fits": fits,
    "exports": exports,
    "reviews": reviews,
    "reports": reports,
}


@contextlib.contextmanager
def workplace() -> Any:
    """A folder of its own with the tables, laws and curve that the commands name."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            Path("example.csv").write_bytes(EXAMPLE.read_bytes())
            batches = (65536.0, 131072.0, 262144.0, 524288.0)
            tuned = tuned_table(tokens=(2e9, 2e10), batches=batches)
            tuned.to_csv("tuned.csv", index=False)
            tuned_table(tokens=(5e9,), batches=batches).to_csv("other.csv", index=False)
            tuned[tuned.params < tuned.params.max()].iloc[::3].to_csv("few.csv", index=False)
            decayed_table().to_csv("decayed.csv", index=False)
            loss_table().to_csv("loss.csv", index=False)
            loss_table().iloc[::7].to_csv("loss_few.csv", index=False)
            run("plan fit tuned.csv --prior none --out laws.toml")
            run("plan fit loss.csv --out loss_laws.toml")
            Path("curve.toml").write_bytes(CURVE.read_bytes())
            yield
        finally:
            os.chdir(before)


def write_plan_json(name: str) -> None:
    """The JSON of a plan of `PLANS` in the workplace."""
    Path(f"plan_{name}.json").write_text(
        run(f"plan {PLANS[name]} --json", errors=False), encoding="utf-8"
    )


def exported(plan: str, trainer: str) -> str:
    """What an export writes, `--lossy` where it is refused otherwise."""
    target = Path("exported")
    printed = run(f"plan export {trainer} {plan} -o exported --force")
    if "--lossy" in printed:
        printed += run(f"plan export {trainer} {plan} -o exported --force --lossy")
    files = sorted(target.iterdir()) if target.is_dir() else [target]
    texts = [f"--- {path.name}\n{path.read_text()}" for path in files if path.exists()]
    for path in files:
        path.unlink(missing_ok=True)
    if target.is_dir():
        target.rmdir()
    return printed + "\n".join(texts)


def said(command: str) -> str:
    """A command as it is typed, and what it printed on both streams."""
    return f"$ {command}\n{run(command)}"


def run(command: str, *, errors: bool = True) -> str:
    """What a command printed; its warnings follow its output."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(shlex.split(command)[1:])
    told = f"{err.getvalue()}(exit code {code})\n" if errors and (err.getvalue() or code) else ""
    return out.getvalue() + told


def rounded(text: str) -> str:
    """JSON with every float to 9 digits, one leaf a line, so that a reader sees what moved."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return json.dumps(shorten(value), indent=1, ensure_ascii=False)


def shorten(value: Any) -> Any:
    """Floats to 9 digits at any depth; a long list of numbers to a line of text."""
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, dict):
        return {key: shorten(item) for key, item in value.items()}
    if isinstance(value, list):
        if len(value) > 4 and all(isinstance(item, int | float) for item in value):
            return " ".join(f"{item:.9g}" for item in value)
        return [shorten(item) for item in value]
    return value


if __name__ == "__main__":
    record(sys.argv[1:])
