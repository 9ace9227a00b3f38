"""The commands of a tagger: layouts of tagged sentences, tags of words, scores of slots."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from charlm.cli import run

TINY = shlex.split(
    "--hidden-size 8 --set embedding_size=8 --set buckets=50 --set min_count=1 --batch-size 8 "
    "--device cpu --lr 0.05"
)
SENTENCES = ("to new york", "from Boston to denver", "to Dallas")
NO_DROPOUT = shlex.split("--set input_dropout=0 --set output_dropout=0 --set word_dropout=0")
TRAIN = [
    f"{first} {place} {second} {other}|O B-{first} {rest}O B-{second}"
    for first, second in (("from", "to"), ("to", "from"))
    for place, rest in (("Boston", ""), ("new york", f"I-{first} "), ("denver", ""))
    for other in ("Dallas", "Boston", "denver")
]
SPLITS = {
    "train": TRAIN,
    "valid": ["from new york to Dallas|O B-from I-from O B-to", *TRAIN],
    "test": ["to new york|O B-to I-to", "from denver to Oakland|O B-from O B-to", "9 may|O B-date"],
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, write_tagged):
    """A run that has learned the sentences."""
    folder = tmp_path_factory.mktemp("trained")
    data = write_tagged(folder / "flights", **SPLITS)
    words = ["--epochs", "20", "--quiet", *TINY, *NO_DROPOUT, "--run", str(folder / "run")]
    assert run(["tag", "train", "--data", str(data), *words]) == 0
    return folder / "run"


def test_both_layouts_train_the_same(folder, charlm, write_tagged):
    found = []
    for name, columns in (("pairs", None), ("columns", " NN ")):
        write_tagged(folder / name, columns=columns, **SPLITS)
        outcome = charlm("tag", "train", "--data", name, *TINY, "--epochs", 2, "--json")
        assert "tags only in the test split, which a model cannot learn: 1" in outcome.err
        result = outcome.json
        assert result["words_seen"] == 2 * sum(len(row.split("|")[0].split()) for row in TRAIN)
        found.append([result[key] for key in ("train_loss", "valid_f1", "test_f1", "parameters")])
    assert found[0] == found[1]


def test_dry_run_names_the_tags(folder, charlm, write_tagged):
    write_tagged(folder / "flights", **SPLITS)
    words = ("tag", "train", "--preset", "atis-jordan", "--data", "flights", "--window", 1)
    plan = charlm(*words, "--bidirectional", "--set", "ngrams=", "--dry-run", "--json").json
    assert plan["split"] == {"train": 18, "valid": 19, "test": 3}
    assert plan["tags"] == ["O", "B-from", "B-to", "I-from", "I-to"]
    model = plan["config"]["model"]
    assert (model["cell"], model["window"], model["bidirectional"]) == ("jordan", 1, True)
    assert plan["config"]["corpus"]["ngrams"] == []


def test_without_valid_and_test_sentences(folder, charlm, write_tagged):
    write_tagged(folder / "mine", train=TRAIN)
    found = charlm("tag", "train", "--data", "mine", *TINY, "--epochs", 1, "--json")
    assert found.json["test_f1"] is None
    assert "there is no test split" in found.err
    assert "2 of 18 train sentences" in found.err


# Predict


def test_predict_one_sentence(trained, charlm):
    code, out, err = charlm("tag", "predict", "from  new york to BOSTON", "--run", trained)
    assert (code, err) == (0, "")
    rows = "word tag from O new B-from york I-from to O BOSTON B-to"
    assert " ".join(out.split()) == rows


def test_predict_several_sentences_as_json(trained, charlm):
    sentences = (" to new  york", "from Boston to denver")
    result = charlm("tag", "predict", *sentences, "--run", trained, "--json").json
    assert (result["run"], result["task"]) == (str(trained), "tag")
    first, second = result["predictions"]
    assert first == {
        "text": " to new  york",
        "words": ["to", "new", "york"],
        "tags": ["O", "B-to", "I-to"],
        "spans": [
            {"label": "to", "text": "new  york", "start": 4, "end": 13, "start_word": 1,
             "end_word": 3},
        ],
    }  # fmt: skip
    assert second["tags"] == ["O", "B-from", "O", "B-to"]
    assert [span["label"] for span in second["spans"]] == ["from", "to"]
    for row in (first, second):
        for span in row["spans"]:
            assert row["text"][span["start"] : span["end"]] == span["text"]
            words = row["words"][span["start_word"] : span["end_word"]]
            assert words == span["text"].split()


def test_predict_lines_of_standard_input(trained, charlm):
    text = "from Boston\r\n\n  \nto new york\nto unseen 分开 \u2028".encode()
    words = ("tag", "predict", "--run", trained)
    rows = charlm(*words, "-", "--json", stdin=text).json["predictions"]
    assert [" ".join(row["words"]) for row in rows] == [
        "from Boston", "", "", "to new york", "to unseen 分开",
    ]  # fmt: skip
    assert all(len(row["tags"]) == len(row["words"]) for row in rows)
    assert rows[2] == {"text": "  ", "words": [], "tags": [], "spans": []}
    assert rows[3:4] == charlm(*words, "to new york", "--json").json["predictions"]
    blocks = charlm(*words, "-", stdin=text).out.split("\n\n")
    assert blocks[1].split() == ["word", "tag"]
    assert blocks[3].splitlines()[1].split() == ["to", "O"]


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "error"),
    [
        (["", "  "], b"", 2, "there is no word to tag"),
        (["-"], b"", 1, "standard input is empty"),
        (["-"], b"\n \n", 2, "there is no word to tag"),
        (["-"], b"from \xff\n", 1, "standard input is not UTF-8: byte 0xff at byte offset 5, .*"),
        (["-"], b"from \0\n", 1, "standard input has a NUL byte at byte offset 5, line 1"),
        (["a" * 1001], b"", 2, "'a+[.]{3}a*'? is too long for a sentence: .*"),
        (["a " * 10_001], b"", 2, "'[a ]+' is too long for a sentence: .* 10,000 words, .*"),
        (["to", "--split", "test"], b"", 2, "no such option: --split.*"),
        ([], b"", 2, "missing argument .*"),
        (["to", "--device", "abacus"], b"", 2, "no device 'abacus' here"),
    ],
)
def test_input_that_cannot_be_tagged(trained, charlm, arguments, stdin, code, error):
    refused = charlm("tag", "predict", *arguments, "--run", trained, stdin=stdin)
    assert refused.code == code
    assert re.fullmatch(error, refused.error)
    assert refused.hint


# Eval


def test_eval_json_has_the_contracts_keys(trained, charlm):
    words = ("tag", "eval", "--run", trained)
    result = charlm(*words, "--json").json
    assert result.keys() == {
        "run", "task", "parameters", "split", "sentences", "test_f1", "test_precision",
        "test_recall", "word_accuracy", "slots", "seconds",
    }  # fmt: skip
    assert (result["split"], result["sentences"]) == ("test", 3)
    assert result["slots"]["date"] == {"precision": 0, "recall": 0, "f1": 0, "spans": 1}
    assert result["slots"]["to"]["spans"] == 2
    assert result["slots"].keys() == {"date", "from", "to"}
    assert charlm(*words, "--json", "--split", "valid").json["valid_f1"] > 90
    result = charlm(*words, "--json", "--split", "train").json
    assert (result["train_f1"], result["word_accuracy"]) == (100, 100)


def test_eval_shows_a_table_of_slots(trained, charlm):
    code, out, err = charlm("tag", "eval", "--run", trained, "--split", "train")
    assert (code, err) == (0, "")
    first, empty, *rows = out.splitlines()
    assert first == (
        "train F1 100.00% (precision 100.00%, recall 100.00%) of 36 spans in 18 sentences; "
        "correct tags: 100.00%"
    )
    assert empty == ""
    assert [line.split() for line in rows] == [
        ["slot", "spans", "precision", "recall", "F1"],
        ["from", "18", "100.00%", "100.00%", "100.00%"],
        ["to", "18", "100.00%", "100.00%", "100.00%"],
    ]


def test_a_slot_may_be_called_all(folder, charlm, write_tagged):
    rows = [row.replace("-from", "-all") for row in TRAIN]
    write_tagged(folder / "mine", train=rows, valid=rows[:4], test=rows[3:9])
    assert charlm("tag", "train", "--data", "mine", *TINY, "--epochs", 1).code == 0
    assert charlm("tag", "eval", "--json").json["slots"].keys() == {"all", "to"}


# Tags of words

TAGGED = "\n".join(
    f"1\tthe\t_\tDET\t_\t_\t2\tdet\t_\t_\n2\t{noun}\t_\tNOUN\t_\t_\t3\tnsubj\t_\t_\n"
    f"3\t{verb}\t_\tVERB\t_\t_\t0\troot\t_\t_\n"
    for noun in ("dog", "cat", "bird", "fish")
    for verb in ("sleeps", "eats", "sees", "swims", "flies")
)


def test_parts_of_speech(folder, charlm):
    for split in ("train", "dev", "test"):
        Path(f"x-ud-{split}.conllu").write_text(TAGGED)
    train = charlm("tag", "train", "--data", ".", *TINY, *NO_DROPOUT, "--epochs", 8, "--json")
    assert train.json["test_f1"] > 90
    assert "the tags are of single words" in train.err
    scores = charlm("tag", "eval", "--json").json
    assert scores["test_f1"] == scores["word_accuracy"] == train.json["test_f1"]
    assert scores["slots"].keys() == {"DET", "NOUN", "VERB"}
    out = charlm("tag", "eval").out
    assert "of 60 words in 20 sentences" in out
    assert re.search(r"^tag +words +precision", out, re.MULTILINE)
    (row,) = charlm("tag", "predict", "the dog  sees", "--json").json["predictions"]
    assert row["tags"] == ["DET", "NOUN", "VERB"]
    assert row["spans"][2] == {
        "label": "VERB", "text": "sees", "start": 9, "end": 13, "start_word": 2, "end_word": 3,
    }  # fmt: skip
    plan = charlm("tag", "train", "--data", ".", "--tag-column", "deprel", "--dry-run", "--json")
    assert plan.json["tags"] == ["det", "nsubj", "root"]


def test_predictions_can_be_read_back(trained, charlm):
    rows = charlm("tag", "predict", *SENTENCES, "--run", trained, "--json").json["predictions"]
    for name, keys in (("spans", ("text", "spans")), ("tags", ("words", "tags"))):
        Path(f"{name}.json").write_text(
            json.dumps([{key: row[key] for key in keys} for row in rows])
        )
    found = [
        charlm("tag", "train", "--data", f"{name}.json", *TINY, "--epochs", 1, "--json").json
        for name in ("spans", "tags")
    ]
    assert found[0]["train_loss"] == found[1]["train_loss"]


# Bad input


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        ("--data nowhere", 1, "no corpus, file or folder is called 'nowhere'"),
        ("--data=", 1, "no corpus, file or folder is called ''"),
        ("--data here", 1, "here is empty"),
        ("--data imdb", 2, "imdb is a corpus for the task classify, not tag"),
        ("--data traveller", 2, "traveller is a corpus for the task language-model, not tag"),
        ("--data empty", 1, "empty has neither train/seq.in and train/seq.out nor .*"),
        ("--data good --encoding utf-9", 2, "unknown encoding 'utf-9'"),
        ("--data good --tag-column 2", 2, "good/train/seq.out has no columns"),
        ("--data good --set scheme=bio", 2, "corpus.scheme is 'bio'; it can be auto, .*"),
        ("--preset atis-bilst", 2, "unknown preset: 'atis-bilst'"),
        ("--preset imdb-best", 2, "the preset imdb-best is for another task"),
        ("--data good --window -1", 2, "model.window is -1; it must be from 0 to 100"),
        ("--data good --set ngrams=0", 2, "corpus.ngrams is .0,.; each must be from 1 to 100"),
        ("--data good --run ./good", 2, "good exists already"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(
    folder, charlm, write_tagged, arguments, code, error
):
    write_tagged(folder / "good", train=TRAIN)
    Path("here").touch()
    Path("empty").mkdir()
    before = sorted(folder.rglob("*"))
    refused = charlm("tag", "train", *arguments.split())
    assert refused.code == code
    assert re.fullmatch(error, refused.error.replace("\\", "/"))
    assert sorted(folder.rglob("*")) == before


# ATIS


@pytest.mark.parametrize(
    "cell", ["lstm", *(pytest.param(c, marks=pytest.mark.slow) for c in ("rnn", "gru"))]
)
def test_an_epoch_of_atis(charlm, atis, cell):
    words = ("--corpora-dir", atis, "--device", "cpu", "--json")
    train = ("--epochs", 1, "--hidden-size", 64, "--lr", 0.005, "--cell", cell, "--run", "run")
    trained = charlm("tag", "train", *words, *train)
    assert trained.json["valid_f1"] > 70
    assert trained.json["test_f1"] > 60
    assert "tags only in the test split, which a model cannot learn: " in trained.err
    scored = charlm("tag", "eval", "--run", "run", *words).json
    assert scored["test_f1"] == trained.json["test_f1"]
    assert scored["sentences"] == 893
    assert scored["slots"]["toloc.city_name"]["spans"] == 716
    plan = charlm("tag", "train", *words, "--dry-run").json
    assert plan["split"] == {"train": 4478, "valid": 500, "test": 893}
