"""``charlm tag`` as a user types it."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from charlm.cli import run

TINY = (
    "--hidden-size", "8", "--set", "embedding_size=8", "--set", "buckets=50", "--set",
    "min_count=1", "--batch-size", "8", "--device", "cpu", "--lr", "0.05",
)  # fmt: skip
NO_DROPOUT = [
    word
    for name in ("input", "output", "word")
    for word in ("--set", f"{name}_dropout=0")
]  # fmt: skip
TRAIN = [
    f"{first} {place} {second} {other}|O B-{first} {rest}O B-{second}"
    for first, second in (("from", "to"), ("to", "from"))
    for place, rest in (("Boston", ""), ("new york", "I-{} "), ("denver", ""))
    for other in ("Dallas", "Boston", "denver")
    for rest in [rest.format(first)]
]
VALID = ["from new york to Dallas|O B-from I-from O B-to", *TRAIN]
TEST = ["to new york|O B-to I-to", "from denver to Oakland|O B-from O B-to", "9 may|O B-date"]
NOTICE = "tags only in the test split, which a model cannot learn: 1"


def write(folder: Path, **splits: list[str]) -> Path:
    """A sentence to a line, its tags in the same line of another file."""
    for split, rows in splits.items():
        (folder / split).mkdir(parents=True)
        for number, name in enumerate(("seq.in", "seq.out")):
            text = "".join(row.split("|")[number] + "\n" for row in rows)
            (folder / split / name).write_text(text, "utf-8")
    return folder


def write_columns(folder: Path, **splits: list[str]) -> Path:
    """A word to a line with its tag."""
    folder.mkdir()
    for split, rows in splits.items():
        lines = []
        for row in rows:
            pairs = zip(*(part.split() for part in row.split("|")), strict=True)
            lines += [*(f"{word} NN {tag}" for word, tag in pairs), ""]
        (folder / f"{split}.txt").write_text("\n".join(lines), "utf-8")
    return folder


SPLITS = {"train": TRAIN, "valid": VALID, "test": TEST}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty working folder, and no corpora."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHARLM_CORPORA", str(tmp_path / "corpora"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write(tmp_path_factory.mktemp("data") / "flights", **SPLITS)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data):
    """A run that has learned the sentences."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    words = ["--epochs", "20", "--quiet", *TINY, *NO_DROPOUT]
    assert run(["tag", "train", "--data", str(data), *words, "--run", str(folder)]) == 0
    return folder


@pytest.fixture
def charlm(capsys, monkeypatch):
    """Runs a command and gives its exit code, stdout and stderr."""

    def command(*arguments, stdin=b""):
        capsys.readouterr()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return command


def error_lines(err):
    return [line for line in err.splitlines() if line.startswith(("error:", "hint:"))]


# Training


@pytest.mark.parametrize("layout", [write, write_columns])
def test_train_json_has_the_contracts_keys(folder, charlm, layout):
    layout(folder / "mine", **SPLITS)
    code, out, err = charlm("tag", "train", "--data", "mine", *TINY, "--epochs", 2, "--json")
    assert code == 0, err
    result = json.loads(out)
    assert result.keys() >= {
        "run", "task", "corpus", "cell", "backend", "parameters", "device", "seed", "epochs",
        "words_seen", "seconds", "words_per_second", "train_loss", "valid_f1", "test_f1",
        "interrupted",
    }  # fmt: skip
    assert (result["task"], result["corpus"], result["cell"]) == ("tag", "mine", "lstm")
    assert (result["epochs"], result["interrupted"]) == (2, False)
    words = sum(len(row.partition("|")[0].split()) for row in TRAIN)
    assert result["words_seen"] == 2 * words
    assert 0 <= result["valid_f1"] <= 100
    assert 0 <= result["test_f1"] <= 100
    assert Path(result["run"]).parent == Path("checkpoints")
    assert re.fullmatch(r"\d{8}-\d{6}-mine-lstm", Path(result["run"]).name)
    assert json.loads((Path(result["run"]) / "summary.json").read_text("utf-8")) == result
    assert f"training lstm (torch), {result['parameters']:,} parameters, on {words} words" in err
    assert NOTICE in err


