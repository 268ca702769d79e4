import math
from typing import Any

import pytest

from fitting.errors import InputError
from planner.facts.recipes import Recipe, nearest_recipes, parse_recipe, read_recipes
from tests.measured.fit_practice import hold_out

BY_KEY = {recipe.key: recipe for recipe in read_recipes()}

STATED: dict[str, dict[str, Any]] = {
    # Read in huggingface/smollm text/pretraining/smollm2/config_smollm2_135M.yaml.
    "smollm2-135": {
        "params": 106_203_456,
        "tokens": 2.097e12,
        "lr": 3e-3,
        "batch_tokens": 512 * 2048,
        "weight_decay": 0.01,
        "warmup_steps": 2000,
        "schedule": "wsd",
        "final_lr_fraction": 0.0,
    },
    # EleutherAI/pythia models/1B/pythia-1b.yml: 2.5e-4, where README and paper print 3e-4.
    "pythia-1b": {"lr": 2.5e-4, "batch_tokens": 1024 * 2048, "tokens": 299_892_736_000},
    # allenai/OLMo stage 2 yamls resume at 9e-5, a tenth of the peak; the stage 1 yaml says 3e-4.
    "olmo2-13b": {"lr": 9e-4, "batch_tokens": 2048 * 4096, "params": 12_688_593_920},
    # jzhang38/TinyLlama pretrain/tinyllama.py.
    "tinyllama": {"lr": 4e-4, "batch_tokens": 1024 * 2048, "total_params": 1_100_048_384},
    # deepseek-ai/DeepSeek-LLM README.
    "deepseek-67b": {"lr": 3.2e-4, "batch_tokens": 4608 * 4096, "schedule": "multi-step"},
    # EleutherAI/gpt-neox configs/20B.yml.
    "neox-20b": {"lr": 0.97e-4, "weight_decay": 0.01, "final_lr_fraction": 0.1},
    # Cerebras/modelzoo Cerebras_GPT/*.yaml, muP at base width 256.
    "cerebras-mup-590m": {"lr": 6e-3, "parametrization": "mup", "batch_tokens": 264 * 2048},
    # arXiv 2005.14165, table 2.1, whose batch column nobody re-read.
    "gpt3-175b": {"lr": 0.6e-4, "batch_tokens": 3_200_000, "evidence": "recalled"},
    # meta-llama/llama MODEL_CARD.md has the lr, not the batch.
    "llama2-70b": {"lr": 1.5e-4, "tokens": 2e12, "evidence": "recalled"},
    # Stability-AI/StableLM configs/stablelm-2-1_6b.yml does not state the global batch.
    "stablelm2-1.6": {"lr": 1e-3, "batch_tokens": None, "warmup_steps": 9720},
}


@pytest.mark.parametrize("key", STATED)
def test_a_recipe_is_what_its_source_states(key: str) -> None:
    found = {name: getattr(BY_KEY[key], name) for name in STATED[key]}
    assert found == STATED[key]


def llama_params(d_model: int, n_layers: int, kv_width: int, d_ff: int) -> int:
    """L (q, k, v, o + 3 d d_ff + 2 d) + d, heads filling the width."""
    attention = 2 * d_model * (d_model + kv_width)
    return n_layers * (attention + 3 * d_model * d_ff + 2 * d_model) + d_model


def gpt_params(d_model: int, n_layers: int) -> int:
    """L (12 d^2 + 13 d) + 2 d: biases everywhere, MLP of 4 d, two norms a layer."""
    return n_layers * (12 * d_model**2 + 13 * d_model) + 2 * d_model


@pytest.mark.parametrize(
    ("key", "params"),
    [
        ("smollm2-360", llama_params(960, 32, 320, 2560)),
        ("tinyllama", llama_params(2048, 22, 256, 5632)),
        ("llama3-405b", llama_params(16384, 126, 1024, 53248)),
        ("dclm-1b", llama_params(2048, 24, 2048, 5632)),
        ("pythia-12b", gpt_params(5120, 36)),
        ("opt-66b", gpt_params(9216, 64)),
        ("bloom-176b", gpt_params(14336, 70)),
        ("mpt-760m", gpt_params(1536, 24)),
        ("cerebras-111m", gpt_params(768, 10)),
    ],
)
def test_params_are_those_of_the_published_shape(key: str, params: int) -> None:
    assert BY_KEY[key].params == params


