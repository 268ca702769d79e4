from hypothesis import given
from hypothesis import strategies as st

from fitting.text import WIDTH, Group, Lines, Table, plain_text

WORDS = st.lists(st.text("abc", min_size=1, max_size=9), max_size=12).map(" ".join)


def test_blocks_stand_apart_and_groups_together() -> None:
    rows = (("E", "1.7"), ("alpha", "0.34"))
    said = plain_text(
        [
            Lines(("the verdict",), strong="laws"),
            Lines(()),
            Group((Lines(("loss = E",)), Table(rows=rows, indent=2))),
        ]
    )
    assert said == "laws the verdict\n\nloss = E\n  E      1.7\n  alpha  0.34"


def test_numbers_stand_right_below_their_head() -> None:
    table = Table(head=("law", "lr"), rows=(("a", "1e-3"), ("b", "0.02")), numeric=frozenset({1}))
    assert plain_text([table]) == "law    lr\na    1e-3\nb    0.02"


@given(st.lists(st.tuples(st.text("ab", max_size=20), WORDS, WORDS), min_size=1, max_size=5))
def test_a_table_keeps_to_its_width_and_loses_no_word(rows: list[tuple[str, str, str]]) -> None:
    narrow = [(name, middle[:30].strip(), last) for name, middle, last in rows]
    said = plain_text([Table(rows=tuple(narrow), indent=2)])
    assert all(len(line) <= WIDTH for line in said.splitlines())
    assert sorted(said.split()) == sorted(" ".join(map(" ".join, narrow)).split())


@given(st.lists(WORDS, max_size=5))
def test_lines_keep_to_their_width_and_lose_no_word(lines: list[str]) -> None:
    said = plain_text([Lines(tuple(lines))])
    assert all(len(line) <= WIDTH for line in said.splitlines())
    assert said.split() == " ".join(lines).split()