def test_both_layouts_train_the_same(folder, charlm):
    found = []
    for name, layout in (("pairs", write), ("columns", write_columns)):
        layout(folder / name, **SPLITS)
        code, out, _ = charlm("tag", "train", "--data", name, *TINY, "--epochs", 2, "--json")
        assert code == 0
        result = json.loads(out)
        found.append([result[key] for key in ("train_loss", "valid_f1", "test_f1", "parameters")])
    assert found[0] == found[1]


def test_train_says_what_it_found_and_what_to_type_next(folder, charlm, data):
    code, out, err = charlm(
        "tag", "train", "--data", data, *TINY, "--epochs", 2, "--quiet", "--run", "my run"
    )
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert re.fullmatch(r"trained after 2 epochs, 0:\d\d, [\d,]+ words/s", lines[0])
    assert re.fullmatch(r"train loss \d\.\d{3}", lines[1])
    assert re.fullmatch(r"valid F1 [\d.]+%", lines[2])
    assert re.fullmatch(r"test F1 [\d.]+%", lines[3])
    assert lines[4] == "run my run"
    assert lines[5] == "next: charlm tag predict \"a sentence of words\" --run 'my run'"
    code, out, _ = charlm("tag", "predict", "a sentence of words", "--run", "my run")
    assert code == 0
    assert len(out.splitlines()) == 5


def test_the_newest_tagger_is_taken_though_there_are_newer_runs(folder, charlm, data):
    code, out, _ = charlm("tag", "train", "--data", data, *TINY, "--epochs", 1, "--quiet")
    assert code == 0
    assert out.splitlines()[-1] == 'next: charlm tag predict "a sentence of words"'
    tiny = ["--hidden-size", 8, "--batch-size", 4, "--seq-len", 20, "--max-chars", 2000]
    code, _, _ = charlm("train", *tiny, "--epochs", 1, "--set", "sample_length=1")
    assert code == 0
    newest = next(Path("checkpoints").glob("*traveller*")) / "run.json"
    os.utime(newest, (2e9, 2e9))
    code, _, err = charlm("tag", "predict", "to boston")
    assert code == 0
    assert re.fullmatch(r"run: checkpoints/\d{8}-\d{6}-flights-lstm", err.strip())
    assert charlm("tag", "eval", "--quiet")[0] == 0
    code, _, err = charlm("generate", "--prefix", "a", "--length", 2)
    assert code == 0
    assert "traveller" in err


def test_dry_run_writes_nothing(folder, charlm, data):
    code, out, _ = charlm(
        "tag", "train", "--preset", "atis-jordan", "--data", data, "--dry-run", "--json",
        "--window", 1, "--bidirectional", "--set", "ngrams=",
    )  # fmt: skip
    assert code == 0
    plan = json.loads(out)
    assert (plan["task"], plan["corpus"]) == ("tag", "flights")
    assert plan["split"] == {"train": 18, "valid": 19, "test": 3}
    assert plan["tags"] == ["O", "B-from", "B-to", "I-from", "I-to"]
    model = plan["config"]["model"]
    assert (model["cell"], model["window"], model["bidirectional"]) == ("jordan", 1, True)
    assert plan["config"]["corpus"]["ngrams"] == []
    assert plan["config"]["corpus"]["source"] == str(data)
    assert plan["parameters"] > 0
    assert not list(folder.iterdir())
    code, out, _ = charlm("tag", "train", "--data", data, "--dry-run", "--one-way")
    assert code == 0
    assert out.startswith(
        "flights: sentences with 5 tags (train 18, valid 19, test 3), vocabulary "
    )
    assert "bidirectional = False\n" in out
    assert "[training]\n" in out
    assert not list(folder.iterdir())


def test_without_a_test_split_its_f1_is_null(folder, charlm):
    write(folder / "mine", train=TRAIN)
    code, out, err = charlm("tag", "train", "--data", "mine", *TINY, "--epochs", 1, "--json")
    assert code == 0
    assert json.loads(out)["test_f1"] is None
    assert "there is no test split" in err
    assert "drew 2 of 18 train sentences" in err
    code, out, _ = charlm("tag", "eval", "--json", "--quiet")
    assert code == 0
    assert json.loads(out)["split"] == "valid"
    code, out, err = charlm("tag", "eval", "--split", "test", "--quiet")
    assert (code, out) == (2, "")
    assert error_lines(err) == [
        "error: the test split is empty", "hint: these are not: train, valid",
    ]  # fmt: skip


