"""Reading, encoding and decoding keep every text unchanged; cleaning does as documented."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charlm.corpus import SPLITS, Vocabulary, clean
from charlm.errors import CorpusError
from charlm.tasks.language_model.corpus import load_corpus

BOM = "\ufeff"
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-32-be", "gb18030")
DEFAULT_SPLIT = (0.9, 0.05, 0.05)

# The encoding of a file, and whether the reader gets its name.
WRITTEN = [("utf-8", False), ("utf-8-sig", False), *((encoding, True) for encoding in ENCODINGS)]

# Characters that reading and cleaning treat specially are frequent; all others occur, too. Some
# of them end a line for str.splitlines(), but not in a text file.
PIECES = ["\r", "\n", "\r\n", BOM, "\0", " ", "  ", "aB z", "Zé", "分", "😀", "\v\f\x1c\x85\u2028"]
ANY = st.characters(exclude_categories=["Cs"])
ODD = st.one_of(st.sampled_from(PIECES), ANY)
# Left to itself, hypothesis draws few texts of more than ten characters.
TEXTS = st.one_of(
    st.text(ANY, max_size=60),
    st.lists(ODD, max_size=10).map("".join),
    st.lists(ODD, min_size=10, max_size=60).map("".join),
    st.text(st.sampled_from("aBzZ  \n\r-é"), min_size=10, max_size=60),
)


@dataclass(frozen=True)
class Sample:
    """A text, and how it is written and read."""

    text: str
    other: str
    """Another text, for the vocabulary of the first."""
    written: tuple[str, bool]
    """The encoding, and whether the reader gets its name."""
    split: tuple[float, float, float]


SAMPLES = st.builds(
    Sample,
    text=st.builds(str.__add__, st.sampled_from(["", "", "", BOM, BOM * 2]), TEXTS),
    other=TEXTS,
    written=st.sampled_from(WRITTEN),
    split=st.sampled_from([DEFAULT_SPLIT, (1.0, 0.0, 0.0), (0.5, 0.25, 0.25)]),
)


# Slow and simple implementations to compare with


def lines(text: str) -> list[str]:
    """The lines of a text; only the three usual line ends end a line."""
    return re.split(r"\r\n|\r|\n", text)


def expected_text(text: str) -> str:
    """The text without byte order marks at its start, and with one kind of line end."""
    return "\n".join(lines(text.lstrip(BOM)))


def letters_line_by_line(text: str) -> str:
    """The book's own lines: Dive into Deep Learning, section 8.2, ``read_time_machine``."""
    return "".join(re.sub("[^A-Za-z]+", " ", line).strip().lower() for line in lines(text))


def spaces_one_by_one(text: str) -> str:
    """Each return and each newline becomes a space."""
    return re.sub("[\r\n]", " ", text)


def check(path: Path, sample: Sample) -> None:
    """Write the text to ``path`` and follow it to its ids and back."""
    encoding, told = sample.written
    raw = sample.text.encode(encoding)
    path.write_bytes(raw)
    expected = expected_text(sample.text)
    assert clean(sample.text, "spaces") == spaces_one_by_one(sample.text)
    assert clean(sample.text, "letters") == letters_line_by_line(sample.text)
    if not told and "\0" in sample.text:
        with pytest.raises(
            CorpusError, match=r"has (a|[\d,]+) NUL bytes?(, the first)? at byte offset"
        ):
            load_corpus(str(path), cleaning="none")
        return
    options = {"encoding": encoding if told else None, "split": sample.split}
    if not expected:
        with pytest.raises(CorpusError, match="is empty"):
            load_corpus(str(path), cleaning="none", **options)
        return
    if int(len(expected) * sample.split[0]) == 0:  # one character
        with pytest.raises(CorpusError, match="no character to train on"):
            load_corpus(str(path), cleaning="none", **options)
        return

    corpus = load_corpus(str(path), cleaning="none", **options)
    assert corpus.sha256 == hashlib.sha256(raw).hexdigest()
    assert corpus.kept == expected
    assert corpus.characters == len(corpus.ids) == len(expected)
    assert sum(corpus.split_sizes) == len(expected)
    assert "".join(corpus.text(name) for name in SPLITS) == expected
    ids = np.concatenate([corpus.split(name) for name in SPLITS])
    assert np.array_equal(ids, corpus.ids)

    vocabulary = corpus.vocabulary
    assert sorted(vocabulary.characters) == sorted(set(expected))
    assert vocabulary.decode(corpus.ids) == expected
    assert vocabulary.decode(vocabulary.encode(expected)) == expected
    assert corpus.ids.min() > 0  # nothing is unknown
    assert vocabulary.unknown_characters(expected) == ()
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary
    known = "".join(char if char in expected else "\ufffd" for char in sample.other)
    assert vocabulary.decode(vocabulary.encode(sample.other)) == known

    check_cleaning(path, "spaces", spaces_one_by_one(expected), **options)
    check_cleaning(path, "letters", letters_line_by_line(expected), **options)


def check_cleaning(path: Path, cleaning: str, expected: str, **options: object) -> None:
    """The cleaned file is the expected text, and cleaning it again changes nothing."""
    options["split"] = (1.0, 0.0, 0.0)  # little may be left
    if not expected:
        with pytest.raises(CorpusError, match=f"the cleaning '{cleaning}' leaves nothing of"):
            load_corpus(str(path), cleaning=cleaning, **options)
        return
    corpus = load_corpus(str(path), cleaning=cleaning, **options)
    assert corpus.kept == expected
    assert corpus.vocabulary.decode(corpus.ids) == expected
    assert clean(expected, cleaning) == expected


def property_of(examples: int):
    """The property as a test of ``examples`` examples."""

    @settings(max_examples=examples, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(sample=SAMPLES)
    def test(tmp_path, sample):
        check(tmp_path / "any.txt", sample)

    return test


test_any_text_is_kept_exactly = property_of(300)
test_ten_thousand_texts_are_kept_exactly = pytest.mark.slow(property_of(10_000))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32", "gb18030"])
def test_every_character_of_unicode_is_kept(tmp_path, encoding):
    """All 1,112,064 code points except the surrogates, which are halves of characters."""
    scalars = [*range(0xD800), *range(0xE000, 0x110000)]
    text = "x" + "".join(map(chr, scalars))  # the NUL is not the first
    file = tmp_path / "all.txt"
    file.write_bytes(text.encode(encoding))
    corpus = load_corpus(str(file), cleaning="none", encoding=encoding)
    assert corpus.kept == text.replace("\r", "\n")
    assert len(corpus.vocabulary) == len(scalars)  # \r became \n, and there is <unk>
    assert corpus.vocabulary.decode(corpus.ids) == corpus.kept
