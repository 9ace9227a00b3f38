from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest

from charlm.corpus import CatalogueFile, TaggedSentence, catalogue, load_tagged
from charlm.errors import CorpusError, FetchError, UsageError

FLIGHT = TaggedSentence(("to", "New", "York"), ("O", "B-toloc.city_name", "I-toloc.city_name"))
FARE = TaggedSentence(("cheap", "fares"), ("B-cost", "O"))
DAY = TaggedSentence(("on", "monday"), ("O", "B-day"))


def write_pairs(folder: Path, *sentences: TaggedSentence) -> None:
    folder.mkdir(parents=True)
    for name, index in (("seq.in", 0), ("seq.out", 1)):
        lines = [" ".join(sentence[index]) + "\n" for sentence in sentences]
        (folder / name).write_text("".join(lines), "utf-8")


def write_columns(path: Path, *sentences: TaggedSentence, between: str = " NN _ ") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    blocks = (
        "".join(f"{word}{between}{tag}\n" for word, tag in zip(*sentence, strict=True))
        for sentence in sentences
    )
    path.write_text("\n".join(blocks), "utf-8")


def test_a_folder_of_pairs(tmp_path):
    write_pairs(tmp_path / "mine" / "train", FLIGHT, FARE)
    write_pairs(tmp_path / "mine" / "valid", DAY)
    write_pairs(tmp_path / "mine" / "test", FARE, DAY)
    tagged = load_tagged(str(tmp_path / "mine"))
    assert tagged.splits == {"train": (FLIGHT, FARE), "valid": (DAY,), "test": (FARE, DAY)}
    assert list(tagged.splits) == ["train", "valid", "test"]
    assert tagged.tags == ("O", "B-cost", "B-day", "B-toloc.city_name", "I-toloc.city_name")
    assert (tagged.name, tagged.source) == ("mine", str(tmp_path / "mine"))
    assert tagged.notices == ()


@pytest.mark.parametrize("between", [" ", "\t", " NN  _ "])
def test_a_folder_of_columns(tmp_path, between):
    write_columns(tmp_path / "train.txt", FLIGHT, FARE, between=between)
    write_columns(tmp_path / "dev.txt", DAY, between=between)
    write_columns(tmp_path / "test.txt", FARE, between=between)
    tagged = load_tagged(str(tmp_path))
    assert tagged.splits == {"train": (FLIGHT, FARE), "valid": (DAY,), "test": (FARE,)}
    assert tagged.notices == ()


def test_the_layouts_give_the_same(tmp_path):
    write_pairs(tmp_path / "a" / "train", FLIGHT, FARE)
    write_pairs(tmp_path / "a" / "dev", DAY)
    write_columns(tmp_path / "b" / "train.txt", FLIGHT, FARE)
    write_columns(tmp_path / "b" / "valid.txt", DAY)
    a, b = load_tagged(str(tmp_path / "a")), load_tagged(str(tmp_path / "b"))
    assert a.splits == b.splits
    assert a.sha256 == b.sha256


def test_document_marks_and_empty_lines_separate_sentences(tmp_path):
    (tmp_path / "train.txt").write_text(
        "-DOCSTART- -X- O O\n\n\nEU NNP B-ORG\nrejects VBZ O\n \t\n\n"
        "-DOCSTART- -X- O O\nGerman JJ I-MISC\n-DOCSTART- O\n\n"
    )
    write_columns(tmp_path / "valid.txt", DAY)
    assert load_tagged(str(tmp_path)).splits["train"] == (
        TaggedSentence(("EU", "rejects"), ("B-ORG", "O")),
        TaggedSentence(("German",), ("I-MISC",)),
    )


def test_a_word_may_hold_any_character_but_a_space_and_a_tab(tmp_path):
    words = ("New\u00a0York", "\u3000", "a\u2028b", "café", "夜", "#")
    write_pairs(tmp_path / "train", TaggedSentence(words, ("O",) * 6))
    write_pairs(tmp_path / "valid", DAY)
    assert load_tagged(str(tmp_path)).splits["train"][0].words == words


def test_what_spaces_line_ends_and_marks_are_made_of(tmp_path):
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
def test_valid_is_drawn_from_train(tmp_path, count, valid, drawn):
    sentences = [TaggedSentence((f"w{index}",), ("O",)) for index in range(count)]
    write_pairs(tmp_path / "train", *sentences)
    write_pairs(tmp_path / "test", DAY)
    tagged = load_tagged(str(tmp_path), valid=valid)
    train, validation = tagged.splits["train"], tagged.splits["valid"]
    assert len(validation) == drawn
    assert sorted([*train, *validation]) == sorted(sentences)
    for part in (train, validation):  # in their order in the file
        assert list(part) == [sentence for sentence in sentences if sentence in part]
    assert f"drew {drawn} of {count} train sentences" in tagged.notices[0]
    assert load_tagged(str(tmp_path), valid=valid).sha256 == tagged.sha256


def test_the_draw_is_the_same_everywhere(tmp_path):
    """Mersenne Twister, seed 0, gives 0.844, 0.758, 0.421, 0.259, 0.511, 0.405, ...: the smallest
    are the sentences 3 and 5."""
    sentences = [TaggedSentence((f"w{index}",), ("O",)) for index in range(6)]
    write_pairs(tmp_path / "train", *sentences)
    assert load_tagged(str(tmp_path), valid=1 / 3).splits["valid"] == (sentences[3], sentences[5])


