"""Plain PyTorch: one module to paste that needs torch and nothing else.

It has the plan's constants, the parameter groups by name pattern, the init, the forward
multipliers as hooks, the optimizers, the schedule as a `LambdaLR` and a short training loop. The
model is the user's own: it has the parameter names of transformers' LLaMA-like models, or the
patterns are edited. It must compute attention with 1/sqrt(head_dim) and no multipliers itself.

The schedule samples s = k + 1, so that the first step trains and the last is at the final lr;
the offset is the constant FIRST_STEP. Nothing of a plan is lost.
"""

from __future__ import annotations

import math
from dataclasses import asdict, astuple
from pprint import pformat
from typing import Any

from fitting.errors import InputError
from planner.trainers.files import Files
from planner.trainers.python_source import parse, read_constants
from planner.trainers.trainer import Trainer
from planner.trainers.values import as_float, as_int
from proxies.run.batching import GrowthStage
from proxies.run.groups import ParamGroup
from proxies.run.layout import Layout
from proxies.run.parametrization import Optimizer, make_parametrization
from proxies.run.schedule import Checkpoint, make_schedule
from proxies.run.shape import Shape
from proxies.run.spec import RunSpec, base_std, make_run

FIRST_STEP = 1
"""Progress at which the first update samples the schedule."""

TEMPLATE = '''

def lr_fraction(k: int) -> float:
    """lr / peak of update k = 0, 1, ...: the schedule at s = k + FIRST_STEP."""
    s, begin = k + FIRST_STEP, 0
    for steps, start, end, shape in STAGES:
        if s <= begin + steps:
            return SHAPES[shape](start, end, (s - begin) / steps)
        begin += steps
    return STAGES[-1][2]


def group_of(name: str) -> dict:
    """The parameter group whose pattern the name matches from end to end."""
    found = [group for group in GROUPS if re.fullmatch(group["pattern"], name)]
    if len(found) != 1:
        raise ValueError(f"{name}: matches {len(found)} patterns of GROUPS; edit them")
    return found[0]


@torch.no_grad()
def init_weights(model: torch.nn.Module) -> None:
    """Normal weights with the group's std; norm gains 1, biases 0."""
    for name, p in model.named_parameters():
        std = group_of(name)["init_std"]
        if std is None:
            p.fill_(0.0 if name.endswith("bias") else 1.0)
        else:
            p.normal_(0.0, std)


def apply_multipliers(model: torch.nn.Module) -> None:
    """Scale the outputs of the modules that MULTIPLIERS names."""
    for name, module in model.named_modules():
        for pattern, factor in MULTIPLIERS:
            if re.fullmatch(pattern, name):
                module.register_forward_hook(lambda _m, _i, out, factor=factor: out * factor)


def make_optimizers(model: torch.nn.Module) -> list[torch.optim.Optimizer]:
    """One optimizer of each kind, with a param group for each of GROUPS."""
    kinds: dict[str, list] = {}
    for group in GROUPS:
        params = [p for name, p in model.named_parameters() if group_of(name) is group]
        if params:
            options = {"params": params, "lr": group["lr"], "weight_decay": group["weight_decay"]}
            if group["optimizer"] == "muon":
                options["momentum"] = group["betas"][0]
            else:
                options["betas"] = group["betas"]
            if group["optimizer"] == "adamw":
                options["eps"] = group["eps"]
            kinds.setdefault(group["optimizer"], []).append(options)
    return [OPTIMIZERS[kind](groups) for kind, groups in kinds.items()]
'''

