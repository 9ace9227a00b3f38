"""The formats of tagged sentences: columns, CoNLL-U, tables, spans with offsets, and schemes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from charlm.errors import CorpusError, UsageError
from charlm.tasks.tagging.tagged_sentences import TaggedSentence, TaggedSentences, load_tagged

CONLLU = """\
# sent_id = 1
# text = Don't go to São Paulo
1-2\tDon't\t_\t_\t_\t_\t_\t_\t_\t_
1\tDo\tdo\tAUX\tVB\tMood=Imp\t3\taux\t_\t_
2\tn't\tnot\tPART\tRB\t_\t3\tadvmod\t_\t_
3\tgo\tgo\tVERB\tVB\tMood=Imp\t0\troot\t_\t_
3.1\tthere\tthere\tADV\t_\t_\t_\t_\t_\t_
4\tto\tto\tADP\tIN\t_\t5\tcase\t_\tNote=#
5\tSão Paulo\tSão Paulo\tPROPN\tNNP\t_\t3\tobl\t_\t_

# sent_id = 2
1\t#\t#\tSYM\tNN\t_\t0\troot\t_\t_
"""


def conllu(tmp_path: Path, text: str = CONLLU, name: str = "a.conllu") -> str:
    (tmp_path / name).write_text(text, "utf-8")
    return str(tmp_path / name)


def all_of(found: TaggedSentences) -> list[TaggedSentence]:
    return sorted(sentence for split in found.splits.values() for sentence in split)


def rows(found: TaggedSentences) -> list[str]:
    return [f"{' '.join(s.words)}|{' '.join(s.tags)}" for s in all_of(found)]


# CoNLL-U


@pytest.mark.parametrize("name", ["a.conllu", "a.txt", "A.CONLLU"])
def test_conllu(tmp_path, name):
    found = load_tagged(conllu(tmp_path, name=name))
    assert all_of(found) == [
        (("#",), ("SYM",)),
        (("Do", "n't", "go", "to", "São Paulo"), ("AUX", "PART", "VERB", "ADP", "PROPN")),
    ]
    assert "O" not in found.tags
    assert "the tags are of single words: F1 is that of words with a tag other than O" in (
        found.notices
    )


@pytest.mark.parametrize(
    ("column", "tags"),
    [("XPOS", "VB RB VB IN NNP"), ("deprel", "aux advmod root case obl"),
     ("feats", "Mood=Imp _ Mood=Imp _ _")],
)  # fmt: skip
def test_other_columns_of_conllu(tmp_path, column, tags):
    found = load_tagged(conllu(tmp_path), tag_column=column, word_column="lemma")
    assert all_of(found)[1] == (("do", "not", "go", "to", "São Paulo"), tuple(tags.split()))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ADP", "_", "line 8: 'to' has no upos"),
        ("\tNote=#", "", "line 8 is not CoNLL-U: it has 9 columns and starts with '4'"),
        ("4\tto", "four\tto", "line 8 is not CoNLL-U: it has 10 columns and starts with 'four'"),
        ("ADP", "AD\x1bP", r"line 8: 'AD\\x1bP' is not a tag"),
        ("ADP", "", "line 8: '' is not a tag"),
        ("\tgo\tgo", "\t\tgo", "line 6: a word is empty"),
    ],
)
def test_damaged_conllu(tmp_path, old, new, message):
    with pytest.raises(CorpusError, match=message) as caught:
        load_tagged(conllu(tmp_path, CONLLU.replace(old, new, 1)))
    assert caught.value.hint


def test_column_that_conllu_does_not_have(tmp_path):
    with pytest.raises(UsageError, match="no column 'ups' in ") as caught:
        load_tagged(conllu(tmp_path), tag_column="ups")
    assert caught.value.hint == "did you mean upos?"


# A word in each line

COLUMNS = "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nhas VBZ B-VP O\n\nPeter NNP B-NP B-PER\n"


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({}, ["EU has|B-ORG O", "Peter|B-PER"]),
        ({"tag_column": "2"}, ["EU has|NNP VBZ", "Peter|NNP"]),
        ({"tag_column": "1", "word_column": "2"}, ["NNP|Peter", "NNP VBZ|EU has"]),
    ],
)
def test_columns_by_number(tmp_path, columns, expected):
    path = tmp_path / "eng.train"
    path.write_text(COLUMNS)
    assert rows(load_tagged(str(path), **columns)) == expected
    (tmp_path / "eng.testb").write_text(COLUMNS)
    assert rows(load_tagged(str(tmp_path), **columns)) == [
        row for row in expected for _ in range(2)
    ]


@pytest.mark.parametrize("column", ["0", "5", "-1", "ner", "²"])
def test_numbers_of_columns_that_are_not_there(tmp_path, column):
    (tmp_path / "a.txt").write_text(COLUMNS)
    with pytest.raises(UsageError, match=f"no column '{column}' in") as caught:
        load_tagged(str(tmp_path / "a.txt"), tag_column=column)
    assert caught.value.hint.endswith("from 1 to 4")


def test_pairs_of_files_have_no_columns(tmp_path, write_tagged):
    folder = write_tagged(tmp_path, train=["a|O", "b|O"])
    with pytest.raises(UsageError, match=r"seq\.out has no columns"):
        load_tagged(str(folder), tag_column="2")


def test_comments_before_sentences(tmp_path):
    (tmp_path / "a.txt").write_text("# id 1 domain=x\na B-x\n# I-x\n\n# id 2 domain=y\n\nb O\n")
    assert rows(load_tagged(str(tmp_path / "a.txt"))) == ["a #|B-x I-x", "b|O"]


def test_tag_is_missing(tmp_path):
    (tmp_path / "a.txt").write_text("a NN\nb VB\n\nc\n")
    with pytest.raises(CorpusError, match="line 4: 'c' has no tag"):
        load_tagged(str(tmp_path / "a.txt"))


# Tables

TABLE = [{"tokens": ["to", "New York"], "ner_tags": ["O", "B-city"], "split": "train"},
         {"tokens": ["on", "monday"], "ner_tags": ["O", "B-day"], "split": "dev"}]  # fmt: skip
EXPECTED = ["on monday|O B-day", "to New York|O B-city"]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.parquet", "train.json"])
def test_tables(tmp_path, name):
    path = tmp_path / name
    if path.suffix == ".parquet":
        pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.Table.from_pylist(TABLE), path)
    else:
        lines = "\n".join(map(json.dumps, TABLE))
        path.write_text(json.dumps(TABLE, indent=1) if path.suffix == ".json" else lines)
    found = load_tagged(str(path))
    assert rows(found) == EXPECTED
    assert [len(found.splits[split]) for split in ("train", "valid", "test")] == [1, 1, 0]
    assert f"words are column 'tokens' and tags 'ner_tags' of {path}" in found.notices


def test_numbers_as_tags(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([{"words": ["a", "b"], "tags": [0, 12]}] * 2))
    found = load_tagged(str(tmp_path / "a.json"))
    assert found.tags == ("0", "12")
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"tokens": [["a", "b"]] * 2, "ner_tags": [[0, 1]] * 2})
    names = {"feature": {"names": ["O", "B-PER"], "_type": "ClassLabel"}}
    about = {"huggingface": json.dumps({"info": {"features": {"ner_tags": names}}})}
    parquet.write_table(table.replace_schema_metadata(about), tmp_path / "train.parquet")
    found = load_tagged(str(tmp_path / "train.parquet"))
    assert rows(found) == ["a b|O B-PER"] * 2


def test_strings_of_words_and_tags(tmp_path):
    (tmp_path / "a.json").write_text(
        '[{"text": "to  a", "tags": "O B-x"}, {"text": "b", "tags": "O"}]'
    )
    assert rows(load_tagged(str(tmp_path / "a.json"))) == ["b|O", "to a|O B-x"]


ROWS = """\
Sentence #,Word,POS,Tag
Sentence: 1,to,IN,O
,"New York",NNP,B-city
Sentence: 2,",",",",O
Sentence: 2,now,RB,O
"""


def test_csv_with_a_word_in_each_row(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(ROWS)
    found = load_tagged(str(path))
    assert rows(found) == [", now|O O", "to New York|O B-city"]
    assert f"words are column 'Word' and tags 'Tag' of {path}" in found.notices
    assert rows(load_tagged(str(path), tag_column="POS"))[0] == ", now|, RB"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("RB,O", "RB,X", "line 5: 'X' is not a tag of a span, but 'B-city' is"),
        ("RB,O", "RB,", "line 5: '' is not a tag"),
        ("now", " ", "line 5: a word is empty"),
        ("RB,O", "RB", "line 5 has 3 fields, but the first row has 4"),
        ("Sentence #", "Sentence", "no column of the numbers of sentences in"),
        ("Tag", "IOB", "no column 'Tag' in"),
    ],
)
def test_damaged_csv(tmp_path, old, new, message):
    (tmp_path / "a.csv").write_text(ROWS.replace(old, new))
    columns = {"tag_column": "Tag"} if old == "Tag" else {}
    with pytest.raises(CorpusError, match=message) as caught:
        load_tagged(str(tmp_path / "a.csv"), **columns)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"words": ["a", "b"], "tags": ["O"]}, "line 2: 1 tags for 2 words"),
        ({"words": ["a"], "tags": [None]}, r"line 2: 'tags' is \[None\], not a list of strings"),
        ({"words": ["a"], "tags": [True]}, "not a list of strings"),
        ({"words": [1.5], "tags": ["O"]}, "'words' is .1.5., not a list of strings"),
        ({"words": {"a": 1}, "tags": ["O"]}, "not a list of strings"),
        ({"words": ["a"]}, "line 2: no key 'tags'"),
        ({"words": ["a", ""], "tags": ["O", "O"]}, "line 2: a word is empty"),
        ({"words": ["a"], "tags": ["B"]}, "line 2: 'B' is not a tag of a span, but 'B-x' is"),
        ({"words": ["a\ud800"], "tags": ["O"]}, r"line 2 has U\+D800"),
        ({"words": ["a" * 1001], "tags": ["O"]}, "line 2: a word or tag of more than 1,000"),
    ],
)
def test_damaged_tables(tmp_path, record, message):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"words": ["a"], "tags": ["B-x"]}) + "\n" + json.dumps(record))
    with pytest.raises(CorpusError, match=message) as caught:
        load_tagged(str(path))
    assert caught.value.hint


def test_table_without_the_columns(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(TABLE))
    (tmp_path / "b.json").write_text(json.dumps(TABLE[1:]))
    with pytest.raises(CorpusError, match="no column 'pos_tag' in"):
        load_tagged(str(tmp_path / "a.json"), tag_column="pos_tag")
    with pytest.raises(CorpusError, match="no sentence to train on"):
        load_tagged(str(tmp_path / "b.json"))


# Spans with offsets


def spans_of(tmp_path: Path, *spans: object, text: str = "from São Paulo, to Rio") -> list[str]:
    lines = [{"text": text, "spans": list(spans)}, {"text": "now", "spans": []}]
    (tmp_path / "a.json").write_text(json.dumps(lines))
    return rows(load_tagged(str(tmp_path / "a.json")))


@pytest.mark.parametrize("as_list", [False, True])
def test_spans_with_offsets(tmp_path, as_list):
    spans = [(5, 14, "from"), (19, 22, "to")]
    written = spans if as_list else [dict(zip(("start", "end", "label"), s)) for s in spans]  # noqa: B905
    expected = ["from São Paulo, to Rio|O B-from I-from O B-to", "now|O"]
    assert spans_of(tmp_path, *written) == expected
    # The comma belongs to the word, so the span is one character longer.
    notices = load_tagged(str(tmp_path / "a.json")).notices
    assert f"widened 1 span of {tmp_path / 'a.json'} to whole words" in notices


@pytest.mark.parametrize(
    ("span", "message"),
    [
        ([5, 99, "x"], "line 1: .5, 99, 'x'. is not a span of words"),
        ([4, 5, "x"], "is not a span of words"),  # the space
        ([5, 5, "x"], "is not a span of words"),
        ([-3, 5, "x"], "is not a span of words"),
        ([5, 9], "is not a span of words"),
        ({"start": 5, "end": "9", "label": "x"}, "is not a span of words"),
        ([10, 14, "x"], "overlaps another span"),
        ([5, 9, ""], "'B-' is not a tag"),
    ],
)
def test_damaged_spans(tmp_path, span, message):
    others = [[0, 14, "other"]] if "overlaps" in message else []
    with pytest.raises(CorpusError, match=message):
        spans_of(tmp_path, *others, span)


# Schemes

SCHEMES = {
    "iob": "B-a I-a I-a B-a O B-b",
    "bioes": "B-a I-a E-a S-a O S-b",
    "bilou": "B-a I-a L-a U-a O U-b",
    "bmes": "B-a M-a E-a S-a O S-b",
    "bmew": "B-a M-a E-a W-a O W-b",
}


@pytest.mark.parametrize("name", SCHEMES)
def test_schemes_are_read_as_iob(tmp_path, write_tagged, name):
    iob, other = (f"1 2 3 4 5 6|{SCHEMES[scheme]}" for scheme in ("iob", name))
    expected = load_tagged(str(write_tagged(tmp_path / "iob", train=[iob], valid=[iob])))
    found = load_tagged(str(write_tagged(tmp_path / "other", train=[other], valid=[other])))
    assert (found.splits, found.tags) == (expected.splits, expected.tags)
    assert found.sha256 == expected.sha256
    marks = "".join(sorted(set(SCHEMES[name]) - set("- abO")))
    said = any(f"the tags have the marks {marks}: changed" in notice for notice in found.notices)
    assert said == (name != "iob")


def test_iob_is_left_as_it_is(tmp_path, write_tagged):
    folder = write_tagged(tmp_path, train=["1 2 3|I-a B-a I-b"], valid=["1|O"])  # IOB1
    assert load_tagged(str(folder)).splits["train"][0].tags == ("I-a", "B-a", "I-b")


@pytest.mark.parametrize(
    ("tags", "scheme", "outcome"),
    [
        ("NN VB O", "auto", ("O", "NN", "VB")),
        ("O O O", "auto", ("O",)),
        ("S-x VB NN", "auto", "'VB' is not a tag of a span, but 'S-x' is"),
        ("S-x VB NN", "words", ("NN", "S-x", "VB")),
        ("B-x I-x O", "words", ("O", "B-x", "I-x")),
        ("NN VB O", "spans", "'NN' is not a tag of a span"),
        ("S-x U-x O", "spans", ("O", "B-x")),
    ],
)
def test_what_the_tags_are_of(tmp_path, write_tagged, tags, scheme, outcome):
    folder = write_tagged(tmp_path, train=[f"1 2 3|{tags}"], valid=[f"1 2 3|{tags}"])
    if isinstance(outcome, tuple):
        assert load_tagged(str(folder), scheme=scheme).tags == outcome
        return
    with pytest.raises(CorpusError, match=f"line 1: {outcome}") as caught:
        load_tagged(str(folder), scheme=scheme)
    assert "--set scheme=words" in caught.value.hint


def test_atis_in_other_formats(tmp_path, atis):
    """The words, tags and hash are those of the original files."""
    original = load_tagged("atis", corpora_dir=atis)
    for split, sentences in original.splits.items():
        lines = []
        for words, tags in sentences:
            for number, (word, tag) in enumerate(zip(words, tags, strict=True)):
                after = tags[number + 1] if number + 1 < len(tags) else "O"
                ends = after != f"I-{tag[2:]}"
                marks = {"B": "S" if ends else "B", "I": "E" if ends else "I"}
                bioes = tag if tag == "O" else marks[tag[0]] + tag[1:]
                columns = [word, "_", "_", bioes, "_", "_", "_", "_", "_"]
                lines.append("\t".join([str(number + 1), *columns]))
            lines.append("")
        (tmp_path / f"atis-{split}.conllu").write_text("\n".join(lines))
    found = load_tagged(str(tmp_path), tag_column="xpos")
    assert found.sha256 == original.sha256
    assert (found.splits, found.tags) == (original.splits, original.tags)