def test_a_configuration_file_and_options_over_it(folder, charlm, data):
    Path("mine.toml").write_text(
        f'[corpus]\nsource = "{data}"\nshapes = true\nngrams = [3]\n'
        '[model]\ncell = "gru"\nwindow = 3\n[training]\nepochs = 7\n'
    )
    code, out, _ = charlm(
        "tag", "train", "--config", "mine.toml", "--window", 2, "--set", "ngrams=2,4",
        "--dry-run", "--json",
    )  # fmt: skip
    assert code == 0
    config = json.loads(out)["config"]
    assert config["corpus"]["shapes"] is True
    assert config["corpus"]["ngrams"] == [2, 4]
    assert (config["model"]["cell"], config["model"]["window"]) == ("gru", 2)
    assert (config["training"]["epochs"], config["training"]["minutes"]) == (7, None)


# Going on


def test_more_epochs_go_on_with_the_newest_run(folder, charlm, data):
    assert charlm("tag", "train", "--data", data, *TINY, "--epochs", 1, "--quiet")[0] == 0
    code, out, err = charlm("tag", "train", "--resume", "--epochs", 3, "--json")
    assert code == 0
    result = json.loads(out)
    assert result["epochs"] == 3
    assert "going on after 1 epochs" in err
    assert len(list(Path("checkpoints").iterdir())) == 1
    code, out, err = charlm("tag", "train", "--resume", "--json")
    assert code == 0
    assert json.loads(out)["test_f1"] == result["test_f1"]
    assert "nothing left to do" in err


def test_what_cannot_change_is_named(folder, charlm, data):
    words = ("tag", "train", "--data", data, *TINY, "--run", "mine")
    assert charlm(*words, "--epochs", 1, "--quiet")[0] == 0
    code, out, err = charlm(*words, "--resume", "--cell", "gru", "--window", 1, "--seed", 3)
    assert (code, out) == (2, "")
    error, hint = error_lines(err)
    assert error == (
        "error: mine cannot go on with other settings: model.cell is lstm in the run, not gru; "
        "model.window is 0 in the run, not 1; training.seed is 0 in the run, not 3"
    )
    assert hint == "hint: leave them out to go on; or train a new run, without --resume"


def test_other_data_is_refused_and_moved_data_taken(folder, charlm):
    write(folder / "mine", **SPLITS)
    words = ("tag", "train", *TINY, "--run", "run", "--quiet")
    assert charlm(*words, "--data", "mine", "--epochs", 1)[0] == 0
    write(folder / "other", **{**SPLITS, "train": TRAIN[1:]})
    code, out, err = charlm(*words, "--resume", "--data", "other")
    assert (code, out) == (1, "")
    error, hint = error_lines(err)
    assert "is not the data that run was trained on" in error
    assert "split 17/19/3, not 18/19/3" in error
    assert hint == "hint: name the right one: --data"
    (folder / "mine").rename(folder / "moved")
    code, _, err = charlm(*words, "--resume", "--epochs", 2)
    assert code == 1
    assert error_lines(err)[0].startswith("error: no corpus, file or folder is called '")
    assert charlm("tag", "eval", "--run", "run")[0] == 1
    assert charlm("tag", "eval", "--run", "run", "--data", "moved")[0] == 0
    assert charlm(*words, "--resume", "--epochs", 2, "--data", "moved")[0] == 0
    assert charlm("tag", "eval", "--run", "run")[0] == 0


# Predicting


def test_predict_one_sentence(trained, charlm):
    code, out, err = charlm("tag", "predict", "from  new york to BOSTON", "--run", trained)
    assert (code, err) == (0, "")
    assert [line.split() for line in out.splitlines()] == [
        ["word", "tag"], ["from", "O"], ["new", "B-from"], ["york", "I-from"], ["to", "O"],
        ["BOSTON", "B-to"],
    ]  # fmt: skip


def test_predict_several_sentences_as_json(trained, charlm):
    code, out, _ = charlm(
        "tag", "predict", "to new york", "from Boston to denver", "--run", trained, "--json"
    )
    assert code == 0
    result = json.loads(out)
    assert (result["run"], result["task"]) == (str(trained), "tag")
    assert result["predictions"] == [
        {
            "words": ["to", "new", "york"],
            "tags": ["O", "B-to", "I-to"],
            "spans": [{"kind": "to", "text": "new york"}],
        },
        {
            "words": ["from", "Boston", "to", "denver"],
            "tags": ["O", "B-from", "O", "B-to"],
            "spans": [{"kind": "from", "text": "Boston"}, {"kind": "to", "text": "denver"}],
        },
    ]