FIXED = '''

def train(model: torch.nn.Module, micro_batches) -> None:
    """STEPS updates from tokens of shape (MICRO_BATCH, SEQ_LEN + 1), ACCUMULATION an update.

    Call it on each of DATA_PARALLEL ranks with its own data, `model` wrapped in DDP or FSDP after
    init_weights and apply_multipliers, so that GLOBAL_BATCH sequences make an update.
    """
    optimizers = make_optimizers(model)
    schedulers = [torch.optim.lr_scheduler.LambdaLR(o, lr_fraction) for o in optimizers]
    data = iter(micro_batches)
    for _step in range(STEPS):
        for _ in range(ACCUMULATION):
            tokens = next(data)
            logits = model(tokens[:, :-1])
            logits = getattr(logits, "logits", logits).float()
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
            loss = loss + Z_LOSS * logits.logsumexp(-1).square().mean()
            (loss / ACCUMULATION).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), GRAD_CLIP)
        for optimizer, scheduler in zip(optimizers, schedulers):
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
'''

GROWING = '''

def stage_after(seen: int) -> tuple:
    """First token, batch, lr factor and beta2 of the update that starts after `seen` tokens."""
    return [stage for stage in BATCH_GROWTH if stage[0] <= seen][-1]


def train(model: torch.nn.Module, micro_batches) -> None:
    """STEPS planned batches of tokens in updates of BATCH_GROWTH; the last one is whole.

    An update's place in the schedule is the tokens seen, its own included, over the planned batch.
    Call it on each of DATA_PARALLEL ranks with its own data, tokens of shape (MICRO_BATCH, SEQ_LEN
    + 1), `model` wrapped in DDP or FSDP after init_weights and apply_multipliers.
    """
    optimizers = make_optimizers(model)
    groups = [(group, group["lr"]) for o in optimizers for group in o.param_groups]
    data, seen, total = iter(micro_batches), 0, STEPS * GLOBAL_BATCH * SEQ_LEN
    while seen < total:
        _, batch, factor, beta2 = stage_after(seen)
        seen += batch * SEQ_LEN
        progress = min(seen, total) / (GLOBAL_BATCH * SEQ_LEN)
        for group, peak in groups:
            group["lr"] = peak * factor * lr_fraction(progress - FIRST_STEP)
            if beta2 != OPTIMIZER["beta2"]:
                group["betas"] = (group["betas"][0], beta2)
        accumulation = batch // (MICRO_BATCH * DATA_PARALLEL)
        for _ in range(accumulation):
            tokens = next(data)
            logits = model(tokens[:, :-1])
            logits = getattr(logits, "logits", logits).float()
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
            loss = loss + Z_LOSS * logits.logsumexp(-1).square().mean()
            (loss / accumulation).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), GRAD_CLIP)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
'''

LION = '''
class Lion(torch.optim.Optimizer):
    """Sign of an interpolated momentum, with decoupled weight decay (arXiv 2302.06675)."""

    def __init__(self, params):
        super().__init__(params, {"lr": 1e-4, "betas": (0.9, 0.99), "weight_decay": 0.0})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(momentum.lerp(p.grad, 1 - beta1).sign_(), alpha=-group["lr"])
                momentum.lerp_(p.grad, 1 - beta2)

'''

SHAPES = {
    "linear": "a + (b - a) * p",
    "1-sqrt": "a + (b - a) * math.sqrt(p)",
    "cosine": "a + (b - a) * (1 - math.cos(math.pi * p)) / 2",
    "square": "a + (b - a) * p * p",
    "2^(1-p)-1": "a + (b - a) * (2 - 2 * 0.5**p)",
    "exponential": "a ** (1 - p) * b**p",
    "inverse-sqrt": "a / math.hypot(math.sqrt(1 - p), math.sqrt(p) * a / b)",
    "drop": "a if p == 0 else b",
}
"""Value of a stage from a to b at its own progress p in [0, 1], as the file writes it."""

OPTIMIZERS = {
    "adamw": '    "adamw": torch.optim.AdamW,',
    "lion": '    "lion": Lion,',
    "muon": '    "muon": partial(torch.optim.Muon, adjust_lr_fn="match_rms_adamw"),',
}
"""Lines of the file's table of optimizers."""