@pytest.mark.parametrize(
    ("key", "total"),
    [
        # Exact counts of checkpoints or of the trainer's own log.
        ("llmc-1558", 1_557_611_200),
        ("pythia-14m", 14_067_712),
        ("dclm-411m", 411_616_256),
        ("mpt-70b", 64_862_437_376),
        ("olmo2-32b", 32_234_279_936),
        ("llama1-65b", 65_285_660_672),
        ("llama3-8b", 8_030_261_248),
        ("neox-20b", 20_554_567_680),
    ],
)
def test_total_params_are_the_published_exact_count(key: str, total: int) -> None:
    assert BY_KEY[key].total_params == total


def test_keys_and_names_are_unique() -> None:
    recipes = read_recipes()
    assert len(BY_KEY) == len({recipe.run for recipe in recipes}) == len(recipes) == 105


@pytest.mark.parametrize("recipe", read_recipes(), ids=lambda recipe: recipe.key)
def test_every_row_is_a_run_that_could_have_happened(recipe: Recipe) -> None:
    assert 0 < recipe.lr <= 2e-2
    assert 1e6 < recipe.params < (recipe.total_params or math.inf) < 4.1e11 or not (
        recipe.total_params
    )
    assert 2e9 < recipe.tokens < 2e13
    assert recipe.weight_decay is None or 0 <= recipe.weight_decay <= 0.1
    assert recipe.final_lr_fraction is None or 0 <= recipe.final_lr_fraction <= 0.1
    assert recipe.evidence in {"verified", "quoted", "recalled"}
    assert recipe.source
    if recipe.batch_tokens is not None:
        steps = recipe.tokens / recipe.batch_tokens
        assert 4_000 < steps < 6_000_000
        assert recipe.warmup_steps is None or recipe.warmup_steps < 0.3 * steps


def test_only_sp_adamw_recipes_are_comparable() -> None:
    others = {recipe.key for recipe in read_recipes() if not recipe.is_comparable}
    assert others == {
        "nanochat-d24",
        "minicpm-1.2b",
        "minicpm-2.4b",
        *(f"cerebras-mup-{size}" for size in ("111m", "256m", "590m", "1.3b", "2.7b")),
    }


def test_runs_that_follow_gpt3_use_its_lr_or_a_size_it_lacks() -> None:
    table = {recipe.params: recipe.lr for recipe in read_recipes() if recipe.lab == "OpenAI"}
    same = [
        recipe
        for recipe in read_recipes()
        if recipe.family == "gpt3" and recipe.lab != "OpenAI" and recipe.params in table
    ]
    assert len(same) > 20
    off = {recipe.key for recipe in same if recipe.lr != table[recipe.params]}
    # Cerebras-GPT 2.7B ran 2e-4 where GPT-3 ran 1.6e-4.
    assert off == {"cerebras-2.7b"}


def test_the_nearest_recipe_of_a_run_is_itself() -> None:
    nearest = nearest_recipes(BY_KEY["smollm2-1.7"].params, BY_KEY["smollm2-1.7"].tokens)
    assert nearest[0].key == "smollm2-1.7"
    assert len(nearest) == 3


def test_one_billion_on_four_trillion_is_next_to_runs_of_that_size() -> None:
    keys = [recipe.key for recipe in nearest_recipes(1.07e9, 4e12)]
    # Log distances in (N, D): 0.00; ln(1.233/1.07) = 0.14; ln(4/3.1) = 0.25; TinyLlama 0.30.
    assert keys == ["olmo2-1b", "stablelm2-1.6", "olmo-1b"]


def test_recipes_of_other_optimizers_come_last() -> None:
    at = BY_KEY["nanochat-d24"]
    comparable = [r.is_comparable for r in nearest_recipes(at.params, at.tokens, count=200)]
    assert len(comparable) == 105
    assert comparable == sorted(comparable, reverse=True)


def test_a_row_that_is_no_recipe_is_one_line() -> None:
    row = {"params": "1B", "total_params": ""}
    with pytest.raises(InputError, match=r"^recipes\.csv line 7: .*'1B'$"):
        parse_recipe(row, where="recipes.csv line 7")
    with pytest.raises(InputError, match=r"^recipes\.csv line 7: has no column tokens$"):
        parse_recipe(row | {"params": "1"}, where="recipes.csv line 7")


def test_intervals_cover_a_lab_that_the_fit_did_not_see() -> None:
    runs = hold_out(lambda recipe: recipe.lab)
    assert len(runs) == 93
    for quantity in ("lr", "batch_tokens"):
        share = sum(run.covered(quantity) for run in runs) / len(runs)
        assert 0.7 <= share <= 0.9
