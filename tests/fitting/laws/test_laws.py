import re
import tempfile
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitting.errors import InputError
from fitting.laws.file import make_law, read_law
from fitting.laws.law import QUANTITIES, Covariance, Evidence, Quantity, Range, Source

GOOD = """
[source]
key = "own"
title = "Own sweep"
url = ""
evidence = "fitted"

[range]
params = [1e6, 1e9]

[lr]
form = "power"
coefficients = { scale = 2.0, params = -0.5, tokens = 0.3 }

[lr.covariance]
names = ["log_scale", "params"]
matrix = [[1.0, 0.5], [0.5, 1.0]]

[batch_tokens]
form = "table"
rows = [{ params = 1e6, value = 1e5 }, { params = 1e9, value = 1e6 }]

[loss]
form = "mixed-terms"
coefficients = { E = 1.0, c1 = 2.0, a1 = -0.1 }
"""

BROKEN: dict[str, tuple[str, str, str]] = {
    "not TOML": ("[lr]\n", "[lr\n", r"not valid TOML"),
    "no source": ("[source]", "[loss_]", r"unknown table \[loss_\]; nearest is 'loss'"),
    "unknown table": ("[loss]", "[lss]", r"unknown table \[lss\]; nearest is 'loss'"),
    "unknown key": ('title = "Own sweep"', 'titel = "x"', r"\[source\] title: field required"),
    "no such evidence": ('"fitted"', '"guessed"', r"\[source\] evidence: input should be"),
    "number in quotes": ("scale = 2.0", 'scale = "2.0"', r"\[lr\] coefficients\.scale"),
    "true for a number": ("scale = 2.0", "scale = true", r"\[lr\] coefficients\.scale"),
    "date for a number": ("scale = 2.0", "scale = 2026-01-01", r"\[lr\] coefficients\.scale"),
    "no form": ('form = "power"\n', "", r"\[lr\] form: field required"),
    "unknown form": ('"power"', '"powr"', r"\[lr\] form 'powr': no such form; nearest is 'power'"),
    "missing coefficient": ("scale = 2.0, ", "", r"\[lr\] coefficients: scale missing"),
    "unknown coefficient": (
        "params = -0.5",
        "parms = -0.5",
        r"\[lr\] coefficients: 'parms' means nothing to form power; nearest is 'params'",
    ),
    "nan": ("scale = 2.0", "scale = nan", r"\[lr\] scale: nan is not a finite number"),
    "infinite": ("tokens = 0.3", "tokens = inf", r"\[lr\] tokens: inf is not a finite number"),
    "scale below 0": ("scale = 2.0", "scale = -2.0", r"\[lr\] scale: -2\.0 is not above 0"),
    "reference of nothing": (
        "[lr.covariance]",
        "reference = { batch_tokens = 1e6 }\n[lr.covariance]",
        r"\[lr\] reference: 'batch_tokens' has no exponent",
    ),
    "reference of 0": (
        "[lr.covariance]",
        "reference = { tokens = 0.0 }\n[lr.covariance]",
        r"\[lr\] tokens: 0\.0 is not above 0",
    ),
    "maximum of nan": (
        "[lr.covariance]",
        "maximum = nan\n[lr.covariance]",
        r"\[lr\] maximum: nan is not above 0",
    ),
    "scatter below 0": (
        "[lr.covariance]",
        "scatter = -0.1\n[lr.covariance]",
        r"\[lr\] scatter: -0\.1 is not a standard deviation",
    ),
    "rows without a table": (
        "[lr.covariance]",
        "rows = [{ params = 1.0, value = 1.0 }]\n[lr.covariance]",
        r"\[lr\] rows: form power has none",
    ),
    "range reversed": ("[1e6, 1e9]", "[1e9, 1e6]", r"\[range\] params: .* is not \[low, high\]"),
    "range of one": ("[1e6, 1e9]", "[1e6]", r"\[range\] params: .* is not \[low, high\]"),
    "covariance of a stranger": (
        '["log_scale", "params"]',
        '["log_scale", "loss"]',
        r"\[lr\] covariance: names .* are not among",
    ),
    "covariance of scale": (
        '["log_scale", "params"]',
        '["scale", "params"]',
        r"\[lr\] covariance: names .* are not among",
    ),
    "covariance not square": (
        "[[1.0, 0.5], [0.5, 1.0]]",
        "[[1.0, 0.5]]",
        r"\[lr\] covariance: the matrix is not 2 x 2",
    ),
    "covariance not symmetric": (
        "[[1.0, 0.5], [0.5, 1.0]]",
        "[[1.0, 0.5], [0.4, 1.0]]",
        r"\[lr\] covariance: entry log_scale, params",
    ),
    "correlation above 1": (
        "[[1.0, 0.5], [0.5, 1.0]]",
        "[[1.0, 1.5], [1.5, 1.0]]",
        r"\[lr\] covariance: entry log_scale, params",
    ),
    "negative variance of a combination": (
        'names = ["log_scale", "params"]\nmatrix = [[1.0, 0.5], [0.5, 1.0]]',
        'names = ["log_scale", "params", "tokens"]\n'
        "matrix = [[1.0, 0.9, 0.9], [0.9, 1.0, -0.9], [0.9, -0.9, 1.0]]",
        r"\[lr\] covariance: the matrix gives some combination a variance below 0",
    ),
    "one row": (
        "{ params = 1e6, value = 1e5 }, ",
        "",
        r"\[batch_tokens\] rows: a table needs two rows",
    ),
    "row without value": (
        "{ params = 1e6, value = 1e5 }",
        "{ params = 1e6 }",
        r"\[batch_tokens\] rows: .* is not params and value above 0",
    ),
    "row twice": (
        "{ params = 1e9, value = 1e6 }",
        "{ params = 1e6, value = 1e6 }",
        r"\[batch_tokens\] rows: two rows have the same params",
    ),
    "term without a number": ("c1 = 2.0, a1", "c2 = 2.0, a1", r"\[loss\] coefficients: 'a1' belon"),
    "gap in the terms": (
        "a1 = -0.1",
        "c3 = 1.0",
        r"\[loss\] coefficients: 'c3' belongs to no term",
    ),
    "text without words": (
        '[loss]\nform = "mixed-terms"\ncoefficients = { E = 1.0, c1 = 2.0, a1 = -0.1 }',
        '[advice]\nform = "text"',
        r"\[advice\] text: missing",
    ),
    "no exponent": (
        '[loss]\nform = "mixed-terms"\ncoefficients = { E = 1.0, c1 = 2.0, a1 = -0.1 }',
        '[loss]\nform = "exponents"',
        r"\[loss\] coefficients: none given",
    ),
}


