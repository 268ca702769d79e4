"""Every reader under one set of promises, and the faults of text and cache."""

from __future__ import annotations

import argparse
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fitting.errors import InputError
from proxies.corpus import Corpus, open_corpus, read_held_out, read_sequences
from proxies.corpus.python_text import clean, read_python
from proxies.corpus.tokenizing import read_chunks

WORDS = ["the", "wind", "tunnel", "blows", "over", "a", "small", "wing", "flies", "äöü", "翼"]


def make_texts(count: int = 120) -> list[str]:
    """Some short texts, no two the same."""
    rng = np.random.default_rng(0)
    lines = [" ".join(rng.choice(WORDS, 40)) for _ in range(count)]
    return [f"{number} {line}\nsecond line\n" for number, line in enumerate(lines)]


def write_txt(folder: Path) -> str:
    path = folder / "lone.txt"
    path.write_text("".join(make_texts(1500)), encoding="utf-8")
    return str(path)


def write_txt_folder(folder: Path) -> str:
    home = folder / "books"
    home.mkdir()
    for number, text in enumerate(make_texts()):
        (home / f"{number:03}.txt").write_text(text, encoding="utf-8")
    return str(home)


def write_jsonl(folder: Path) -> str:
    path = folder / "rows.jsonl"
    rows = [json.dumps({"id": n, "text": text}) for n, text in enumerate(make_texts())]
    path.write_text("\n\n".join(rows), encoding="utf-8")
    return str(path)


def write_parquet_folder(folder: Path) -> str:
    home = folder / "shards"
    (home / "000").mkdir(parents=True)
    texts = make_texts()
    for name, part in (("b.parquet", texts[60:]), ("000/a.parquet", texts[:60])):
        pd.DataFrame({"url": "x", "text": part}).to_parquet(home / name)
    return str(home)


SOURCES: dict[str, Callable[[Path], str]] = {
    "txt": write_txt,
    "folder of txt": write_txt_folder,
    "jsonl": write_jsonl,
    "folder of parquet": write_parquet_folder,
    "python": lambda _: "python",
    "zipf": lambda _: "zipf:vocab=32,states=4",
}
"""How a corpus of each kind is made in an empty folder."""