def test_predict_lines_of_standard_input(trained, charlm):
    text = "from Boston\r\n\n  \nto new york\nto unseen 分开 \u2028"
    code, out, _ = charlm(
        "tag", "predict", "-", "--run", trained, "--json", stdin=text.encode()
    )  # fmt: skip
    assert code == 0
    rows = json.loads(out)["predictions"]
    assert [row["words"] for row in rows] == [
        ["from", "Boston"], ["to", "new", "york"], ["to", "unseen", "分开"],
    ]  # fmt: skip
    assert all(len(row["tags"]) == len(row["words"]) for row in rows)
    alone = json.loads(
        charlm("tag", "predict", "to new york", "--run", trained, "--json")[1]
    )["predictions"]  # fmt: skip
    assert rows[1:2] == alone
    code, out, _ = charlm("tag", "predict", "-", "--run", trained, stdin=text.encode())
    assert code == 0
    assert out.split("\n\n")[1].splitlines()[1].split() == ["to", "O"]


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "error"),
    [
        (["", "  "], b"", 2, "there is no word to tag"),
        (["-"], b"", 1, "standard input is empty"),
        (["-"], b"\n \n", 2, "there is no word to tag"),
        (["-"], b"from \xff\n", 1, "standard input is not UTF-8: byte 0xff at byte offset 5, .*"),
        (["-"], b"from \0\n", 1, "standard input has a NUL byte at byte offset 5: .*"),
        (["a" * 1001], b"", 2, "'a+[.]{3}a+' is no sentence: .*"),
        (["a " * 10_001], b"", 2, "'[a ]+' is no sentence: it has more than 10,000 words, .*"),
        (["to", "--split", "test"], b"", 2, "no such option: --split.*"),
        ([], b"", 2, "missing argument .*"),
        (["to", "--device", "abacus"], b"", 2, "no device 'abacus' here"),
    ],
)
def test_what_cannot_be_tagged(trained, charlm, arguments, stdin, code, error):
    found, out, err = charlm("tag", "predict", *arguments, "--run", trained, stdin=stdin)
    assert (found, out) == (code, "")
    first, hint = error_lines(err)
    assert re.fullmatch(f"error: {error}", first)
    assert len(hint) > len("hint: ")


# Scoring


def test_eval_json_has_the_contracts_keys_and_agrees_with_training(trained, charlm):
    code, out, _ = charlm("tag", "eval", "--run", trained, "--json")
    assert code == 0
    result = json.loads(out)
    assert result.keys() == {
        "run", "task", "parameters", "split", "sentences", "test_f1", "test_precision",
        "test_recall", "word_accuracy", "slots", "seconds",
    }  # fmt: skip
    summary = json.loads((trained / "summary.json").read_text("utf-8"))
    for key in ("run", "task", "parameters", "test_f1"):
        assert result[key] == summary[key]
    assert (result["split"], result["sentences"]) == ("test", 3)
    assert result["slots"]["date"] == {"precision": 0, "recall": 0, "f1": 0, "spans": 1}
    assert result["slots"]["to"]["spans"] == 2
    assert result["slots"].keys() == {"date", "from", "to"}
    code, out, _ = charlm("tag", "eval", "--run", trained, "--json", "--split", "valid")
    assert code == 0
    assert json.loads(out)["valid_f1"] == summary["valid_f1"] > 90
    code, out, _ = charlm("tag", "eval", "--run", trained, "--json", "--split", "train")
    assert code == 0
    result = json.loads(out)
    assert (result["train_f1"], result["word_accuracy"]) == (100, 100)


def test_eval_shows_a_table_of_slots(trained, charlm):
    code, out, err = charlm("tag", "eval", "--run", trained, "--split", "train")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == (
        "train F1 100.00% (precision 100.00%, recall 100.00%) of 36 spans in 18 sentences; "
        "tags right: 100.00%"
    )
    assert lines[1] == ""
    assert [line.split() for line in lines[2:]] == [
        ["slot", "spans", "precision", "recall", "F1"],
        ["from", "18", "100.00%", "100.00%", "100.00%"],
        ["to", "18", "100.00%", "100.00%", "100.00%"],
    ]


