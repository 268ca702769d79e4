from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitting.errors import InputError
from proxies.run.shape import (
    BIASES,
    MLPS,
    NORMS,
    QK_NORMS,
    Shape,
    check_shape,
    count_params,
    flops_per_token,
)

LLAMA_2_7B = Shape(d_model=4096, n_layers=32, n_heads=32, n_kv_heads=32, head_dim=128, d_ff=11008)

shapes = st.builds(
    lambda d_model, n_layers, n_kv_heads, group, head_dim, d_ff, vocab_size, parts: Shape(
        d_model=d_model,
        n_layers=n_layers,
        n_heads=n_kv_heads * group,
        n_kv_heads=n_kv_heads,
        head_dim=head_dim,
        d_ff=d_ff,
        vocab_size=vocab_size,
        mlp=parts[0],
        norm=parts[1],
        biases=parts[2],
        qk_norm=parts[3],
    ),
    st.integers(1, 4096),
    st.integers(1, 64),
    st.integers(1, 16),
    st.integers(1, 8),
    st.integers(1, 256),
    st.integers(1, 16384),
    st.integers(1, 300_000),
    st.tuples(*(st.sampled_from(list(part)) for part in (MLPS, NORMS, BIASES, QK_NORMS))),
)


def test_every_matrix_bias_and_norm_of_one_small_layer_is_counted_once() -> None:
    # d_model 4, 2 heads of 3 with 1 kv head, d_ff 5: q 4x6, k and v 4x3, o 6x4, up 4x5, down 5x4.
    shape = Shape(
        d_model=4,
        n_layers=1,
        n_heads=2,
        n_kv_heads=1,
        head_dim=3,
        d_ff=5,
        vocab_size=7,
        tied_embeddings=True,
        mlp="gelu",
        norm="layernorm",
        biases="all",
        positions="learned",
        n_positions=11,
        qk_norm="per-head",
    )
    matrices = 24 + 12 + 12 + 24 + 20 + 20
    biases = 6 + 3 + 3 + 4 + 5 + 4
    norms = 2 * (4 + 4) + 2 * (3 + 3) + 2 * 4  # weight and bias: layer, queries and keys, final
    count = count_params(shape)
    assert count.params == matrices + biases + norms
    assert count.total_params == count.params + 7 * 4 + 11 * 4


def test_flops_per_token_of_llama_2_7b_are_those_worked_by_hand() -> None:
    weights = 6 * 6_476_271_616  # non-embedding parameters of published.md
    attention = 6 * 32 * 32 * 128 * 4096
    head = 6 * 32000 * 4096
    assert flops_per_token(LLAMA_2_7B, seq_len=4096) == weights + attention + head == 42_865_287_168


@given(shapes)
def test_tying_saves_exactly_one_embedding_and_no_other_parameter(shape: Shape) -> None:
    untied, tied = count_params(shape), count_params(replace(shape, tied_embeddings=True))
    assert untied.params == tied.params
    assert untied.total_params - tied.total_params == shape.vocab_size * shape.d_model


@given(shapes)
def test_parameters_without_the_final_norm_are_proportional_to_layers(shape: Shape) -> None:
    final_norm = NORMS[shape.norm] * shape.d_model
    one = count_params(replace(shape, n_layers=1)).params - final_norm
    assert count_params(shape).params == shape.n_layers * one + final_norm


@given(shapes, st.sampled_from(["n_layers", "head_dim", "d_ff", "d_model", "vocab_size"]))
def test_no_size_can_grow_and_leave_the_total_as_it_was(shape: Shape, size: str) -> None:
    larger = replace(shape, **{size: getattr(shape, size) + 1})
    assert count_params(larger).total_params > count_params(shape).total_params


@given(shapes)
def test_a_shape_of_known_parts_and_whole_sizes_is_accepted(shape: Shape) -> None:
    check_shape(shape)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"d_model": 0}, "d_model 0 is not a whole number from 1 to 10000000"),
        ({"n_layers": -1}, "n_layers -1 is not"),
        ({"d_ff": 10.5}, r"d_ff 10\.5 is not"),
        ({"n_heads": True}, "n_heads True is not"),
        ({"n_kv_heads": 5}, "5 kv heads do not divide 32 heads"),
        ({"n_kv_heads": 64}, "64 kv heads do not divide 32 heads"),
        ({"mlp": "swigul"}, "nearest is 'swiglu'"),
        ({"norm": "batchnorm"}, "norm 'batchnorm' is not one of rmsnorm"),
        ({"positions": "learned"}, "learned positions without n_positions"),
        ({"n_positions": 1024}, "n_positions 1024 with positions rope"),
        ({"norm_eps": 0.0}, r"norm_eps 0\.0 is not above 0"),
        ({"rope_theta": float("nan")}, "rope_theta nan is not above 0"),
    ],
)
def test_a_contradiction_is_refused_by_name(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=f"^--model: .*{message}"):
        check_shape(replace(LLAMA_2_7B, **change), where="--model")  # type: ignore[arg-type] # on purpose


def test_an_odd_head_dim_is_no_contradiction() -> None:
    check_shape(replace(LLAMA_2_7B, head_dim=127))