def write(run: RunSpec, head: list[str]) -> Files:
    """The module's text."""
    used = list(dict.fromkeys(group.optimizer for group in run.groups))
    lines = [f"# {line}" for line in head]
    lines += ["", "import math", "import re"]
    lines += ["from functools import partial"] if "muon" in used else []
    lines += ["", "import torch", ""]
    for name, value in constants(run).items():
        lines.append(f"{name} = {pformat(value, width=90, sort_dicts=False)}")
    text = "\n".join(lines) + "\n" + (LION if "lion" in used else "")
    shapes = dict.fromkeys(stage.shape for stage in run.schedule.stages)
    tables = [
        *("", "SHAPES = {"),
        *(f'    "{name}": lambda a, b, p: {SHAPES[name]},' for name in shapes),
        *("}", "", "OPTIMIZERS = {"),
        *(OPTIMIZERS[name] for name in used),
        "}",
    ]
    training = GROWING if run.growth else FIXED
    return {"": text + "\n".join(tables) + "\n" + TEMPLATE + training}


def constants(run: RunSpec) -> dict[str, Any]:
    """The module's constants by name, in order."""
    schedule, rule = run.schedule, run.parametrization
    return {
        "SHAPE": asdict(run.shape),
        "SEQ_LEN": run.seq_len,
        "GLOBAL_BATCH": run.batch_sequences,
        "MICRO_BATCH": run.layout.micro_batch_sequences,
        "ACCUMULATION": run.accumulation,
        "DATA_PARALLEL": run.layout.data,
        "STEPS": schedule.steps,
        "FIRST_STEP": FIRST_STEP,
        "SCHEDULE": {
            "kind": schedule.kind,
            "warmup_steps": schedule.warmup_steps,
            "decay_shape": schedule.decay_shape,
            "final_lr_fraction": schedule.final_lr_fraction,
            "checkpoints": [(point.step, point.decay_steps) for point in schedule.checkpoints],
        },
        "STAGES": [(part.steps, part.start, part.end, part.shape) for part in schedule.stages],
        "LR": run.lr,
        "WEIGHT_DECAY": run.weight_decay,
        "OPTIMIZER": {
            name: getattr(run.optimizer, name) for name in ("name", "beta1", "beta2", "eps")
        },
        "GRAD_CLIP": run.optimizer.grad_clip,
        "Z_LOSS": run.z_loss,
        "PARAMETRIZATION": {
            name: getattr(rule, name)
            for name in ("name", "base_d_model", "base_n_layers", "base_head_dim")
        },
        "MULTIPLIERS": multipliers(run),
        "GROUPS": [asdict(group) for group in run.groups],
        **growth_constants(run),
    }


def growth_constants(run: RunSpec) -> dict[str, Any]:
    """The stages of a growing batch: first token, batch, lr factor, beta2; none for a fixed one."""
    stages = [astuple(stage) for stage in run.growth]
    return {"BATCH_GROWTH": stages} if stages else {}


def multipliers(run: RunSpec) -> list[tuple[str, float]]:
    """Patterns of modules and the factors on their outputs, those of 1 left out.

    The attention scale is applied to the queries, which the model scales by 1/sqrt(head_dim):
    after their norm where they have one, since a norm would undo it.
    """
    rule, shape = run.parametrization, run.shape
    query = "q_proj" if shape.qk_norm == "none" else "q_norm"
    found = [
        (r"(.*\.)?embed_tokens", rule.embedding_multiplier),
        (rf"(.*\.)?layers\.\d+\.self_attn\.{query}", rule.attention_scale * shape.head_dim**0.5),
        (r"(.*\.)?layers\.\d+\.(self_attn\.o_proj|mlp\.down_proj)", rule.residual_multiplier),
        (r"(.*\.)?lm_head", rule.logits_multiplier),
    ]
    return [(pattern, factor) for pattern, factor in found if not math.isclose(factor, 1.0)]