def test_a_slot_may_be_called_all(folder, charlm):
    rows = [row.replace("-from", "-all") for row in TRAIN]
    write(folder / "mine", train=rows, valid=rows[:4], test=rows[3:9])
    code, _, _ = charlm("tag", "train", "--data", "mine", *TINY, "--epochs", 1, "--quiet")
    assert code == 0
    code, out, _ = charlm("tag", "eval", "--json", "--quiet")
    assert code == 0
    assert json.loads(out)["slots"].keys() == {"all", "to"}


def test_its_runs_are_listed_shown_and_compared(folder, charlm, data):
    for cell in ("lstm", "gru"):
        words = ("--cell", cell, "--run", f"checkpoints/{cell}", "--quiet", "--epochs", 1)
        assert charlm("tag", "train", "--data", data, *TINY, *words)[0] == 0
    code, out, _ = charlm("runs", "list", "--json")
    assert code == 0
    rows = json.loads(out)["runs"]
    assert {(row["task"], row["cell"]) for row in rows} == {("tag", "lstm"), ("tag", "gru")}
    assert all(0 <= row["valid_f1"] <= 100 for row in rows)
    code, out, _ = charlm("runs", "show", "gru")
    assert code == 0
    assert "ngrams = (2, 3, 4)" in out
    assert "valid F1" in out
    code, out, _ = charlm("runs", "compare", "gru", "lstm", "--json")
    assert code == 0
    assert json.loads(out)["differing"] == {"model.cell": ["gru", "lstm"]}


# What is refused