def test_the_good_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(GOOD, encoding="utf-8")
    law = read_law(path)
    assert law.name == "own"
    assert list(law.quantities) == ["lr", "batch_tokens", "loss"]
    assert law == read_law(path, trusted=True)


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_one_line_that_names_table_and_key(case: str, tmp_path: Path) -> None:
    before, after, message = BROKEN[case]
    assert GOOD.count(before) == 1
    path = tmp_path / "own.toml"
    path.write_text(GOOD.replace(before, after), encoding="utf-8")
    with pytest.raises(InputError) as error:
        read_law(path)
    assert re.search(message, str(error.value)), str(error.value)
    assert "\n" not in str(error.value)
    assert "own" in str(error.value)


@pytest.mark.parametrize("text", ["", "[range]\nparams = [1e6, 1e9]\n"])
def test_a_file_without_a_source_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"has no \[source\] table"):
        read_law(path)


def test_a_file_without_quantities_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(GOOD[: GOOD.index("[lr]")], encoding="utf-8")
    with pytest.raises(InputError, match="has none of the tables lr, batch_tokens"):
        read_law(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml: cannot be read"):
        read_law(tmp_path / "none.toml")


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not a text file in UTF-8"):
        read_law(path)


numbers = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(1e-30, 1e30)
words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)
limits = st.none() | st.tuples(positive, positive).map(lambda pair: sorted(pair))
evidences = st.sampled_from(get_args(Evidence))

sources = st.builds(
    Source,
    key=words,
    title=words,
    url=words,
    evidence=evidences,
    authors=st.just("") | words,
    year=st.none() | st.integers(1900, 2100),
    note=st.just("") | words,
)
ranges = st.builds(
    Range,
    params=limits,
    tokens=limits,
    flops=limits,
    optimizer=st.none() | words,
    seq_len=st.none() | st.integers(1, 10**6),
)
variances = st.tuples(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6), st.floats(-0.99, 0.99)).map(
    lambda v: Covariance(
        names=["log_scale", "tokens"],
        matrix=[
            [v[0], v[2] * (v[0] * v[1]) ** 0.5],
            [v[2] * (v[0] * v[1]) ** 0.5, v[1]],
        ],
    )
)
powers = st.builds(
    Quantity,
    form=st.just("power"),
    coefficients=st.fixed_dictionaries({"scale": positive, "tokens": numbers}),
    reference=st.just({}) | st.fixed_dictionaries({"tokens": positive}),
    covariance=st.none() | variances,
    scatter=st.none() | st.floats(0, 10),
    maximum=st.none() | positive,
    evidence=st.none() | evidences,
    n=st.none() | st.integers(1, 10**6),
)
texts = st.builds(Quantity, form=st.just("text"), text=words)


@given(
    sources,
    ranges,
    st.dictionaries(st.sampled_from(QUANTITIES), powers | texts, min_size=1),
)
def test_a_law_written_and_read_is_the_same(
    source: Source, limits: Range, quantities: dict[str, Quantity]
) -> None:
    law = make_law("own", source=source, limits=limits, quantities=quantities)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "own.toml"
        path.write_bytes(law.content)
        for trusted in (False, True):
            found = read_law(path, trusted=trusted)
            assert found == law
