from __future__ import annotations

import pytest

from charlm.errors import CorpusError, UsageError
from charlm.tasks.tagging.tagged_sentences import TaggedSentence, load_tagged

FLIGHT = "to New York|O B-toloc.city_name I-toloc.city_name"
FARE = "cheap fares|B-cost O"
DAY = "on monday|O B-day"


def sentence(text: str) -> TaggedSentence:
    words, tags = text.split("|")
    return TaggedSentence(tuple(words.split(" ")), tuple(tags.split(" ")))


def sentences(*texts: str) -> tuple[TaggedSentence, ...]:
    return tuple(map(sentence, texts))


@pytest.mark.parametrize("valid", ["valid", "dev"])
@pytest.mark.parametrize("columns", [None, " ", "\t", " NN  _ "])
def test_both_layouts(tmp_path, write_tagged, columns, valid):
    splits = {"train": (FLIGHT, FARE), valid: (DAY,), "test": (FARE, DAY)}
    folder = write_tagged(tmp_path / "mine", columns=columns, **splits)
    found = load_tagged(str(folder))
    assert found.splits == {
        "train": sentences(FLIGHT, FARE),
        "valid": sentences(DAY),
        "test": sentences(FARE, DAY),
    }
    assert list(found.splits) == ["train", "valid", "test"]
    assert found.tags == ("O", "B-cost", "B-day", "B-toloc.city_name", "I-toloc.city_name")
    assert (found.name, found.source, found.notices) == ("mine", str(folder), ())
    pairs = write_tagged(tmp_path / "pairs", **splits)
    assert load_tagged(str(pairs)).sha256 == found.sha256


def test_document_marks_and_empty_lines_separate_sentences(tmp_path, write_tagged):
    (tmp_path / "train.txt").write_text(
        "-DOCSTART- -X- O O\n\n\nEU NNP B-ORG\nrejects VBZ O\n \t\n\n"
        "-DOCSTART- -X- O O\nGerman JJ I-MISC\n-DOCSTART- O\n\n"
    )
    write_tagged(tmp_path, columns=" ", valid=[DAY])
    assert load_tagged(str(tmp_path)).splits["train"] == (
        TaggedSentence(("EU", "rejects"), ("B-ORG", "O")),
        TaggedSentence(("German",), ("I-MISC",)),
    )


def test_word_may_have_any_character_but_a_space_and_a_tab(tmp_path, write_tagged):
    words = "New\u00a0York \u3000 a\u2028b café 夜 #"
    write_tagged(tmp_path, train=[f"{words}|O O O O O O"], valid=[DAY])
    assert load_tagged(str(tmp_path)).splits["train"][0].words == tuple(words.split(" "))


def test_spaces_line_ends_and_byte_order_marks(tmp_path):
    for split in ("train", "valid"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "seq.in").write_bytes(b"\xef\xbb\xbf to  boston \r\n\r\n\tnow\r\n\r\n")
        (tmp_path / split / "seq.out").write_text("O\tB-city\n\nO\n")
    tagged = load_tagged(str(tmp_path))
    assert tagged.splits["train"] == (
        TaggedSentence(("to", "boston"), ("O", "B-city")),
        TaggedSentence(("now",), ("O",)),
    )
    words = tmp_path / "train" / "seq.in"
    assert tagged.notices[:2] == (
        f"{words}: removed a byte order mark at the start of 1 file",
        f"{words}: changed line ends to \\n: 4 \\r\\n and 0 \\r",
    )


def test_another_encoding(tmp_path):
    for split in ("train", "valid"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "seq.in").write_bytes("去 北京".encode("gb18030"))
        (tmp_path / split / "seq.out").write_bytes(b"O B-city")
    assert load_tagged(str(tmp_path), encoding="gb18030").splits["train"][0].words[1] == "北京"
    with pytest.raises(CorpusError, match=r"train/seq\.in is not UTF-8: .* line 1"):
        load_tagged(str(tmp_path))
    with pytest.raises(UsageError, match="unknown encoding"):
        load_tagged(str(tmp_path), encoding="utf-9")