BAD = [
    ("no-folder", "--data nowhere", 1, "no corpus, file or folder is called 'nowhere'"),
    ("nearly-atis", "--data atiss", 1, "no corpus, file or folder is called 'atiss'"),
    ("no-name", "--data=", 1, "no corpus, file or folder is called ''"),
    ("a-file", "--data here", 1, "no corpus, file or folder is called 'here'"),
    ("another-task", "--data imdb", 2, "imdb is a corpus for the task"),
    ("a-text", "--data traveller", 2, "traveller is a corpus for the task"),
    ("empty-folder", "--data empty", 1, "empty has neither train/seq.in and train/seq.out nor .*"),
    ("no-tags", "--data words", 1, "no such file: words/train/seq.out"),
    ("no-words", "--data tags", 1, "no such file: tags/train/seq.in"),
    ("lines-differ", "--data lines", 1,
     "lines/train/seq.in has 2 lines, but lines/train/seq.out has 1"),
    ("tags-differ", "--data few", 1, "few/train/seq.out, line 2: 1 tags for 2 words"),
    ("wrong-tag", "--data wrong", 1, "wrong/train/seq.out, line 1: 'city' is not a tag"),
    ("no-sentence", "--data blank", 1, "no sentence in train of blank"),
    ("tags-without-words", "--data bare", 1, "bare/train/seq.out, line 2: 1 tags for 0 words"),
    ("not-utf-8", "--data latin", 1, "latin/train/seq.in is not UTF-8: byte 0xfc at .*"),
    ("encoding", "--data good --encoding utf-9", 2, "unknown encoding 'utf-9'"),
    ("preset", "--preset atis-bilst", 2, "unknown preset: 'atis-bilst'"),
    ("preset-of-another-task", "--preset imdb-best", 2,
     "the preset imdb-best is for another task"),
    ("preset-of-the-language-model", "--preset timemachine-gru", 2,
     "the preset timemachine-gru is for another task"),
    ("window", "--data good --window -1", 2, "model.window is -1; it must be from 0 to 100"),
    ("cell", "--data good --cell lstn", 2, "model.cell is 'lstn'; it can be rnn, .*"),
    ("no-torch-cell", "--data good --cell jordan", 2, "the cell jordan has no torch layer: .*"),
    ("ngrams", "--data good --set ngrams=0", 2,
     "corpus.ngrams is .0,.; each must be from 1 to 100"),
    ("ngrams-no-list", "--data good --set ngrams=x", 2,
     "corpus.ngrams is 'x'; it must be a list of whole numbers"),
    ("set", "--data good --set bucket=3", 2, "unknown key: 'bucket'"),
    ("set-of-another-task", "--data good --set seq_len=3", 2, "unknown key: 'seq_len'"),
    ("epochs", "--data good --epochs 0", 2, "training.epochs is 0; it must be from 1 to .*"),
    ("device", "--data good --device abacus", 2, "no device 'abacus' here"),
    ("run-is-there", "--data good --run good", 2, "good exists already"),
    ("resume-nothing", "--resume", 1, "no run to go on with"),
    ("resume-nowhere", "--resume --run nowhere", 1, "nowhere is not a run folder: .*"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code", "error"), [case[1:] for case in BAD], ids=[case[0] for case in BAD]
)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(folder, charlm, arguments, code, error):
    good = {"train/seq.in": b"to boston\nto x\n", "train/seq.out": b"O B-to\nO O\n"}
    layouts = {
        "good": good,
        "words": {**good, "train/seq.out": None},
        "tags": {**good, "train/seq.in": None},
        "lines": {**good, "train/seq.out": b"O B-to\n"},
        "few": {**good, "train/seq.out": b"O B-to\nO\n"},
        "wrong": {**good, "train/seq.out": b"O city\nO O\n"},
        "blank": {"train/seq.in": b"\n\n", "train/seq.out": b"\n\n"},
        "bare": {"train/seq.in": b"to\n \nx\n", "train/seq.out": b"O\nO\nO\n"},
        "latin": {**good, "train/seq.in": "to zürich\nto x\n".encode("cp1252")},
    }
    (folder / "here").touch()
    (folder / "empty").mkdir()
    for name, files in layouts.items():
        for path, content in files.items():
            if content is not None:
                (folder / name / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / name / path).write_bytes(content)
    before = sorted(folder.rglob("*"))
    found, out, err = charlm("tag", "train", *arguments.split())
    assert (found, out) == (code, "")
    lines = error_lines(err)
    assert re.fullmatch(f"error: {error}", lines[0].replace(os.sep, "/"))
    assert [line.partition(":")[0] for line in lines] in (["error"], ["error", "hint"])
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("command", "of"),
    [
        (["generate", "--prefix", "a", "--run", "RUN"], "charlm train"),
        (["eval", "--run", "RUN"], "charlm train"),
        (["inspect", "--memory", "--run", "RUN"], "charlm train"),
        (["train", "--resume", "--run", "RUN"], "charlm train"),
        (["classify", "predict", "a", "--run", "RUN"], "charlm classify train"),
        (["classify", "eval", "--run", "RUN"], "charlm classify train"),
        (["classify", "train", "--resume", "--run", "RUN"], "charlm classify train"),
    ],
)
def test_other_commands_refuse_a_taggers_run(trained, charlm, command, of):
    code, out, err = charlm(*(str(trained) if word == "RUN" else word for word in command))
    assert (code, out) == (1, "")
    assert error_lines(err) == [
        f"error: {trained} is a run of charlm tag train, not of {of}",
        "hint: see charlm tag --help",
    ]


@pytest.mark.parametrize("command", ["predict x", "eval", "train --resume"])
def test_the_runs_of_others_are_refused(folder, charlm, command):
    tiny = ["--hidden-size", 8, "--batch-size", 4, "--seq-len", 20, "--max-chars", 2000]
    code, _, _ = charlm("train", *tiny, "--epochs", 1, "--set", "sample_length=1", "--run", "text")
    assert code == 0
    code, out, err = charlm("tag", *command.split(), "--run", "text")
    assert (code, out) == (1, "")
    assert error_lines(err)[0] == "error: text is a run of charlm train, not of charlm tag train"
    code, out, err = charlm("tag", *command.split())
    assert (code, out) == (1, "")
    assert error_lines(err)[-1] == "hint: train one: charlm tag train"


def test_a_damaged_run_is_one_line(folder, charlm, data):
    words = ("tag", "train", "--data", data, *TINY, "--epochs", 1, "--quiet", "--run", "mine")
    assert charlm(*words)[0] == 0
    path = Path("mine/vocabulary.json")
    whole = path.read_bytes()
    for content in (b"", whole[:-20], whole.replace(b"O", b"o"), whole.replace(b"boston", b"x")):
        path.write_bytes(content)
        for command in ("predict x", "eval", "train --resume"):
            code, out, err = charlm("tag", *command.split(), "--run", "mine")
            assert (code, out) == (1, "")
            assert error_lines(err)[0].startswith("error: mine/vocabulary.json is damaged: ")
    path.unlink()
    code, _, err = charlm("tag", "eval", "--run", "mine")
    assert code == 1
    assert error_lines(err)[0].startswith("error: cannot read mine/vocabulary.json: ")