@pytest.fixture(scope="module", params=SOURCES)
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A corpus of each kind by the name that opens it."""
    return SOURCES[request.param](tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def corpus(source: str, cache: Path) -> Corpus:
    return open_corpus(source, cache=cache)


def test_every_token_is_in_the_vocabulary(corpus: Corpus) -> None:
    rows = read_sequences(corpus, seq_len=16, order_seed=0, start=0, count=20)
    assert rows.dtype == np.int64
    assert rows.min() >= 0
    assert rows.max() < corpus.vocab_size
    assert 0 <= corpus.held_out.min() <= corpus.held_out.max() < corpus.vocab_size


def test_opening_again_gives_the_same_corpus(corpus: Corpus, source: str, cache: Path) -> None:
    again = open_corpus(source, cache=cache)
    assert again.fingerprint == corpus.fingerprint
    assert len(again.fingerprint) == 64
    np.testing.assert_array_equal(again.held_out, corpus.held_out)
    first, second = (
        read_sequences(one, seq_len=9, order_seed=4, start=3, count=9) for one in (corpus, again)
    )
    np.testing.assert_array_equal(first, second)


def test_a_cache_elsewhere_gives_the_same_fingerprint(
    corpus: Corpus, source: str, tmp_path: Path
) -> None:
    assert open_corpus(source, cache=tmp_path).fingerprint == corpus.fingerprint


def test_no_held_out_text_is_trained_on(corpus: Corpus) -> None:
    if corpus.entropy is not None:
        pytest.skip("synthetic tokens repeat by design; test_zipf has their places")
    train, held_out = (part.tobytes().split(b"\0") for part in (corpus.train, corpus.held_out))  # type: ignore[union-attr]  # both are arrays
    assert not {text for text in held_out if len(text) > 80} & set(train)
    assert 0.005 < corpus.held_out.size / corpus.train.size < 0.2


def test_held_out_sequences_are_of_the_held_out_text(corpus: Corpus) -> None:
    rows = read_held_out(corpus, seq_len=16, count=4)
    np.testing.assert_array_equal(rows[0], corpus.held_out[:17])


def test_one_of_bits_per_byte_and_entropy_is_known(corpus: Corpus) -> None:
    assert (corpus.bytes_per_token is None) != (corpus.entropy is None)


def test_a_label_names_the_corpus_and_its_fingerprint(corpus: Corpus) -> None:
    assert corpus.label == f"{corpus.name}@{corpus.fingerprint[:12]}"


def test_the_bytes_of_a_corpus_are_its_text(tmp_path: Path) -> None:
    corpus = open_corpus(write_jsonl(tmp_path), cache=tmp_path / "cache")
    parts = [corpus.train.tobytes(), corpus.held_out.tobytes()]  # type: ignore[union-attr]  # both are arrays
    texts = [text for part in parts for text in part.decode().split("\0") if text]
    assert sorted(texts) == sorted(make_texts())
    assert corpus.bytes_per_token == 1.0
    assert corpus.vocab_size == 256


def test_a_text_file_of_a_folder_stays_whole(tmp_path: Path) -> None:
    home = tmp_path / "books"
    home.mkdir()
    texts = [text * 300 for text in make_texts(30)]
    for number, text in enumerate(texts):
        (home / f"{number}.txt").write_text(text, encoding="utf-8")
    corpus = open_corpus(str(home), cache=tmp_path / "cache", held_out_share=0.3)
    held_out = corpus.held_out.tobytes().decode().split("\0")[:-1]
    assert held_out
    assert set(held_out) < set(texts)


def test_a_copy_of_a_held_out_row_is_held_out_too(tmp_path: Path) -> None:
    path = tmp_path / "twice.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in make_texts() * 2))
    corpus = open_corpus(str(path), cache=tmp_path)
    held_out = corpus.held_out.tobytes().decode().split("\0")[:-1]
    assert all(held_out.count(text) == 2 for text in held_out)


def test_bpe_is_the_same_twice_and_says_the_text_again(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    source = write_jsonl(tmp_path)
    opened = [
        open_corpus(source, tokenizer="bpe:400", cache=tmp_path / name) for name in ("one", "two")
    ]
    assert opened[0].fingerprint == opened[1].fingerprint
    assert opened[0].vocab_size == 400
    [model] = (tmp_path / "one").glob("*/tokenizer.json")
    held_out = open_corpus(source, cache=tmp_path / "bytes").held_out.tobytes()
    said = Tokenizer.from_file(str(model)).decode(
        opened[0].held_out.tolist(), skip_special_tokens=False
    )
    assert said.encode() == held_out
    assert opened[0].bytes_per_token == pytest.approx(len(held_out) / opened[0].held_out.size)
    assert opened[0].held_out.size < len(held_out) / 2


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_text_without_line_ends_is_split_and_told_in_full(end: str, tmp_path: Path) -> None:
    path = tmp_path / "lone.txt"
    text = "".join(f"{number}{' 翼 wing' * 400}{end}" for number in range(80))
    path.write_text(text, encoding="utf-8", newline="")
    corpus = open_corpus(str(path), cache=tmp_path / "cache", held_out_share=0.2)
    assert 0 < corpus.held_out.size < corpus.train.size
    parts = [corpus.train.tobytes(), corpus.held_out.tobytes()]  # type: ignore[union-attr]  # both are arrays
    assert sum(len(part.replace(b"\0", b"")) for part in parts) == len(text.encode())


def test_a_chunk_is_cut_where_a_line_or_a_document_ends(tmp_path: Path) -> None:
    path = tmp_path / "text"
    for unit in ("a line\n", "a document\0", "no end "):
        path.write_text(unit * 400_000)
        chunks = list(read_chunks(path))
        assert len(chunks) > 1
        assert "".join(chunks) == unit * 400_000
        assert unit == "no end " or all(chunk[-1] == unit[-1] for chunk in chunks)


def test_only_a_build_reports_progress(tmp_path: Path) -> None:
    source, said = write_jsonl(tmp_path), list[str]()
    for _ in range(2):
        open_corpus(source, tokenizer="bpe:300", cache=tmp_path, progress=said.append)
    assert [line.split()[0] for line in said] == ["reading", "training", "tokenizing"]


def test_a_fingerprint_changes_with_text_tokenizer_and_split(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path)
    found = {
        open_corpus(source, cache=tmp_path).fingerprint,
        open_corpus(source, cache=tmp_path, tokenizer="bpe:300").fingerprint,
        open_corpus(source, cache=tmp_path, held_out_share=0.2).fingerprint,
    }
    with Path(source).open("a") as file:
        file.write('\n{"text": "one more"}')
    found.add(open_corpus(source, cache=tmp_path).fingerprint)
    assert len(found) == 4


def test_the_python_corpus_is_about_nine_megabytes_without_tests(cache: Path) -> None:
    corpus = open_corpus("python", cache=cache)
    # With tests it would be over 20 MB.
    assert 8e6 < corpus.train.size + corpus.held_out.size < 11e6
    assert corpus.description.endswith(f"of Python {sys.version.split()[0]}")
    documents = [document.text for document in read_python().documents()]
    assert clean(inspect.getsource(argparse)) in documents
    assert any(text.startswith("Lambdas\n*******") for text in documents)


FAULTS = {
    "broken.txt": (b"caf\xe9 au lait", "not text in UTF-8"),
    "empty.txt": (b"", "there is no text in it"),
    "list.jsonl": (b'{"text": "a"}\n["a"]\n', "line 2: not an object with a field 'text'"),
    "torn.jsonl": (b'{"text": "a"}\n{"text": "b', "line 2: not JSON"),
    "latin.jsonl": (b'{"text": "caf\xe9"}', "line 1: not text in UTF-8"),
    "other.jsonl": (b'{"body": "a"}', "line 1: no field 'text'; fields are body"),
    "null.jsonl": (b'{"text": null}', "line 1: 'text' is null, not text"),
    "half.jsonl": (b'{"text": "\\ud800"}', "document 1 has half a character"),
    "few.jsonl": (b'{"text": "a"}', "none of 1 documents fell to held-out"),
    "not.parquet": (b"PAR1 but no more", "not a Parquet file that can be read"),
    "table.csv": (b"text\na", "not a text file; known endings are .txt, .jsonl, .parquet"),
}
"""Content that cannot be a corpus, and what is said of it."""


@pytest.mark.parametrize("name", FAULTS)
def test_text_that_cannot_be_read_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    content, message = FAULTS[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        open_corpus(str(tmp_path / name), cache=tmp_path / "cache")
    assert message in str(caught.value)
    assert str(caught.value).startswith("corpus ")
    assert "\n" not in str(caught.value)
    left = [path.name for path in (tmp_path / "cache").rglob("*") if path.suffix != ".lock"]
    assert left == []


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("body", ["a"], "no column 'text'; columns are body"),
        ("text", [1], "column 'text' is int64, not text"),
        ("text", ["a", None], "row 2: 'text' is empty"),
    ],
)
def test_parquet_without_text_is_refused(
    column: str, values: list[object], message: str, tmp_path: Path
) -> None:
    pd.DataFrame({column: values}).to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(InputError, match=message):
        open_corpus(str(tmp_path), cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("", {}, "no .txt, .jsonl, .parquet file in this folder"),
        ("pyton", {}, "no such file or folder; nearest is 'python'"),
        ("python:3", {}, "python:3: has no options; write python"),
        ("python", {"tokenizer": "bpe"}, "tokenizer bpe: no such tokenizer; write bytes or bpe:S"),
        ("python", {"tokenizer": "bpe:99"}, "99 is not a size; write one of 257"),
        ("python", {"held_out_share": 1.0}, "held-out share: 1 is not between 0 and 1"),
        ("zipf:vocabs=9", {}, "'vocabs' is not an option; nearest is 'vocab'"),
        ("zipf:seed=", {}, "option 'seed' has no value"),
        ("zipf:", {"tokenizer": "bpe:999"}, "has its own tokens"),
        ("hf:", {}, "no dataset is named"),
        ("hf:a/b,bytes=lots", {}, "bytes is lots; write a count such as 1e9"),
    ],
)
def test_a_name_that_opens_nothing_is_refused(
    source: str, options: dict[str, object], message: str, tmp_path: Path
) -> None:
    source = source or str(tmp_path)
    with pytest.raises(InputError, match=message):
        open_corpus(source, cache=tmp_path / "cache", **options)  # type: ignore[arg-type]  # mixed


def test_a_bpe_larger_than_its_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^tokenizer bpe:50000: the text has only \d+ distinct"):
        open_corpus(write_jsonl(tmp_path), tokenizer="bpe:50000", cache=tmp_path / "cache")


@pytest.mark.parametrize("file", ["train.bin", "held_out.bin", "tokenizer.json", "corpus.json"])
@pytest.mark.parametrize("damage", ["truncated", "gone"])
def test_a_damaged_cache_is_built_again(file: str, damage: str, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path)
    cache = tmp_path / "cache"
    whole = open_corpus(source, tokenizer="bpe:300", cache=cache).fingerprint
    [path] = cache.glob(f"*/{file}")
    path.unlink() if damage == "gone" else os.truncate(path, path.stat().st_size // 2)
    again = open_corpus(source, tokenizer="bpe:300", cache=cache)
    assert again.fingerprint == whole
    assert path.stat().st_size > 0
    assert read_sequences(again, seq_len=8, order_seed=0, start=0, count=2).shape == (2, 9)


def test_what_a_killed_build_left_is_swept_away(tmp_path: Path) -> None:
    source, cache = write_jsonl(tmp_path), tmp_path / "cache"
    open_corpus(source, cache=cache)
    [record] = cache.glob("*/corpus.json")
    left_over = cache / f"{record.parent.name}.abc.partial"
    left_over.mkdir()
    (left_over / "train.text").write_text("half")
    record.unlink()
    open_corpus(source, cache=cache)
    assert record.exists()
    assert not left_over.exists()


def test_a_cache_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"^corpus cache .*: cannot be written"):
        open_corpus(write_jsonl(tmp_path), cache=tmp_path / "file")


def test_two_processes_build_one_cache(tmp_path: Path) -> None:
    source, cache = write_jsonl(tmp_path), tmp_path / "cache"
    code = (
        "import sys; from pathlib import Path; from proxies.corpus import open_corpus; "
        "print(open_corpus(sys.argv[1], cache=Path(sys.argv[2])).fingerprint)"
    )
    command = [sys.executable, "-c", code, source, str(cache)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = {process.communicate(timeout=60)[0] for process in running}
    assert len(printed) == 1
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 1


def test_a_dataset_without_its_package_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"^corpus hf:a/b: needs the package datasets; pip inst"):
        open_corpus("hf:a/b", cache=tmp_path)


def test_a_dataset_is_streamed_up_to_its_bytes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("datasets", reason="the datasets package is not installed")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    folder = write_parquet_folder(tmp_path)
    corpus = open_corpus(f"hf:{folder},bytes=15000", cache=tmp_path / "cache")
    assert 14_000 < corpus.train.size + corpus.held_out.size <= 15_100
    with pytest.raises(InputError, match="cannot be streamed"):
        open_corpus(f"hf:{folder},split=nowhere", cache=tmp_path / "cache")
    with pytest.raises(InputError, match="cannot be streamed"):
        open_corpus(f"hf:{folder}/nothing", cache=tmp_path / "cache")
