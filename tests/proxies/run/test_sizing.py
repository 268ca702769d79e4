from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitting.errors import InputError
from proxies.run.shape import count_params, flops_per_token
from proxies.run.sizing import aspect_ratio, choose_shape, count_family, derive_shape

SIZES = [1e7 * 5e4 ** (step / 59) for step in range(60)]
"""60 sizes from 10M to 500B, even in log."""

log_params = st.floats(math.log(1.001e6), math.log(1.999e12))


@pytest.mark.parametrize("params", SIZES)
def test_the_count_of_a_chosen_shape_is_within_3_percent(params: float) -> None:
    shape = choose_shape(params, vocab_size=32_000, tied_embeddings=False).shape
    assert abs(count_params(shape).params / params - 1) < 0.03


@pytest.mark.parametrize("params", SIZES)
def test_the_aspect_of_a_chosen_shape_is_within_the_scatter_of_published_models(
    params: float,
) -> None:
    shape = choose_shape(params, vocab_size=32_000, tied_embeddings=False).shape
    off = math.log(shape.d_model / shape.n_layers / aspect_ratio(params))
    assert abs(off) < 0.40  # one residual sd of the rule


@given(log_params)
def test_a_chosen_shape_is_one_that_hardware_likes(log_params: float) -> None:
    shape = choose_shape(math.exp(log_params), vocab_size=32_000, tied_embeddings=False).shape
    assert shape.head_dim in {64, 128}
    assert shape.n_heads * shape.head_dim == shape.d_model
    assert shape.n_heads % shape.n_kv_heads == 0
    assert shape.d_ff % (64 if shape.d_model < 1024 else 128) == 0
    assert 2.2 <= shape.d_ff / shape.d_model <= 3.6


@given(log_params, log_params)
def test_a_larger_request_never_gets_a_smaller_model(one: float, other: float) -> None:
    small, large = (
        count_params(choose_shape(math.exp(x), vocab_size=1000, tied_embeddings=True).shape)
        for x in sorted((one, other))
    )
    assert small.params <= large.params


@given(log_params=log_params, vocab_size=st.integers(1, 300_000), tied=st.booleans())
def test_vocabulary_and_tying_do_not_change_the_layers(
    *, log_params: float, vocab_size: int, tied: bool
) -> None:
    params = math.exp(log_params)
    ours = choose_shape(params, vocab_size=vocab_size, tied_embeddings=tied).shape
    other = choose_shape(params, vocab_size=32_000, tied_embeddings=False).shape
    assert (ours.vocab_size, ours.tied_embeddings) == (vocab_size, tied)
    assert count_params(ours).params == count_params(other).params
    assert (ours.d_model, ours.n_layers, ours.d_ff) == (other.d_model, other.n_layers, other.d_ff)


@given(log_params)
def test_the_quick_count_of_the_family_is_the_exact_one(log_params: float) -> None:
    shape = choose_shape(math.exp(log_params), vocab_size=1, tied_embeddings=True).shape
    quick = count_family(d_model=shape.d_model, n_layers=shape.n_layers, d_ff=shape.d_ff)
    assert quick == count_params(shape).params


@given(st.floats(math.log(4e6), math.log(1.999e12)))
def test_from_4m_on_every_request_is_met_within_3_percent(log_params: float) -> None:
    shape = choose_shape(math.exp(log_params), vocab_size=1, tied_embeddings=True).shape
    assert abs(math.log(count_params(shape).params) - log_params) < 0.03


def test_key_value_heads_are_full_below_a_width_of_4096_and_8_from_there() -> None:
    small = choose_shape(1e9, vocab_size=32_000, tied_embeddings=False).shape
    large = choose_shape(7e9, vocab_size=32_000, tied_embeddings=False).shape
    assert small.n_kv_heads == small.n_heads
    assert (large.d_model, large.n_kv_heads) == (4096, 8)


def test_the_reason_states_the_layers_the_neighbours_and_the_miss() -> None:
    chosen = choose_shape(1e9, vocab_size=32_000, tied_embeddings=False)
    assert chosen.reason == (
        "26 layers of 1,792: aspect 69 where published models of this size average 71 "
        "(TinyLlama has 93 and Qwen3 1.7B has 73), heads of 64, one kv head a head, "
        "d_ff 2.64 times the width; 0.4% under the request"
    )


@pytest.mark.parametrize("params", [9e5, 3e12, 0.0, -1e9, math.nan, math.inf])
def test_a_size_out_of_range_is_refused_with_the_range(params: float) -> None:
    with pytest.raises(InputError, match=r"^--params .* from 1M to 2T parameters"):
        choose_shape(params, vocab_size=32_000, tied_embeddings=False)


def test_a_vocabulary_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match=r"^--vocab: vocab_size 0 is not a whole number"):
        choose_shape(1e9, vocab_size=0, tied_embeddings=False)


def test_a_shape_from_width_and_depth_alone_says_what_was_derived() -> None:
    chosen = derive_shape(d_model=2048, n_layers=22, vocab_size=32_000, tied_embeddings=False)
    shape = chosen.shape
    assert (shape.n_heads, shape.n_kv_heads, shape.head_dim, shape.d_ff) == (16, 16, 128, 5504)
    assert chosen.reason == (
        "22 layers of 2,048 as given; derived: 16 heads of 128, 16 kv heads, one a head, "
        "d_ff 5,504, 8/3 of the width rounded up to 64"
    )


def test_a_shape_given_in_full_is_used_as_given() -> None:
    chosen = derive_shape(
        d_model=2048,
        n_layers=22,
        n_heads=32,
        n_kv_heads=4,
        d_ff=5632,
        vocab_size=32_000,
        tied_embeddings=False,
    )
    assert count_params(chosen.shape).total_params == 1_100_048_384  # TinyLlama
    assert chosen.reason == "22 layers of 2,048 as given"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"d_model": 1000}, "--d-model 1000: not a multiple of 64 or 128; add --heads"),
        ({"d_model": 0}, "--d-model 0 is not a whole number from 1 to 10000000"),
        ({"n_layers": -2}, "--layers -2 is not a whole number from 1 to 10000000"),
        ({"n_heads": 0}, "--heads 0 is not a whole number from 1 to 10000000"),
        ({"n_heads": 15}, "--heads 15: does not divide --d-model 2048"),
        ({"n_heads": 32, "n_kv_heads": 5}, "--kv-heads 5: does not divide the 32 heads"),
        ({"d_ff": -1}, "--d-ff -1 is not a whole number from 1 to 10000000"),
        ({"vocab_size": 0}, "--vocab 0 is not a whole number from 1 to 10000000"),
    ],
)
def test_contradicting_options_are_refused_by_name(change: dict[str, int], message: str) -> None:
    given = {"d_model": 2048, "n_layers": 22, "vocab_size": 32_000} | change
    with pytest.raises(InputError) as refusal:
        derive_shape(**given, tied_embeddings=False)
    assert str(refusal.value) == message


@given(log_params, st.integers(1, 100_000))
def test_flops_per_token_grow_linearly_with_the_sequence(log_params: float, seq_len: int) -> None:
    shape = choose_shape(math.exp(log_params), vocab_size=32_000, tied_embeddings=False).shape
    per_position = 6 * shape.n_layers * shape.n_heads * shape.head_dim
    longer = flops_per_token(shape, seq_len=seq_len + 1)
    assert math.isclose(longer - flops_per_token(shape, seq_len=seq_len), per_position)
