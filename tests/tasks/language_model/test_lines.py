"""Lines as examples: which lines there are, their order, their splits, and what is said of them."""

from __future__ import annotations

import itertools
import random
from typing import NamedTuple

import pytest

from charlm.corpus import SPLITS, Vocabulary
from charlm.errors import CorpusError, UsageError
from charlm.tasks.language_model.corpus import load_corpus
from charlm.tasks.language_model.lines import KnownLines, arrange_lines, line_hashes

NAMES = sorted(f"{a}{b}{c}" for a in "abcdefgh" for b in "aeiou" for c in ("", "na", "rik"))


class Arranged(NamedTuple):
    """`LineIds` as text."""

    whole: str
    kept: str
    split_sizes: tuple[int, int, int]


def lines_of(text, **options):
    defaults = {"distinct": False, "max_chars": None, "split": (1, 0, 0), "scale_counts": False}
    vocabulary = Vocabulary.from_text(text)
    ids, end = vocabulary.encode(text), int(vocabulary.encode("\n")[0])
    whole, kept, sizes, _ = arrange_lines(ids, end, **(defaults | options))
    return Arranged(vocabulary.decode(whole), vocabulary.decode(kept), sizes)


@pytest.fixture
def load(tmp_path):
    def load(text, **options):
        (tmp_path / "mine.txt").write_bytes(text.encode())
        return load_corpus(str(tmp_path / "mine.txt"), lines=True, **options)

    return load


def test_each_line_is_in_one_split_and_keeps_its_end(load):
    corpus = load("\n".join(NAMES))  # the last line has no end in the file
    lines = [corpus.lines_of(split) for split in SPLITS]
    assert [len(part) for part in lines] == [108, 6, 6]  # fractions of the lines
    assert sorted(itertools.chain(*lines)) == NAMES
    assert corpus.split_sizes == tuple(sum(len(line) + 1 for line in part) for part in lines)
    assert all(corpus.text(split).endswith("\n") for split in SPLITS)
    ids, text = corpus.read("valid")
    assert text[:] == "\n" + corpus.text("valid")
    assert ids.tolist() == corpus.vocabulary.encode(text[:]).tolist()
    assert corpus.notices == ()


def test_the_held_out_lines_of_a_sorted_list_are_not_its_end(load):
    corpus = load("".join(f"{name}\n" for name in NAMES))
    assert len({line[0] for split in ("valid", "test") for line in corpus.lines_of(split)}) >= 5


def test_the_order_is_the_same_everywhere():
    """The order in which every numpy draws ten numbers with the seed 0."""
    assert lines_of("0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n").kept.split() == list("2849167305")


def test_line_ends_of_all_kinds_and_blank_lines(load):
    corpus = load("ann\r\n\r\nbob\rcid\n  \n\ndan \x0b\u2028x", split=(0.5, 0.5, 0))
    kept = [*corpus.lines_of("train"), *corpus.lines_of("valid")]
    assert sorted(kept) == ["ann", "bob", "cid", "dan \x0b\u2028x"]
    assert corpus.notices[-1] == "left out 3 blank lines"


def test_each_line_is_cleaned_alone(load):
    corpus = load("Ann-Lee\n--\n Bob!\n", cleaning="letters", split=(1, 0, 0))
    assert sorted(corpus.lines_of("train")) == ["ann lee", "bob"]
    assert corpus.notices == ("left out 1 blank line",)


def test_repeated_lines_across_the_split_are_counted(load):
    text = "ann\n" * 60 + "bob\n" * 30 + "".join(f"{name}\n" for name in NAMES[:10])
    corpus = load(text, split=(0.5, 0.25, 0.25))
    train, held = corpus.lines_of("train"), corpus.lines_of("valid") + corpus.lines_of("test")
    also = sum(line in train for line in held)
    assert 30 < also < 50
    assert corpus.notices == (
        f"{also} of the 50 lines of valid and test are also in train, which makes scores better "
        "than on new lines; --set distinct=true keeps each line once",
    )
    once = load(text, split=(0.5, 0.25, 0.25), distinct=True)
    assert sorted(once.kept.split()) == sorted(["ann", "bob", *NAMES[:10]])
    assert once.notices == ()


