import re
from importlib import import_module
from pathlib import Path

import pytest

from fitting.errors import InputError
from fitting.laws.evaluate import evaluate_law
from fitting.laws.file import read_law
from fitting.laws.forms import FORMS
from planner.facts.laws import DEFAULT_LAWS, bibtex, find_law, read_lawbook

FILES = sorted((Path(import_module("planner.data").__path__[0]) / "laws").glob("*.toml"))

MINIMAL = """
[source]
key = "own"
title = "Own sweep"
url = ""
evidence = "fitted"

[lr]
form = "power"
coefficients = { scale = 1.0, params = -0.5 }
"""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_shipped_file_keeps_the_schema(path: Path) -> None:
    assert read_law(path) == read_law(path, trusted=True)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_shipped_file_is_named_in_lower_case_words(path: Path) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", path.stem)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_shipped_law_says_where_it_comes_from(path: Path) -> None:
    source = read_law(path, trusted=True).source
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*", source.key)
    assert source.url.startswith("https://") or source.note or source.command
    assert source.command or source.evidence not in {"fitted", "measured"}


def test_no_two_sources_share_a_citation_key() -> None:
    # One paper's fits at three sizes are three files; every other key is its file's alone.
    keys = [law.source.key for law in read_lawbook().values()]
    shared = {key for key in keys if keys.count(key) > 1}
    assert shared == {"luo2025multipower"}


def test_the_book_is_in_alphabetical_order() -> None:
    names = list(read_lawbook())
    assert names == sorted(names)
    assert len(names) == len(FILES)


def test_laws_of_exponents_and_words_give_no_value() -> None:
    point = dict.fromkeys(
        ("params", "tokens", "batch_tokens", "lr", "steps", "width_mult", "depth_mult"), 1e6
    )
    silent = [
        evaluate_law(quantity, point)
        for law in read_lawbook().values()
        for quantity in law.quantities.values()
        if quantity.form in {"exponents", "text"}
    ]
    assert len(silent) > 40
    assert set(silent) == {None}


def test_the_defaults_are_verified_laws_that_give_values() -> None:
    book = read_lawbook()
    for quantity, name in DEFAULT_LAWS.items():
        law = book[name]
        found = law.quantities[quantity]
        assert (found.evidence or law.source.evidence) == "verified"
        assert FORMS[found.form].required


def test_an_own_file_of_a_shipped_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "porian.toml"
    path.write_text(MINIMAL, encoding="utf-8")
    with pytest.raises(InputError, match="has the name of a shipped law; rename the file"):
        read_lawbook([path])


def test_an_own_law_comes_after_the_shipped_ones(tmp_path: Path) -> None:
    own = tmp_path / "a-sweep.toml"
    own.write_text(MINIMAL, encoding="utf-8")
    assert list(read_lawbook([own]))[-1] == "a-sweep"


def test_two_own_files_of_one_name_are_refused(tmp_path: Path) -> None:
    paths = [tmp_path / folder / "mine.toml" for folder in ("a", "b")]
    for path in paths:
        path.parent.mkdir()
        path.write_text(MINIMAL, encoding="utf-8")
    with pytest.raises(InputError, match=r"--laws .*b.mine\.toml: has the name of .*a.mine\.toml"):
        read_lawbook(paths)


def test_an_own_file_is_checked(tmp_path: Path) -> None:
    own = tmp_path / "mine.toml"
    own.write_text(MINIMAL.replace("scale = 1.0", "scale = 0.0"), encoding="utf-8")
    with pytest.raises(InputError, match=r"mine\.toml \[lr\] scale: 0\.0 is not above 0"):
        read_lawbook([own])


def test_an_unknown_law_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError) as error:
        find_law(read_lawbook(), "steplaw")
    assert str(error.value) == (
        "--law 'steplaw': no such law; nearest is 'step-law' (plan laws lists all)"
    )


def test_bibtex_names_the_preprint() -> None:
    entry = bibtex(read_lawbook()["step-law"])
    assert entry.startswith("@misc{li2025steplaw,\n  title = {{Predictable Scale")
    assert "  eprint = {2503.04715},\n  archiveprefix = {arXiv}," in entry


def test_bibtex_of_every_law_is_balanced_and_escaped() -> None:
    for law in read_lawbook().values():
        entry = bibtex(law)
        assert entry.count("{") == entry.count("}")
        assert not re.search(r"(?<!\\)[&%#$]", entry)