# Signals, in processes of their own

POSIX = pytest.mark.skipif(os.name == "nt", reason="signals as POSIX has them")


@pytest.fixture
def heeded():
    """Children inherit it where what runs in the background was told to ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@POSIX
@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_training_saves_and_says_so(folder, charlm, data, number, code):
    words = ["tag", "train", "--data", str(data), *TINY, "--minutes", "5", "--run", "run", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "charlm", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for _ in range(600):
        if list(Path("run").glob("checkpoint-*/manifest.json")):
            break
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.1)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "Traceback" not in err
    result = json.loads(out)
    assert result["interrupted"]
    assert result["test_f1"] is None
    assert result["words_seen"] > 0
    assert charlm("tag", "predict", "to boston", "--run", "run")[0] == 0
    going_on = ("tag", "train", "--resume", "--run", "run", "--json")
    epochs = int(result["epochs"]) + 2
    code, out, err = charlm(*going_on, "--epochs", epochs)
    assert code == 0
    assert "going on after" in err
    assert json.loads(out)["epochs"] == epochs


# The signal comes when the test split, of three sentences, is about to be scored.
SCORING = """
import os, signal, sys
from charlm.cli import main
from charlm.evaluation import tagging

def predict_tags(model, sentences, tags, *, predict=tagging.predict_tags, **options):
    if len(sentences) == 3:
        os.kill(os.getpid(), signal.SIGINT)
    return predict(model, sentences, tags, **options)

tagging.predict_tags = predict_tags
main()
"""


@POSIX
@pytest.mark.usefixtures("heeded")
def test_a_signal_while_the_test_split_is_scored(charlm, data):
    """What was trained is there; going on has nothing left to do but to score."""
    words = ["tag", "train", "--data", str(data), *TINY, "--epochs", "2", "--run", "run"]
    done = subprocess.run(
        [sys.executable, "-c", SCORING, *words, "--json"], capture_output=True, text=True
    )
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    result = json.loads(done.stdout)
    assert (result["epochs"], result["test_f1"], result["interrupted"]) == (2, None, False)
    assert charlm("tag", "eval", "--run", "run")[0] == 0
    code, out, err = charlm("tag", "train", "--resume", "--run", "run", "--json")
    assert code == 0
    assert "nothing left to do" in err
    assert json.loads(out)["test_f1"] is not None
    scoring = [sys.executable, "-c", SCORING, "tag", "eval", "--run", "run", "--json"]
    done = subprocess.run(scoring, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (130, ""), done.stderr
    assert "Traceback" not in done.stderr


# The real thing


@pytest.mark.parametrize(
    "cell",
    [
        "lstm",
        pytest.param("rnn", marks=pytest.mark.slow),
        pytest.param("gru", marks=pytest.mark.slow),
    ],
)
def test_an_epoch_of_atis(charlm, corpora, cell):
    if not (corpora / "atis").is_dir():
        pytest.skip(f"needs atis in $CHARLM_CORPORA, {corpora}")
    words = ("--corpora-dir", corpora, "--device", "cpu", "--json")
    train = ("--epochs", 1, "--hidden-size", 64, "--lr", 0.005, "--cell", cell, "--run", "run")
    code, out, err = charlm("tag", "train", *words, *train)
    assert code == 0
    result = json.loads(out)
    assert result["valid_f1"] > 70
    assert result["test_f1"] > 60
    assert "tags only in the test split, which a model cannot learn: " in err
    code, out, _ = charlm("tag", "eval", "--run", "run", *words)
    assert code == 0
    scored = json.loads(out)
    assert scored["test_f1"] == result["test_f1"]
    assert scored["sentences"] == 893
    assert scored["slots"]["toloc.city_name"]["spans"] == 716
    plan = json.loads(charlm("tag", "train", *words, "--dry-run")[1])
    assert plan["split"] == {"train": 4478, "valid": 500, "test": 893}