@pytest.mark.parametrize(("count", "valid", "drawn"), [(2, 0.1, 1), (2, 0.9, 1), (40, 0.25, 10)])
def test_valid_is_drawn_from_train(tmp_path, write_tagged, count, valid, drawn):
    texts = [f"w{index}|O" for index in range(count)]
    write_tagged(tmp_path, train=texts, test=[DAY])
    found = load_tagged(str(tmp_path), valid=valid)
    train, validation = found.splits["train"], found.splits["valid"]
    assert len(validation) == drawn
    for part in (train, validation):  # in their order in the file
        assert part == tuple(each for each in sentences(*texts) if each in part)
    assert sorted(train + validation) == sorted(sentences(*texts))
    assert f"drew {drawn} of {count} train sentences" in found.notices[0]


def test_draw_is_the_same_everywhere(tmp_path, write_tagged):
    """Mersenne Twister with seed 0 gives 0.844, 0.758, 0.421, 0.259, 0.511, 0.405. The smallest
    are those of sentences 3 and 5."""
    write_tagged(tmp_path, train=[f"w{index}|O" for index in range(6)])
    assert load_tagged(str(tmp_path), valid=1 / 3).splits["valid"] == sentences("w3|O", "w5|O")


def test_missing_test_split(tmp_path, write_tagged):
    found = load_tagged(str(write_tagged(tmp_path, train=[FLIGHT], valid=[FARE])))
    assert found.splits["test"] == ()
    assert found.notices == ("there is no test split",)


def test_tags_that_only_the_test_split_has(tmp_path, write_tagged):
    found = load_tagged(str(write_tagged(tmp_path, train=[FLIGHT], valid=[FARE], test=[DAY])))
    assert "B-day" not in found.tags
    assert found.splits["test"] == sentences(DAY)
    assert found.notices == ("tags only in the test split, which a model cannot learn: 1",)


def test_o_is_the_first_tag_even_if_no_word_has_it(tmp_path, write_tagged):
    folder = write_tagged(tmp_path, train=["a|B-x"], valid=["a|B-A"])
    assert load_tagged(str(folder)).tags == ("O", "B-A", "B-x")


def test_hash_depends_on_words_tags_order_and_splits(tmp_path, write_tagged):
    layouts = [
        {"train": [FLIGHT, FARE], "valid": [DAY]},
        {"train": [FARE, FLIGHT], "valid": [DAY]},
        {"train": [FLIGHT], "valid": [FARE, DAY]},
        {"train": [FLIGHT, FARE], "valid": [DAY], "test": [DAY]},
        {"train": [FLIGHT, FARE], "valid": ["on monday|O O"]},
        {"train": [FLIGHT, FARE], "valid": ["On monday|O B-day"]},
    ]
    hashes = {
        load_tagged(str(write_tagged(tmp_path / str(index), **layout))).sha256
        for index, layout in enumerate(layouts)
    }
    assert len(hashes) == len(layouts)
    assert {len(found) for found in hashes} == {64}


def test_sources_that_hold_no_sentence(tmp_path):
    (tmp_path / "empty.txt").touch()
    (tmp_path / "blank.txt").write_text("\n \n")
    (tmp_path / "comments.conllu").write_text("# text = a\n\n")
    for name, message in {
        "missing": "no such file or folder",
        "empty.txt": "empty.txt is empty",
        "blank.txt": "no sentence in .*blank.txt",
        "comments.conllu": "no sentence in .*comments.conllu",
    }.items():
        with pytest.raises(CorpusError, match=message):
            load_tagged(str(tmp_path / name))


@pytest.mark.parametrize("valid", [0, 1, -0.1, 2, float("nan")])
def test_valid_is_a_fraction(tmp_path, valid):
    with pytest.raises(UsageError, match="valid must lie between 0 and 1"):
        load_tagged(str(tmp_path), valid=valid)


def test_atis(atis):
    tagged = load_tagged("atis", corpora_dir=atis)
    sizes = {name: len(sentences) for name, sentences in tagged.splits.items()}
    assert sizes == {"train": 4478, "valid": 500, "test": 893}
    words = {name: sum(len(s.words) for s in split) for name, split in tagged.splits.items()}
    assert words == {"train": 50_497, "valid": 5_703, "test": 9_164}
    assert len(tagged.tags) == 121
    assert tagged.tags[:2] == ("O", "B-aircraft_code")
    assert tagged.notices == ("tags only in the test split, which a model cannot learn: 6",)
    first = tagged.splits["train"][0]
    assert first.words[-5:] == ("baltimore", "to", "dallas", "round", "trip")
    assert first.tags[-2:] == ("B-round_trip", "I-round_trip")