def test_max_chars_keeps_whole_lines_from_the_start():
    whole = "ann\nbob\ncid\n"
    assert [len(lines_of(whole, max_chars=n).kept.split()) for n in (4, 7, 8, 12, 99)] == [
        *[1, 1, 2, 3, 3]
    ]
    assert sorted(lines_of(whole, max_chars=11).kept.split()) == ["ann", "bob"]
    with pytest.raises(CorpusError, match="the first line and its end have more than 3 characters"):
        lines_of(whole, max_chars=3)


def test_counts_of_a_split_are_lines():
    counted = lines_of("a\nbb\nccc\ndddd\n", split=(2, 1, 1))
    assert (counted.kept, counted.split_sizes) == ("ccc\ndddd\nbb\na\n", (9, 3, 2))
    with pytest.raises(CorpusError, match="sum to 5, but the text has 4 lines"):
        lines_of("a\nbb\nccc\ndddd\n", split=(3, 1, 1))
    with pytest.raises(UsageError, match="not a split"):
        lines_of("a\nb\n", split=(3, -1, 1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("\n \n\t\n", "every line of .+ is blank after the cleaning 'none'"),
        ("only one line", "no line to train on: the splits have 0, 0 and 1 lines"),
    ],
)
def test_too_few_lines_are_refused(load, text, message, one_line):
    with pytest.raises(CorpusError, match=message) as refused:
        load(text)
    assert one_line(refused.value)


def test_a_split_without_a_line_is_reported(load):
    corpus = load("ann\nbob\ncid\n")
    assert [len(corpus.lines_of(split)) for split in SPLITS] == [2, 0, 1]
    assert corpus.notices == ("the valid split is empty: the text has too few lines",)


def test_a_trained_vocabulary_may_lack_characters_of_a_line(load):
    known = load("ann\nbob\n" * 5).vocabulary
    corpus = load("ann\nzoe\n", split=(1, 0, 0), vocabulary=known)
    ends = [index for index, c in enumerate(corpus.text("train")) if c == "\n"]
    assert [*(corpus.ids == known.encode("\n")[0]).nonzero()[0]] == ends
    assert sorted(corpus.lines_of("train")) == ["ann", "zoe"]


def test_a_text_of_many_lines_is_shuffled_evenly():
    lines = [str(number) for number in range(1000)]
    kept = lines_of("\n".join([*lines, ""])).kept.split()
    assert sorted(kept) == sorted(lines)
    assert 300 < sum(map(int, kept[:100])) / 100 < 700
    random.Random(0).shuffle(lines)  # the order depends on the number of lines, not on the lines
    again = lines_of("\n".join([*lines, ""])).kept.split()
    assert [lines.index(line) for line in again] == [int(line) for line in kept]


# Hashes of lines


def test_equal_lines_have_equal_hashes(monkeypatch):
    draw = random.Random(0)
    lines = ["".join(draw.choices("abAé时 ", k=draw.randrange(1, 6))) for _ in range(2000)]
    text = "\n".join([*lines, "a" * 5000, "a" * 4999]) + "\n"
    expected = text.split("\n")[:-1]
    vocabularies = Vocabulary.from_text(text), Vocabulary(tuple(sorted(set(text + "xyz"))))
    found = []
    for block in (2**20, 700):
        monkeypatch.setattr("charlm.tasks.language_model.lines._BLOCK", block)
        for vocabulary in vocabularies:
            ids, end = vocabulary.encode(text), int(vocabulary.encode("\n")[0])
            found.append(line_hashes(ids, end, vocabulary.code_points).tolist())
    assert all(each == found[0] for each in found)
    assert len(found[0]) == len(expected)
    assert (
        len(set(found[0])) == len(set(expected)) == len(set(zip(expected, found[0], strict=True)))
    )
    known = KnownLines(line_hashes(ids, end, vocabulary.code_points))
    assert all(line in known for line in expected)
    assert not any(line in known for line in ("", "b" * 5000, "ab\nab", "a" * 4998))