def read(files: Files) -> RunSpec:
    """The run of the module's constants.

    Raises:
        InputError: not Python, or a constant is missing or no literal.
    """
    found = read_constants(parse(files[""], "pytorch"))
    try:
        return run_from(found)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"pytorch: constant {error} is missing or not as exported") from error


def run_from(found: dict[str, Any]) -> RunSpec:
    """The run of the constants."""
    shape = Shape(**found["SHAPE"])
    plan, rule = found["SCHEDULE"], found["PARAMETRIZATION"]
    scaled = rule["name"] != "sp"
    wsd_s = plan["kind"] == "wsd-s"
    points = [Checkpoint(*point) for point in plan["checkpoints"]]
    groups = tuple(ParamGroup(**group) for group in found["GROUPS"])
    return make_run(
        shape=shape,
        seq_len=as_int(found, "SEQ_LEN"),
        batch_sequences=as_int(found, "GLOBAL_BATCH"),
        schedule=make_schedule(
            plan["kind"],
            steps=as_int(found, "STEPS"),
            warmup_steps=plan["warmup_steps"],
            decay_steps=points[-1].decay_steps if points and not wsd_s else None,
            decay_shape=plan["decay_shape"],
            final_lr_fraction=plan["final_lr_fraction"],
            checkpoints=points if wsd_s else (),
        ),
        lr=as_float(found, "LR"),
        weight_decay=as_float(found, "WEIGHT_DECAY"),
        optimizer=Optimizer(**found["OPTIMIZER"], grad_clip=as_float(found, "GRAD_CLIP")),
        parametrization=make_parametrization(
            rule["name"],
            d_model=shape.d_model,
            n_layers=shape.n_layers,
            head_dim=shape.head_dim,
            base_d_model=rule["base_d_model"] if scaled else None,
            base_n_layers=rule["base_n_layers"] if rule["name"] == "completep" else None,
            base_head_dim=rule["base_head_dim"] if scaled else None,
        ),
        groups=groups,
        init_std=base_std(groups),
        z_loss=as_float(found, "Z_LOSS"),
        layout=Layout(
            micro_batch_sequences=as_int(found, "MICRO_BATCH"),
            data=as_int(found, "DATA_PARALLEL"),
        ),
        growth=tuple(
            GrowthStage(from_token=token, batch_sequences=batch, lr_factor=factor, beta2=beta2)
            for token, batch, factor, beta2 in found.get("BATCH_GROWTH", ())
        ),
    )


def cannot_grow(run: RunSpec) -> str:
    """Why its loop cannot take these stages; empty where it can."""
    unit = run.layout.micro_batch_sequences * run.layout.data
    if any(stage.batch_sequences % unit for stage in run.growth):
        return f"a stage is no multiple of micro-batch x data parallel, {unit} sequences"
    moved = any(stage.beta2 != run.optimizer.beta2 for stage in run.growth)
    if moved and {group.optimizer for group in run.groups} != {"adamw"}:
        return f"its groups of {run.optimizer.name} do not share one beta2"
    return ""


def sample_point(_run: RunSpec, step: int) -> float:
    """s = k + FIRST_STEP."""
    return float(step + FIRST_STEP)


TRAINER = Trainer(
    title="PyTorch 2.13",
    output="a Python module",
    schedules={
        "wsd": tuple(SHAPES),
        "wsd-s": tuple(SHAPES),
        "linear": ("linear",),
        "cosine": ("cosine",),
        "inverse-sqrt": ("inverse-sqrt",),
        "two-stage": ("drop",),
        "constant": (),
    },
    optimizers=("adamw", "lion", "muon"),
    parametrizations=("sp", "mup", "completep"),
    parts={},
    per_group="lr, weight decay, betas, eps, init",
    mup="",
    batch_ramp="stages of batch, lr factor and beta2 in its own loop",
    write=write,
    read=read,
    sample_point=sample_point,
    cannot_grow=cannot_grow,
    z_loss=True,
)
