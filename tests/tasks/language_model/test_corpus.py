from __future__ import annotations

import dataclasses
import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from charlm.corpus import SPLITS, Vocabulary, add_text, catalogue, corpus_names
from charlm.errors import CharlmError, CorpusError, UsageError
from charlm.tasks.language_model.corpus import load_corpus

TEXT = "the time traveller for so it will be convenient to speak of him\n" * 10


@pytest.fixture
def novel(tmp_path):
    file = tmp_path / "novel.txt"
    file.write_bytes(TEXT.encode())
    return file


def test_own_text(novel):
    corpus = load_corpus(str(novel))
    assert (corpus.name, corpus.source, corpus.cleaning) == ("novel", str(novel), "none")
    assert corpus.sha256 == hashlib.sha256(TEXT.encode()).hexdigest()
    assert corpus.vocabulary == Vocabulary.from_text(TEXT)
    assert corpus.split_sizes == (576, 32, 32)
    assert corpus.text("valid") == TEXT[576:608]
    assert corpus.notices == ()


def test_ids_are_read_only_and_splits_are_views(novel):
    corpus = load_corpus(str(novel))
    for array in (corpus.ids, corpus.split("train")):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    assert np.shares_memory(corpus.ids, corpus.split("test"))
    with pytest.raises(UsageError, match="unknown split 'validation'"):
        corpus.split("validation")


@pytest.mark.parametrize("name", ["traveller", "night_train"])
def test_bundled(name):
    corpus = load_corpus(name)
    assert (corpus.name, corpus.cleaning) == (name, "none")
    assert Path(corpus.source).name == f"{name}.txt"
    assert all(len(corpus.split(split)) > 300 for split in SPLITS)


def test_catalogue_name_wins_over_a_file_but_not_over_a_path():
    Path("traveller").write_text("my own words")
    assert load_corpus("traveller").characters > 1000
    assert load_corpus("./traveller").text("train") == "my own wor"


def test_encoding_and_cleaning(tmp_path):
    file = tmp_path / "a.txt"
    file.write_bytes("Ünd so\nweiter.".encode("cp1252"))
    corpus = load_corpus(str(file), encoding="cp1252", cleaning="letters", split=(1, 0, 0))
    assert corpus.text("train") == "nd soweiter"


def test_max_chars_and_vocabulary_from(novel):
    whole = load_corpus(str(novel), max_chars=20)
    kept = load_corpus(str(novel), max_chars=20, vocabulary_from="kept")
    assert whole.characters == kept.characters == 20
    assert whole.vocabulary == Vocabulary.from_text(TEXT)
    assert kept.vocabulary == Vocabulary.from_text(TEXT[:20])
    assert whole.text("train") == kept.text("train") == TEXT[:18]
    exact = load_corpus(str(novel), max_chars=len(TEXT))
    more = load_corpus(str(novel), max_chars=5000)
    assert exact.characters == more.characters == 640
    assert exact.notices == ()
    assert more.notices == ("the text has 640 characters, fewer than 5,000: all kept",)


def test_characters_that_are_rare_are_unknown(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("abacabad" * 5 + "x")
    corpus = load_corpus(str(file), min_count=6, split=(1, 0, 0))
    assert corpus.vocabulary == Vocabulary.from_text("aab")
    assert corpus.text("train") == "abacabad" * 5 + "x"  # the text itself is known
    assert corpus.ids[:8].tolist() == [1, 2, 1, 0, 1, 2, 1, 0]
    assert corpus.notices == ("11 of 41 characters are not in the vocabulary",)
    part = load_corpus(
        str(file), min_count=3, max_chars=16, vocabulary_from="kept", split=(1, 0, 0)
    )
    assert part.vocabulary == Vocabulary.from_text("aab")
    with pytest.raises(CorpusError, match=r"no character of .* occurs 21 times"):
        load_corpus(str(file), min_count=21)


def test_counts(novel):
    counts = (600, 30, 10)
    assert load_corpus(str(novel), split=counts).split_sizes == counts
    assert load_corpus(str(novel), split=counts, max_chars=64).split_sizes == (60, 3, 1)
    assert load_corpus(str(novel), split=(60, 4, 0), max_chars=64).split_sizes == (60, 4, 0)
    with pytest.raises(CorpusError, match="sum to 641, but the text has 640"):
        load_corpus(str(novel), split=(600, 30, 11))
    with pytest.raises(UsageError, match="not a split"):
        load_corpus(str(novel), split=())


def test_another_texts_vocabulary(novel):
    vocabulary = Vocabulary.from_text("the ti")
    corpus = load_corpus(str(novel), vocabulary=vocabulary, max_chars=8, split=(1, 0, 0))
    assert corpus.vocabulary is vocabulary
    assert corpus.text("train") == "the time"
    assert vocabulary.decode(corpus.split("train")) == "the ti\ufffde"
    assert corpus.notices == ("1 of 8 characters are not in the vocabulary",)


def test_cleaning_that_leaves_nothing(tmp_path):
    (tmp_path / "a.txt").write_bytes("天亮以前".encode())
    with pytest.raises(CorpusError, match="the cleaning 'letters' leaves nothing of") as e:
        load_corpus(str(tmp_path / "a.txt"), cleaning="letters")
    assert e.value.hint == "try --cleaning none"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_chars": 0}, "max_chars must be at least 1"),
        ({"cleaning": "leters"}, "unknown cleaning 'leters'"),
        ({"vocabulary_from": "keep"}, "unknown vocabulary_from 'keep'"),
        ({"encoding": "utf-9"}, "unknown encoding 'utf-9'"),
    ],
)
def test_wrong_arguments(novel, options, message):
    with pytest.raises(UsageError, match=message):
        load_corpus(str(novel), **options)


