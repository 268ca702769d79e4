"""Ensembles: every trial is the run that `train_run` makes of its spec."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from fitting.errors import InputError
from proxies.run.batching import Batching, count_steps
from proxies.run.parametrization import (
    OPTIMIZERS,
    make_parametrization,
    with_embedding_multiplier,
)
from proxies.run.result import CurvePoint, RunResult
from proxies.run.schedule import make_schedule
from proxies.run.shape import Shape
from proxies.run.spec import RunSpec
from proxies.train.ensemble import each_result, stackable, train_ensemble
from proxies.train.loop import train_run
from tests.fixtures.tiny_run import SEQ_LEN, TINY, tiny_corpus, tiny_spec, varied

CORPUS = tiny_corpus()
STEPS = 12
BASE = varied(tiny_spec(steps=STEPS), eval_sequences=16)

RTOL = 2e-6
"""Float32 sums in another order; 3e-7 was seen."""


def different_trials(base: RunSpec) -> list[RunSpec]:
    """Runs that differ in all that may differ in a stack."""
    return [
        base,
        varied(base, lr=3e-3, seed=1, grad_clip=None),
        varied(base, schedule=make_schedule("cosine", steps=STEPS), weight_decay=0.0, seed=2),
        varied(
            base,
            lr=2e-2,
            optimizer=replace(OPTIMIZERS["adamw"], beta1=0.8, beta2=0.99, eps=1e-6),
            grad_clip=0.3,
            order_seed=7,
            init_std=0.05,
            head_init_std=None if base.shape.tied_embeddings else 0.1,
            decay_rule="layerwise",
            eval_sequences=8,
        ),
    ]


def assert_same_runs(together: Sequence[RunResult], alone: Sequence[RunResult]) -> None:
    for one, other in zip(together, alone, strict=True):
        assert (one.spec, one.status, one.tokens) == (other.spec, other.status, other.tokens)
        assert one.unique_tokens == other.unique_tokens
        assert one.loss == pytest.approx(other.loss, rel=RTOL, nan_ok=True)
        assert one.loss_se == pytest.approx(other.loss_se, rel=1e-4, nan_ok=True)
        for point, expected in zip(one.curve, other.curve, strict=True):
            assert replace(point, loss=0.0, grad_norm=0.0) == replace(
                expected, loss=0.0, grad_norm=0.0
            )
            assert point.loss == pytest.approx(expected.loss, rel=RTOL)
            assert point.grad_norm == pytest.approx(expected.grad_norm, rel=1e-4)


def with_parts(spec: RunSpec, *, parametrization: str = "mup", **parts: object) -> RunSpec:
    """The spec with other parts of its shape, at twice the base width and depth."""
    shape: Shape = replace(TINY, **parts)  # type: ignore[arg-type]  # fields by name
    bases = {"mup": {"base_d_model": 8}, "completep": {"base_d_model": 8, "base_n_layers": 1}}
    rule = make_parametrization(
        parametrization,
        d_model=shape.d_model,
        n_layers=shape.n_layers,
        head_dim=shape.head_dim,
        **bases.get(parametrization, {}),
    )
    return replace(spec, shape=shape, parametrization=rule)


def with_multiplier(spec: RunSpec, value: float) -> RunSpec:
    """The spec with a multiplier on its embedding."""
    return replace(spec, parametrization=with_embedding_multiplier(spec.parametrization, value))


@pytest.mark.parametrize(
    "base",
    [
        with_parts(BASE),
        with_parts(BASE, parametrization="completep", tied_embeddings=True),
        with_parts(BASE, qk_norm="per-head", n_kv_heads=2),
        with_multiplier(with_parts(BASE), 10.0),
        with_parts(BASE, parametrization="sp", qk_norm="per-head", tied_embeddings=True),
        varied(with_parts(BASE), z_loss=1e-3, micro_batch_sequences=3),
        varied(with_parts(BASE), dtype="bfloat16"),
    ],
    ids=[
        "mup gqa",
        "completep tied",
        "mup qk-norm",
        "mup x10",
        "sp qk-norm tied",
        "micro z",
        "bf16",
    ],
)
def test_each_trial_has_the_losses_of_its_solo_run(base: RunSpec) -> None:
    specs = different_trials(base)
    together = train_ensemble(specs, CORPUS)
    alone = [train_run(spec, CORPUS) for spec in specs]
    if base.options.dtype == "bfloat16":
        # Products are rounded to 8 bits; 6e-5 was seen.
        for one, other in zip(together, alone, strict=True):
            assert one.loss == pytest.approx(other.loss, rel=1e-3)
    else:
        assert_same_runs(together, alone)


def test_a_ramped_batch_is_the_solo_runs() -> None:
    ramp = Batching(kind="ramp", sequences=4, max_sequences=12, ramp_tokens=48 * SEQ_LEN)
    tokens = 101 * SEQ_LEN
    steps = count_steps(ramp, tokens=tokens, seq_len=SEQ_LEN)
    base = replace(BASE, batching=ramp, tokens=tokens, schedule=make_schedule("wsd", steps=steps))
    specs = [base, varied(base, lr=1e-3, seed=3)]
    assert_same_runs(train_ensemble(specs, CORPUS), [train_run(spec, CORPUS) for spec in specs])


def test_a_trial_that_diverges_leaves_and_the_others_go_on() -> None:
    specs = [BASE, varied(BASE, lr=300.0, grad_clip=None), varied(BASE, seed=4)]
    results = dict(each_result(specs, CORPUS))
    statuses = [(place, result.status) for place, result in results.items()]
    assert statuses == [(1, "diverged"), (0, "finished"), (2, "finished")]
    assert math.isnan(results[1].loss)
    assert len(results[1].curve) < STEPS
    alone = [train_run(spec, CORPUS) for spec in specs]
    assert_same_runs([results[0], results[2]], [alone[0], alone[2]])
    assert len(results[1].curve) == len(alone[1].curve)


def test_a_pruned_trial_leaves_with_its_loss_and_the_others_go_on() -> None:
    specs = different_trials(BASE)
    stop = {0: 5, 2: 7}
    seen: dict[int, list[int]] = {place: [] for place in range(4)}

    def on_step(place: int, point: CurvePoint) -> bool:
        seen[place].append(point.step)
        return point.step < stop.get(place, 99)

    results = train_ensemble(specs, CORPUS, on_step=on_step)
    alone = [
        train_run(spec, CORPUS, on_step=lambda point, place=place: point.step < stop.get(place, 99))  # type: ignore[misc]  # a default binds
        for place, spec in enumerate(specs)
    ]
    assert [result.status for result in results] == ["pruned", "finished", "pruned", "finished"]
    assert_same_runs(results, alone)
    assert {place: steps[-1] for place, steps in seen.items()} == {0: 5, 1: STEPS, 2: 7, 3: STEPS}


def test_a_trial_does_not_depend_on_who_is_beside_it() -> None:
    specs = different_trials(BASE)
    of_four = train_ensemble(specs, CORPUS)
    of_two = train_ensemble([specs[3], specs[1]], CORPUS)
    assert_same_runs(of_two, [of_four[3], of_four[1]])


def test_specs_are_stacked_where_only_a_trials_own_settings_differ() -> None:
    lion = replace(BASE, optimizer=OPTIMIZERS["lion"])
    longer = tiny_spec(steps=STEPS + 1)
    noisy = varied(BASE, noise_interval=1, micro_batch_sequences=2)
    wide = with_parts(BASE, d_ff=64)
    first, *others = different_trials(BASE)
    specs = [first, lion, longer, *others, noisy, wide, lion, replace(wide, lr=1e-3)]
    assert stackable(specs) == [[0, 3, 4, 5], [1], [2], [6], [7, 9], [8]]


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ([], "ensemble: no runs; at least one"),
        (
            [BASE, replace(BASE, optimizer=OPTIMIZERS["lion"])],
            "ensemble: run 1: optimizer lion is not stacked, only adamw is; train it alone",
        ),
        (
            [replace(BASE, optimizer=OPTIMIZERS["muon"])],
            "ensemble: run 0: optimizer muon is not stacked, only adamw is; train it alone",
        ),
        (
            [BASE, tiny_spec(steps=STEPS + 1)],
            "ensemble: run 1: its tokens is not that of run 0; train them in different stacks",
        ),
        (
            [varied(BASE, noise_interval=1, micro_batch_sequences=2)],
            "ensemble: run 0: gradient noise is not measured in a stack; train it alone",
        ),
    ],
)
def test_runs_that_cannot_be_together_are_refused_in_one_line(
    specs: list[RunSpec], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        train_ensemble(specs, CORPUS)
    assert str(caught.value) == message


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")
def test_a_compiled_ensemble_has_the_losses_of_an_eager_one() -> None:
    specs = different_trials(BASE)[:2]
    compiled = [varied(spec, compile=True) for spec in specs]
    together = train_ensemble(compiled, CORPUS)
    eager = train_ensemble(specs, CORPUS)
    assert_same_runs(
        [replace(one, spec=spec) for one, spec in zip(together, specs, strict=True)], eager
    )
