from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import least_squares

from fitting.errors import InputError
from planner.facts.models import list_models, parse_model, plain_name, read_model, read_tables
from proxies.run.shape import count_params
from proxies.run.sizing import ASPECT_SCATTER, LANDMARKS, aspect_ratio

MODELS = list_models()

TABLE_NAMES = {
    "GPT-2 small": "gpt2",
    "TinyLlama 1.1B": "tinyllama",
    "LLaMA-1 33B": "llama-1-33b",
    "DeepSeek LLM 7B": "deepseek-7b",
    "DeepSeek LLM 67B": "deepseek-67b",
}
"""Names of published.md that are not ours."""


def published_rows(shared: Path) -> list[list[str]]:
    """Cells of the table of section 2 of published.md."""
    text = (shared / "published.md").read_text("utf-8")
    table = text.split("| model | d | L |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip().strip("|").split("|")] for row in table]


@pytest.mark.parametrize("name", MODELS)
def test_both_counts_of_a_known_model_are_exact(name: str) -> None:
    model = read_model(name)
    count = count_params(model.shape)
    assert (count.params, count.total_params) == (model.params, model.total_params)
    assert model.evidence in {"verified", "quoted", "recalled"}
    assert model.count in {"verified", "quoted", "recalled", "computed"}
    assert model.source


def test_every_model_of_the_published_table_is_known_with_its_sizes_and_counts(
    shared: Path,
) -> None:
    rows = published_rows(shared)
    assert len(rows) == 56
    for row in rows:
        shape = read_model(TABLE_NAMES.get(row[0], row[0])).shape
        count = count_params(shape)
        ours = (
            *(shape.d_model, shape.n_layers, shape.n_heads, shape.n_kv_heads, shape.head_dim),
            *(shape.d_ff, shape.vocab_size, count.total_params, count.params),
        )
        assert ours == tuple(int(row[i].replace(",", "")) for i in (*range(1, 8), 10, 11)), row[0]
        assert shape.tied_embeddings == (row[8] == "yes"), row[0]


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("Llama-3-8B", "llama-3-8b"),
        ("llama3.1-8b", "llama-3-8b"),
        ("gpt-2", "gpt2"),
        ("GPT2 XL", "gpt2-xl"),
        ("tinyllama", "tinyllama-1.1b"),
        ("qwen3_0.6b", "qwen3-0.6b"),
    ],
)
def test_names_are_read_as_people_write_them(typed: str, name: str) -> None:
    assert read_model(typed).name == name


def test_no_two_models_share_a_spelling() -> None:
    spellings = [
        plain_name(spelling) for name in MODELS for spelling in (name, *read_model(name).aliases)
    ]
    assert len(spellings) == len(set(spellings))


def test_an_unknown_model_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError) as refusal:
        read_model("llama-3-9b")
    assert str(refusal.value) == "--model 'llama-3-9b': no such model; nearest is 'llama-3-8b'"


def test_a_key_that_means_nothing_is_refused() -> None:
    table = read_tables()["gpt2"] | {"d_modle": 768}
    with pytest.raises(InputError, match=r"^shapes\.toml mine: no such key 'd_modle'.*'d_model'"):
        parse_model("mine", table)


def test_a_missing_size_is_refused() -> None:
    table = {key: value for key, value in read_tables()["gpt2"].items() if key != "d_ff"}
    with pytest.raises(InputError, match=r"^shapes\.toml mine: .*d_ff"):
        parse_model("mine", table)


def test_qwen3_14b_and_32b_are_those_of_the_checkpoints_not_of_olmo_core() -> None:
    assert read_model("qwen3-14b").shape.n_layers == 40
    assert read_model("qwen3-32b").shape.n_heads == 64


@pytest.mark.parametrize(
    ("name", "width"), [("qwen3-0.6b", 2048), ("qwen3-4b", 4096), ("qwen3-32b", 8192)]
)
def test_heads_of_these_models_are_wider_than_the_stream(name: str, width: int) -> None:
    shape = read_model(name).shape
    assert shape.n_heads * shape.head_dim == width > shape.d_model


def test_d_ff_of_olmo_is_half_of_the_fused_width_of_its_config() -> None:
    assert read_model("olmo-7b").shape.d_ff == 22016 // 2
    assert read_model("olmo-1b").shape.d_ff == 8 * 2048 // 2


def test_pythia_is_named_after_the_count_with_both_embeddings() -> None:
    assert read_model("pythia-70m").total_params == 70_426_624
    assert read_model("pythia-70m").params == 18_915_328


def test_pythia_1b_has_heads_of_256() -> None:
    assert read_model("pythia-1b").shape.head_dim == 256


@pytest.mark.parametrize(("name", "params", "aspect"), LANDMARKS)
def test_landmarks_of_the_reasons_are_the_known_models(
    name: str, params: int, aspect: float
) -> None:
    model = read_model(name)
    assert model.params == params
    assert model.shape.d_model / model.shape.n_layers == aspect


def test_the_aspect_rule_is_the_least_squares_fit_of_the_known_models() -> None:
    sizes: dict[tuple[int, int], list[float]] = {}
    for name in MODELS:
        if not name.startswith(("gpt2", "gpt-neox")):  # 2019 and 2022
            shape = read_model(name).shape
            log_params = math.log(read_model(name).params)
            sizes.setdefault((shape.d_model, shape.n_layers), []).append(log_params)
    log_aspect = np.array([math.log(d_model / n_layers) for d_model, n_layers in sizes])
    log_size = np.array([np.mean(logs) for logs in sizes.values()])

    def residuals(p: np.ndarray) -> np.ndarray:
        level, slope, knee = p
        return np.asarray(level + slope * np.minimum(log_size - knee, 0) - log_aspect)

    fits = [least_squares(residuals, [4.6, 0.2, math.log(knee)]) for knee in (2e9, 1e10, 3e10)]
    best = min(fits, key=lambda fit: float(fit.cost))
    scatter = math.sqrt(2 * best.cost / (len(log_size) - 3))
    assert len(log_size) == 30
    assert scatter == pytest.approx(ASPECT_SCATTER, abs=0.01)
    level, slope, knee = best.x
    for params in (1e6, 1e8, 1e9, 1e10, 1e11):
        fitted = math.exp(level + slope * min(math.log(params) - knee, 0))
        assert aspect_ratio(params) == pytest.approx(fitted, rel=0.02)  # constants of 3 digits