def test_added_texts(novel, tmp_path, user_cache):
    assert corpus_names() == ()
    path = add_text(novel)
    assert path == Path("corpora/novel.txt")
    assert add_text(novel) == path
    given = add_text(novel, tmp_path / "given")
    assert given == tmp_path / "given" / "novel.txt"
    Path("corpora/tinyshakespeare.txt").write_text("a catalogued file is not an added one")
    assert corpus_names() == ("novel",)
    corpus = load_corpus("novel")
    assert (corpus.name, corpus.source) == ("novel", str(path))
    assert load_corpus("novel", corpora_dir=tmp_path / "given").source == str(given)
    assert not user_cache.exists()


def test_adding_makes_it_plain_utf8(tmp_path):
    (tmp_path / "a b.txt").write_bytes("分开\r\n不分开".encode("gb18030"))
    path = add_text(tmp_path / "a b.txt", tmp_path / "to", encoding="gb18030")
    assert path.name == "a-b.txt"
    assert path.read_bytes() == "分开\n不分开".encode()
    assert [file.name for file in path.parent.iterdir()] == ["a-b.txt"]


@pytest.mark.parametrize("name", ["timemachine.txt", "TimeMachine.md", "jaychou.txt.gz"])
def test_adding_refuses_catalogued_names(tmp_path, name):
    import gzip

    data = TEXT.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    with pytest.raises(CorpusError, match="taken by a catalogued corpus"):
        add_text(tmp_path / name)
    assert list(Path().iterdir()) == []


def test_adding_refuses_to_overwrite(novel):
    path = add_text(novel)
    novel.write_text("another text")
    with pytest.raises(CorpusError, match="exists and is another text"):
        add_text(novel)
    assert path.read_bytes() == TEXT.encode()


def test_adding_something_that_is_not_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\0")
    with pytest.raises(CorpusError, match="NUL byte"):
        add_text(tmp_path / "a.txt")
    (tmp_path / "a.txt").write_bytes(b"text")
    Path("corpora").touch()
    with pytest.raises(CharlmError, match="no corpora folder can be written to"):
        add_text(tmp_path / "a.txt")


def test_time_machine(corpora):
    corpus = load_corpus("timemachine", corpora_dir=corpora)
    assert corpus.characters == 170_580
    assert len(corpus.vocabulary) == 28
    assert "".join(corpus.vocabulary.characters[:5]) == " etai"
    first = load_corpus("timemachine", corpora_dir=corpora, max_chars=10_000)
    assert first.vocabulary == corpus.vocabulary
    assert np.array_equal(first.ids, corpus.ids[:10_000])


def test_jay_chou(corpora):
    corpus = load_corpus("jaychou", corpora_dir=corpora)
    assert corpus.characters == 63_282
    raw = load_corpus("jaychou", corpora_dir=corpora, cleaning="none")
    assert len(raw.vocabulary.characters) == 2_583
    first = load_corpus("jaychou", corpora_dir=corpora, max_chars=10_000, vocabulary_from="kept")
    assert len(first.vocabulary.characters) == 1_027


def test_tiny_shakespeare(corpora):
    corpus = load_corpus("tinyshakespeare", corpora_dir=corpora)
    assert corpus.split_sizes == (1_003_854, 111_540, 0)
    assert len(corpus.vocabulary.characters) == 65
    letters = load_corpus("tinyshakespeare", corpora_dir=corpora, cleaning="letters")
    assert letters.split_sizes[0] == int(letters.characters * 0.9)


def catalogued(monkeypatch, folder: Path, name: str, *contents: bytes, **changes) -> None:
    """Put small files in the place of a catalogued corpus, which is too large for a test."""
    entry, facts = catalogue()[name], []
    for file, content in zip(entry.downloads, contents, strict=True):
        path = folder / file.path
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        facts.append(dataclasses.replace(file, sha256=sha256, size=len(content)))
    if entry.files:
        changes["files"] = tuple(facts)
    else:
        changes |= {"sha256": facts[0].sha256, "size": facts[0].size}
    monkeypatch.setitem(catalogue(), name, dataclasses.replace(entry, **changes))


def test_ptb_is_read_in_the_order_of_its_splits(monkeypatch, tmp_path):
    parts = (b" no it was n't \n <unk> N \n", b" black monday \n", b" rates fell \n")
    catalogued(monkeypatch, tmp_path, "ptb-char", *parts, split=(22, 13, 11))
    corpus = load_corpus("ptb-char", corpora_dir=tmp_path)
    assert [corpus.text(name) for name in ("train", "valid", "test")] == [
        "no it was n't\n<unk> N\n", "black monday\n", "rates fell\n",
    ]  # fmt: skip


def test_enwik8_is_split_by_bytes(monkeypatch, tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("enwik8", "aéé时旅")
    catalogued(monkeypatch, tmp_path, "enwik8", packed.getvalue(), split=(4, 1, 6))
    corpus = load_corpus("enwik8", corpora_dir=tmp_path)
    assert [corpus.text(name) for name in ("train", "valid", "test")] == ["aé", "é", "时旅"]
    assert load_corpus("enwik8", corpora_dir=tmp_path, split=(3, 1, 1)).split_sizes == (3, 1, 1)
    assert load_corpus("enwik8", corpora_dir=tmp_path, max_chars=4).split_sizes[0] == 1