def test_a_missing_test_split(tmp_path):
    write_pairs(tmp_path / "train", FLIGHT)
    write_pairs(tmp_path / "valid", FARE)
    tagged = load_tagged(str(tmp_path))
    assert tagged.splits["test"] == ()
    assert tagged.notices == ("there is no test split",)


def test_tags_that_only_the_test_split_has(tmp_path):
    write_pairs(tmp_path / "train", FLIGHT)
    write_pairs(tmp_path / "valid", FARE)
    write_pairs(tmp_path / "test", DAY)
    tagged = load_tagged(str(tmp_path))
    assert "B-day" not in tagged.tags
    assert tagged.splits["test"] == (DAY,)
    assert tagged.notices == ("tags only in the test split, which a model cannot learn: 1",)


def test_o_is_the_first_tag_even_where_no_word_has_it(tmp_path):
    write_pairs(tmp_path / "train", TaggedSentence(("a",), ("B-x",)))
    write_pairs(tmp_path / "valid", TaggedSentence(("a",), ("B-A",)))
    assert load_tagged(str(tmp_path)).tags == ("O", "B-A", "B-x")


def test_the_hash_is_of_words_tags_order_and_splits(tmp_path):
    """No two of these are alike."""
    layouts = [
        {"train": [FLIGHT, FARE], "valid": [DAY]},
        {"train": [FARE, FLIGHT], "valid": [DAY]},
        {"train": [FLIGHT], "valid": [FARE, DAY]},
        {"train": [FLIGHT, FARE], "valid": [DAY], "test": [DAY]},
        {"train": [FLIGHT, FARE], "valid": [DAY._replace(tags=("O", "O"))]},
        {"train": [FLIGHT, FARE], "valid": [DAY._replace(words=("On", "monday"))]},
    ]
    hashes = set()
    for index, layout in enumerate(layouts):
        for split, sentences in layout.items():
            write_pairs(tmp_path / str(index) / split, *sentences)
        hashes.add(load_tagged(str(tmp_path / str(index))).sha256)
    assert len(hashes) == len(layouts)
    assert {len(found) for found in hashes} == {64}


def test_no_such_folder(tmp_path):
    for source in ("nowhere", "", "a\0b", str(tmp_path / "file")):
        (tmp_path / "file").touch()
        with pytest.raises(CorpusError, match="no corpus, file or folder is called") as caught:
            load_tagged(source)
        assert caught.value.hint.endswith("known: atis")
    with pytest.raises(CorpusError) as caught:
        load_tagged("atiss")
    assert caught.value.hint == "did you mean atis?"


@pytest.mark.parametrize("valid", [0, 1, -0.1, 2, float("nan")])
def test_valid_is_a_fraction(tmp_path, valid):
    with pytest.raises(UsageError, match="valid must lie between 0 and 1"):
        load_tagged(str(tmp_path), valid=valid)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("imdb", "charlm classify train --data imdb"),
        ("timemachine", "charlm train --corpus timemachine"),
    ],
)
def test_a_corpus_for_another_task(name, hint):
    with pytest.raises(UsageError, match=f"{name} is a corpus for the task") as caught:
        load_tagged(name)
    assert caught.value.hint == hint


def test_the_catalogued_folder_is_downloaded(tmp_path, monkeypatch):
    """From the hands of a downloader that stands in for the network."""
    text = {"seq.in": b"to boston\nnow\n", "seq.out": b"O B-city\nO\n"}
    files = tuple(
        CatalogueFile(
            f"atis/{split}/{name}",
            f"http://example.org/{name}",
            hashlib.sha256(data).hexdigest(),
            len(data),
        )
        for split in ("train", "valid", "test")
        for name, data in text.items()
    )
    entry = dataclasses.replace(catalogue()["atis"], files=files)
    monkeypatch.setitem(catalogue(), "atis", entry)
    from charlm.corpus.fetch import fetch

    monkeypatch.setitem(
        fetch.__globals__, "_download", lambda file, progress: text[Path(file.path).name]
    )
    tagged = load_tagged("atis", corpora_dir=tmp_path / "corpora")
    assert tagged.name == "atis"
    assert tagged.notices == (
        f"downloaded atis from {entry.address} to {tmp_path / 'corpora' / 'atis'}",
    )
    assert [len(sentences) for sentences in tagged.splits.values()] == [2, 2, 2]
    assert load_tagged("atis", corpora_dir=tmp_path / "corpora").notices == ()


def test_the_catalogued_folder_cannot_be_downloaded(tmp_path, monkeypatch):
    files = tuple(
        dataclasses.replace(file, address="http://127.0.0.1:9/none")
        for file in catalogue()["atis"].files
    )
    monkeypatch.setitem(catalogue(), "atis", dataclasses.replace(catalogue()["atis"], files=files))
    with pytest.raises(FetchError, match="could not download atis"):
        load_tagged("atis", corpora_dir=tmp_path)


def test_atis(real_corpora):
    if not (real_corpora / "atis").is_dir():
        pytest.skip("needs atis among the corpora")
    tagged = load_tagged("atis", corpora_dir=real_corpora)
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
