"""``charlm classify`` as a user types it, in one process."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import signal
import sys
import tarfile
from pathlib import Path

import pytest
import torch

from charlm.cli import run
from charlm.runs import ClassifierRun, Run
from charlm.training.trainer import Trainer

SMALL = (
    "--hidden-size", 4, "--set", "buckets=50", "--device", "cpu", "--batch-size", 8,
    "--set", "patience=none",
)  # fmt: skip
TRAIN = ("classify", "train", "--data", "texts.jsonl", *SMALL)
LANGUAGE = (
    "train", "--corpus", "traveller", "--max-chars", 2000, "--hidden-size", 6, "--batch-size", 8,
    "--seq-len", 20, "--set", "sample_length=3", "--device", "cpu", "--epochs", 1, "--quiet",
)  # fmt: skip


def rows(splits=(("train", 30), ("valid", 10), ("test", 10))):
    return [
        {"split": split, "label": label, "text": f"the film was {label} {'indeed ' * (n % 4)}"}
        for split, size in splits
        for n in range(size // 2)
        for label in ("bad", "good")
    ]


def write_lines(path: str, content=None) -> None:
    lines = (json.dumps(row) + "\n" for row in (rows() if content is None else content))
    Path(path).write_text("".join(lines), "utf-8")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a file of texts, and no corpora but those that come along."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("CHARLM_CORPORA", str(tmp_path / "corpora"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_lines("texts.jsonl")
    return tmp_path / "work"


@pytest.fixture
def charlm(capsys, monkeypatch):
    """Runs a command and gives its exit code, stdout and stderr."""

    def command(*arguments, stdin: bytes = b""):
        capsys.readouterr()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = run([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return command


@pytest.fixture(scope="module")
def _trained(tmp_path_factory):
    """A classifier and a language model, trained once."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_lines("texts.jsonl")
        options = ("--epochs", 10, "--lr", 0.05, "--run", "classifier", "--quiet")
        assert run([*map(str, (*TRAIN, *options))]) == 0
        assert run([*map(str, (*LANGUAGE, "--run", "language"))]) == 0
    return folder


@pytest.fixture
def trained(folder, _trained):
    """The folder with ``classifier``, of the file of texts, and ``language``."""
    for name in ("classifier", "language"):
        shutil.copytree(_trained / name, folder / name)
    return folder


def error_of(outcome) -> tuple[int, str]:
    """Exit code and error of a command that gave one line of error and at most one of hint."""
    code, out, err = outcome
    assert out == ""
    lines = [line for line in err.splitlines() if line.startswith(("error:", "hint:", "Trace"))]
    assert [line.partition(":")[0] for line in lines] in (["error"], ["error", "hint"])
    assert all(line.isprintable() and len(line) < 400 for line in lines)
    return code, lines[0].removeprefix("error: ")


# train


def test_train_json_has_the_contracts_keys(folder, charlm):
    code, out, err = charlm(*TRAIN, "--epochs", 3, "--json", "--run", "r", "--seed", 5)
    assert code == 0
    result = json.loads(out)
    assert result.keys() >= {
        "run", "task", "corpus", "cell", "backend", "parameters", "device", "seed", "epochs",
        "texts_seen", "seconds", "texts_per_second", "train_loss", "valid_accuracy",
        "test_accuracy", "interrupted",
    }  # fmt: skip
    assert (result["run"], result["task"], result["corpus"]) == ("r", "classify", "texts")
    assert (result["epochs"], result["texts_seen"], result["seed"]) == (3, 90, 5)
    assert 0 <= result["valid_accuracy"] <= 100
    assert 0 <= result["test_accuracy"] <= 100
    assert result["parameters"] == parameters_of("r")
    assert re.search(r"epoch 3: loss 0\.\d+, valid accuracy \d+\.\d\d%", err)
    assert json.loads(Path("r/summary.json").read_text()) == result
    assert result["test_accuracy"] == eval_json(charlm, "r")["test_accuracy"]


def parameters_of(folder) -> int:
    return ClassifierRun.open(Path(folder)).new_model().num_parameters()


def eval_json(charlm, folder, *options):
    code, out, _ = charlm("classify", "eval", "--run", folder, "--json", *options)
    assert code == 0
    return json.loads(out)


def test_train_says_what_to_type_next_and_that_works(folder, charlm):
    code, out, _ = charlm(*TRAIN, "--epochs", 1, "--quiet")
    assert code == 0
    assert re.search(r"test accuracy \d+\.\d\d%\nrun checkpoints", out)
    assert out.splitlines()[-1] == 'next: charlm classify predict "a text of yours"'
    code, out, err = charlm("classify", "predict", "the film was good")
    assert code == 0
    assert re.fullmatch(r"(bad|good)  \d+\.\d%\n", out)
    assert err.startswith("run: checkpoints")


def test_without_validation_and_test_texts_their_figures_are_null(folder, charlm):
    write_lines("all.jsonl", [{**row, "split": "train"} for row in rows()])
    code, out, _ = charlm(
        "classify", "train", "--data", "all.jsonl", *SMALL, "--epochs", 1, "--set", "valid=0",
        "--set", "test=0", "--json", "--run", "r",
    )  # fmt: skip
    assert code == 0
    result = json.loads(out)
    assert result["valid_accuracy"] is result["test_accuracy"] is None
    found = eval_json(charlm, "r")
    assert found["split"] == "train"
    assert found["texts"] == 50


def test_held_out_where_the_texts_have_no_splits(folder, charlm):
    write_lines("all.jsonl", [{"text": f"{r['text']} {n}", "label": r["label"]}
                              for n, r in enumerate(rows())])  # fmt: skip
    code, out, err = charlm("classify", "train", "--data", "all.jsonl", *SMALL, "--dry-run",
                            "--set", "valid=0.2", "--json")  # fmt: skip
    assert code == 0
    assert json.loads(out)["split"] == {"train": 36, "valid": 8, "test": 6}
    assert "held out 6 texts for test" in err


def imdb(folder: Path) -> None:
    for row in rows((("train", 20), ("test", 6))):
        place = folder / row["split"] / {"good": "pos", "bad": "neg"}[row["label"]]
        place.mkdir(parents=True, exist_ok=True)
        number = len(list(place.iterdir()))
        (place / f"{number}_7.txt").write_text(f"{row['text']}<br /><br />{number}", "utf-8")


def sources() -> dict[str, tuple[str, ...]]:
    """Makes one of each kind; gives the options that read it."""
    imdb(Path("aclImdb"))
    with tarfile.open("reviews.tar.gz", "w:gz") as archive:
        archive.add("aclImdb")
    content = rows()
    for name, comma in (("a.csv", ","), ("b.tsv", "\t")):
        with open(name, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter=comma)
            writer.writerow(("sentiment", "review"))
            writer.writerows((row["label"], f"{row['text']}, {n}") for n, row in enumerate(content))
    write_lines("c.ndjson", [{"stars": 1 if r["label"] == "bad" else 5, "words": r["text"]}
                             for r in content])  # fmt: skip
    Path("latin.csv").write_bytes(Path("a.csv").read_bytes().replace(b"film", b"caf\xe9"))
    return {
        "folder": ("aclImdb",), "archive": ("reviews.tar.gz",), "csv": ("a.csv",),
        "tsv": ("b.tsv",), "lines": ("texts.jsonl",),
        "columns": ("c.ndjson", "--text-column", "words", "--label-column", "stars"),
        "latin": ("latin.csv", "--encoding", "cp1252"),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["folder", "archive", "csv", "tsv", "lines", "columns", "latin"])
def test_every_kind_of_source(folder, charlm, kind, monkeypatch):
    options = sources()[kind]
    code, out, err = charlm("classify", "train", "--data", *options, *SMALL, "--epochs", 2,
                            "--json", "--run", "r")  # fmt: skip
    assert code == 0, err
    result = json.loads(out)
    assert result["test_accuracy"] is not None
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")  # it is found again
    found = eval_json(charlm, "../r")
    assert found["test_accuracy"] == result["test_accuracy"]
    labels = {"folder": ["neg", "pos"], "archive": ["neg", "pos"], "columns": ["1", "5"]}
    assert [*found["labels"]] == labels.get(kind, ["bad", "good"])


def test_dry_run_writes_nothing_and_names_the_labels(folder, charlm):
    before = sorted(folder.iterdir())
    code, out, _ = charlm(
        *TRAIN, "--dry-run", "--json", "--preset", "imdb-bilstm", "--tokens", "characters",
        "--length", 30, "--features", "all", "--one-way",
    )  # fmt: skip
    assert code == 0
    plan = json.loads(out)
    assert (plan["task"], plan["labels"]) == ("classify", ["bad", "good"])
    assert plan["split"] == {"train": 30, "valid": 10, "test": 10}
    config = plan["config"]
    assert config["corpus"]["tokens"] == "characters"
    assert config["model"]["features"] == "all"
    assert (config["model"]["bidirectional"], config["model"]["dense_size"]) == (False, 64)
    assert plan["parameters"] > 30 * 4 * 64
    assert sorted(folder.iterdir()) == before
    code, out, _ = charlm(*TRAIN, "--dry-run")
    assert code == 0
    assert "texts: texts with 2 labels (train 30, valid 10, test 10), vocabulary" in out
    assert re.search(r"^model: [\d,]+ parameters, on cpu$", out, re.MULTILINE)


def test_the_help_lists_the_presets_and_each_is_one(folder, charlm):
    code, out, _ = charlm("classify", "train", "--help")
    assert code == 0
    names = re.findall(r"imdb-[\w-]+", "".join(out.split()))
    assert {"imdb-best", "imdb-bilstm", "imdb-simple-rnn", "imdb-simple-rnn-all"} <= {*names}
    for name in names:
        code, out, err = charlm("classify", "train", "--data", "texts.jsonl", "--preset", name,
                                "--dry-run", "--json")  # fmt: skip
        assert code == 0, err
        assert json.loads(out)["config"]["corpus"]["source"].endswith("texts.jsonl")


# Going on


def test_interrupted_it_goes_on_to_the_same_end(folder, charlm, monkeypatch):
    undisturbed = charlm(*TRAIN, "--epochs", 4, "--json", "--run", "undisturbed")
    update, steps = Trainer.update, iter(range(100))

    def interrupted(self):
        if next(steps) == 6:
            signal.raise_signal(signal.SIGINT)
        return update(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "update", interrupted)
        code, out, _ = charlm(*TRAIN, "--epochs", 4, "--json", "--run", "r")
    assert code == 130
    result = json.loads(out)
    assert result["interrupted"]
    assert result["test_accuracy"] is None
    assert 1 < result["epochs"] < 3
    code, out, err = charlm(*TRAIN, "--epochs", 4, "--json", "--run", "r", "--resume")
    assert code == 0, err
    assert "going on after 1.8" in err
    found, wanted = json.loads(out), json.loads(undisturbed[1])
    for name in ("train_loss", "valid_accuracy", "test_accuracy", "epochs", "texts_seen"):
        assert found[name] == wanted[name], name
    for name in ("last", "best"):
        ours, theirs = (
            ClassifierRun.open(Path(p)).read_weights(name) for p in ("r", "undisturbed")
        )
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_the_newest_run_is_gone_on_with(folder, charlm):
    assert charlm(*TRAIN, "--epochs", 1)[0] == 0
    assert charlm(*LANGUAGE)[0] == 0
    code, out, _ = charlm("classify", "train", "--resume", "--epochs", 2, "--json")
    assert code == 0
    assert json.loads(out)["epochs"] == 2
    code, _, err = charlm("classify", "train", "--resume")
    assert code == 0
    assert "nothing left to do; more --epochs or --minutes go on with it" in err


def test_what_was_no_better_for_too_long_goes_on_with_more_patience(folder, charlm):
    options = ("--lr", 1e-30, "--run", "r", "--epochs", 9, "--set", "patience=2")
    code, out, _ = charlm(*TRAIN, *options)
    assert code == 0
    assert "no better for a while: ended after 3 epochs" in out
    again = ("classify", "train", "--resume", "--run", "r")
    code, _, err = charlm(*again, "--epochs", 10)
    assert code == 0
    assert "nothing left to do; it was no better for too long; a larger --patience goes on" in err
    assert "no better for a while: ended after 5 epochs" in charlm(*again, "--patience", 4)[1]


def test_resumed_with_something_else_it_says_what(trained, charlm):
    resume = ("classify", "train", "--resume", "--run", "classifier")
    write_lines("other.jsonl", rows((("train", 20), ("valid", 10), ("test", 10))))
    assert error_of(charlm(*resume, "--data", "other.jsonl"))[0] == 1
    code, message = error_of(
        charlm(*resume, "--data", "texts.jsonl", "--length", 7, "--cell", "gru")
    )
    assert code == 2
    assert "corpus.length is 400 in the run, not 7; model.cell is lstm in the run" in message


def test_texts_may_lie_elsewhere_when_it_goes_on(folder, charlm):
    assert charlm(*TRAIN, "--epochs", 1, "--run", "r")[0] == 0
    Path("texts.jsonl").rename("moved.jsonl")
    assert "no such file" in error_of(charlm("classify", "eval", "--run", "r"))[1]
    code, _, err = charlm("classify", "train", "--resume", "--run", "r", "--epochs", 2,
                          "--data", "moved.jsonl")  # fmt: skip
    assert code == 0, err
    assert eval_json(charlm, "r")["texts"] == 10


# predict


def test_predict_one_several_and_lines(trained, charlm):
    code, out, _ = charlm("classify", "predict", "--run", "classifier", "The film was GOOD!")
    assert (code, out[:6]) == (0, "good  ")
    texts = ["the film was bad", "good indeed"]
    code, out, _ = charlm("classify", "predict", "--run", "classifier", *texts)
    assert code == 0
    assert re.fullmatch(
        r"bad  \d+\.\d%  the film was bad\ngood  \d+\.\d%  good indeed\n", out
    )  # fmt: skip
    lines = charlm("classify", "predict", "--run", "classifier", "-",
                   stdin="\n".join(texts).encode())  # fmt: skip
    assert lines == (0, out, "")


def test_predict_json(trained, charlm):
    texts = ["good", "坏 film", "a\nbad\ttext", ""]
    code, out, err = charlm("classify", "predict", "--run", "classifier", "--json", *texts)
    assert code == 0
    result = json.loads(out)
    assert (result["run"], result["task"]) == ("classifier", "classify")
    for text, row in zip(texts, result["predictions"], strict=True):
        assert row["text"] == text
        assert row["labels"].keys() == {"bad", "good"}
        assert sum(row["labels"].values()) == pytest.approx(1)
        assert row["label"] == max(row["labels"], key=row["labels"].get)
    assert err == "warning: nothing in '' is in the vocabulary: the label is a guess\n"


def test_each_text_has_one_line(trained, charlm):
    code, out, _ = charlm(
        "classify", "predict", "--run", "classifier", "bad\nfilm", "good\r\n\tone"
    )
    assert code == 0
    assert [line.split("%  ")[1] for line in out.splitlines()] == ["bad film", "good one"]


@pytest.mark.parametrize("text", ["", "?", "xyzzy plugh", "好片", "\0", "🎬" * 100])
def test_what_has_no_known_word_is_a_guess_and_says_so(trained, charlm, text):
    code, out, err = charlm("classify", "predict", "--run", "classifier", text)
    assert code == 0
    assert re.fullmatch(r"(bad|good)  \d+\.\d%\n", out)
    (line,) = err.splitlines()
    assert line.startswith("warning: nothing in ")
    assert line.isprintable()


def test_a_text_is_the_same_alone_and_among_others(trained, charlm):
    texts = ["good", "the film was bad indeed " * 300, "a", "film good bad " * 20]
    _, out, _ = charlm("classify", "predict", "--run", "classifier", "--json", *texts)
    for text, row in zip(texts, json.loads(out)["predictions"], strict=True):
        _, alone, _ = charlm("classify", "predict", "--run", "classifier", "--json", text)
        found = json.loads(alone)["predictions"][0]["labels"]
        assert found == pytest.approx(row["labels"], abs=1e-6)


def test_a_huge_text_takes_no_time(trained, charlm):
    huge = b"the film was bad indeed " * 100_000 + b"\n" + b"x" * 2_000_000 + b"\ngood\n"
    code, out, _ = charlm("classify", "predict", "--run", "classifier", "-", stdin=huge)
    assert code == 0
    assert len(out.splitlines()) == 3
    assert max(map(len, out.splitlines())) < 80


@pytest.mark.parametrize(("stdin", "words"), [
    (b"", "empty"), (b"a good film\xff\n", "not UTF-8"), (b"a\0b\n", "NUL"),
], ids=["empty", "not UTF-8", "NUL"])  # fmt: skip
def test_standard_input_that_is_no_text(trained, charlm, stdin, words):
    code, message = error_of(charlm("classify", "predict", "--run", "classifier", "-", stdin=stdin))
    assert code == 1
    assert words in message


# eval


def test_eval_of_every_split(trained, charlm):
    for split, texts in (("train", 30), ("valid", 10), ("test", 10)):
        result = eval_json(charlm, "classifier", "--split", split)
        assert (result["run"], result["task"], result["split"]) == ("classifier", "classify", split)
        assert result["texts"] == texts
        assert result["parameters"] == parameters_of("classifier")
        assert result[f"{split}_accuracy"] == 100
        assert result["majority_accuracy"] == 50
        assert 0 < result[f"{split}_loss"] < 0.69
        half = texts // 2
        assert result["confusion"] == {
            "bad": {"bad": half, "good": 0}, "good": {"bad": 0, "good": half},
        }  # fmt: skip
        assert result["labels"]["good"] == {"precision": 100, "recall": 100, "f1": 100}
        assert result["seconds"] >= 0
    assert eval_json(charlm, "classifier")["split"] == "test"


def test_eval_for_a_person(trained, charlm):
    code, out, err = charlm("classify", "eval", "--run", "classifier")
    assert (code, err) == (0, "")
    assert out.startswith(
        "test accuracy 100.00% of 10 texts (always the most frequent label: 50.00%)\ntest loss 0."
    )
    assert re.search(r"^good +0 +5$", out, re.MULTILINE)
    assert re.search(r"^bad +100\.00% +100\.00% +100\.00%$", out, re.MULTILINE)


def test_eval_of_texts_that_lie_elsewhere_now(folder, charlm):
    assert charlm(*TRAIN, "--epochs", 1, "--run", "classifier")[0] == 0
    expected = charlm("classify", "eval", "--run", "classifier")
    assert expected[0] == 0
    Path("texts.jsonl").rename("moved.jsonl")
    assert error_of(charlm("classify", "eval", "--run", "classifier"))[0] == 1
    moved = charlm("classify", "eval", "--run", "classifier", "--data", "moved.jsonl")
    assert moved[:2] == expected[:2]
    write_lines("other.jsonl", rows((("train", 20), ("valid", 10), ("test", 10))))
    other = charlm("classify", "eval", "--run", "classifier", "--data", "other.jsonl")
    assert "is not the data that classifier was trained on" in error_of(other)[1]


@pytest.mark.parametrize(
    ("words", "length"),
    [((), 400), (("--tokens", "characters"), 1500), (("--tokens", "characters", "--length", 9), 9)],
)
def test_the_length_suits_the_tokens(folder, charlm, words, length):
    code, out, _ = charlm(*TRAIN, *words, "--dry-run", "--json")
    assert (code, json.loads(out)["config"]["corpus"]["length"]) == (0, length)


def test_eval_of_texts_that_have_changed(folder, charlm):
    assert charlm(*TRAIN, "--epochs", 1, "--run", "r")[0] == 0
    write_lines("texts.jsonl", rows()[1:])
    code, message = error_of(charlm("classify", "eval", "--run", "r"))
    assert code == 1
    assert "is not the data that r was trained on: sha256" in message
    assert "split 29/10/10, not 30/10/10" in message


# With other tasks beside it


def test_runs_of_all_tasks_are_listed_shown_and_compared(trained, charlm):
    Path("checkpoints").mkdir()
    for name in ("classifier", "language"):
        Path(name).rename(Path("checkpoints", name))
    code, out, err = charlm("runs", "list", "--json")
    assert (code, err) == (0, "")
    found = {row["task"]: row for row in json.loads(out)["runs"]}
    assert found.keys() == {"classify", "language-model"}
    assert found["classify"]["valid_accuracy"] == 100
    assert found["language-model"]["valid_perplexity"] > 1
    code, out, _ = charlm("runs", "list")
    assert "100.00%" in out
    code, out, _ = charlm("runs", "show", "classifier")
    assert code == 0
    assert "features = mean-max" in out
    assert "valid accuracy" in out
    code, out, err = charlm("runs", "compare", "classifier", "language", "--json")
    assert code == 0
    assert json.loads(out)["differing"]["model.features"] == ["mean-max", None]
    assert charlm("runs", "compare", "classifier", "language")[0] == 0


def test_each_command_takes_the_newest_run_of_its_own_task(folder, charlm):
    assert charlm(*LANGUAGE, "--run", "checkpoints/language")[0] == 0
    assert charlm(*TRAIN, "--epochs", 1, "--run", "checkpoints/classifier")[0] == 0
    code, _, err = charlm("generate", "--prefix", "the ", "--length", 5)
    assert code == 0
    assert err.startswith("run: checkpoints/language")
    assert charlm("eval")[2].startswith("run: checkpoints/language")
    assert charlm(*LANGUAGE, "--run", "checkpoints/newer")[0] == 0
    for command in ("predict", "eval"):
        text = ["good"] if command == "predict" else []
        code, _, err = charlm("classify", command, *text)
        assert code == 0
        assert err.startswith("run: checkpoints/classifier")


def test_a_run_of_another_task_is_refused_in_one_line(trained, charlm):
    for command in (("generate", "--prefix", "a"), ("eval",), ("train", "--resume")):
        assert error_of(charlm(*command, "--run", "classifier")) == (
            1, "classifier is a run of charlm classify train, not of charlm train"
        )  # fmt: skip
    for command in (("predict", "a"), ("eval",), ("train", "--resume")):
        assert error_of(charlm("classify", *command, "--run", "language")) == (
            1, "language is a run of charlm train, not of charlm classify train"
        )  # fmt: skip
    assert error_of(charlm("tag", "predict", "a", "--run", "classifier"))[0] == 1


# --from-run

LANGUAGE_MODELS = {
    "one-hot": ("--set", "embedding=one-hot"),
    "learned": ("--set", "embedding=learned", "--set", "embedding_size=3"),
    "tied": ("--set", "embedding=tied"),
    "two layers": ("--num-layers", 2, "--set", "weight_dropout=0.3"),
    "scratch": ("--backend", "scratch", "--cell", "gru-reset-before", "--cleaning", "letters"),
    "jordan": ("--backend", "scratch", "--cell", "jordan", "--set", "weight_dropout=0.3"),
}  # fmt: skip


@pytest.mark.parametrize("kind", LANGUAGE_MODELS)
def test_from_a_language_model_of_any_kind(folder, charlm, kind):
    assert charlm(*LANGUAGE, *LANGUAGE_MODELS[kind], "--run", "lm")[0] == 0
    begin = ("classify", "train", "--data", "texts.jsonl", "--from-run", "lm", "--epochs", 2,
             "--batch-size", 8, "--device", "cpu", "--json", "--lr", 0.02)  # fmt: skip
    source = Run.open(Path("lm"))
    for options in (("--frozen", "--run", "frozen"), ("--run", "tuned")):
        code, out, err = charlm(*begin, *options)
        assert code == 0, err
        result = json.loads(out)
        opened = ClassifierRun.open(Path(result["run"]))
        assert opened.config.corpus.cleaning == source.corpus["cleaning"]
        assert opened.vocabulary.tokens == source.vocabulary
        assert result["parameters"] == (13 if "--frozen" in options else parameters_of("tuned"))
        assert eval_json(charlm, result["run"])["parameters"] == result["parameters"]
        lm, model = source.load_model(), opened.load_model("last")
        ids = torch.from_numpy(source.vocabulary.encode("the time traveller")).unsqueeze(1)
        wanted, _ = lm.stack(lm.embed(ids), lm.initial_state(1))
        found, _ = model.stack(model.embed(ids), model.initial_state(1))
        assert torch.equal(found, wanted) == ("--frozen" in options)


def test_what_the_language_model_brings_may_be_said_and_nothing_else(trained, charlm):
    begin = ("classify", "train", "--data", "texts.jsonl", "--from-run", "language", "--device",
             "cpu", "--dry-run")  # fmt: skip
    same = (
        "--cell", "lstm", "--hidden-size", 6, "--one-way", "--tokens", "characters",
        "--set", "bidirectional=false", "--set", "num_layers=1", "--set", "ngrams=1",
    )  # fmt: skip
    code, out, err = charlm(*begin, *same)
    assert code == 0, err
    assert "ngrams = 1" in out
    for option, message in (
        (("--hidden-size", 7), "model.hidden_size is 6 in language, not 7"),
        (("--bidirectional",), "model.bidirectional is False in language, not True"),
        (("--tokens", "words"), "corpus.tokens is characters in language, not words"),
        (("--cell", "gru"), "model.cell is lstm in language, not gru"),
        (("--num-layers", 2), "model.num_layers is 1 in language, not 2"),
        (("--set", "ngrams=2"), "model.ngrams is 1 in language, not 2"),
        (("--set", "cleaning=letters"), "corpus.cleaning is none in language, not letters"),
    ):
        assert error_of(charlm(*begin, *option)) == (2, message)


def test_a_run_from_another_goes_on_by_the_same_command(trained, charlm):
    begin = ("classify", "train", "--data", "texts.jsonl", "--from-run", "language", "--frozen",
             "--run", "r", "--device", "cpu", "--epochs")  # fmt: skip
    assert charlm(*begin, 1)[0] == 0
    shutil.rmtree("language")
    code, out, err = charlm(*begin, 2, "--resume", "--json")
    assert code == 0, err
    assert json.loads(out)["epochs"] == 2


@pytest.mark.parametrize(("make", "message"), [
    (lambda: shutil.rmtree("language"), "language is not a run folder: it has no run.json"),
    (lambda: [shutil.rmtree(path) for path in Path("language").glob("checkpoint-*")],
     "has no checkpoint yet"),
    (lambda: (shutil.rmtree("language"), Path("classifier").rename("language")),
     "language is a run of charlm classify train"),
    (lambda: Path("language/run.json").write_text("{"), "run.json is damaged"),
    (lambda: [path.write_bytes(b"") for path in Path("language").glob("*/best.safetensors")],
     "is damaged"),
], ids=["missing", "untrained", "classifier", "damaged", "no weights"])  # fmt: skip
def test_what_is_no_trained_language_model(trained, charlm, make, message):
    make()
    before = sorted(trained.rglob("*"))
    outcome = charlm("classify", "train", "--data", "texts.jsonl", "--from-run", "language")
    code, found = error_of(outcome)
    assert code == 1
    assert message in found
    assert sorted(trained.rglob("*")) == before


# Bad input


@pytest.mark.parametrize(("options", "code", "message"), [
    (("--data", "./nowhere"), 1, "no such file or folder: nowhere"),
    (("--data", "nothing"), 1, "no corpus, file or folder is called 'nothing'"),
    (("--data", "timemachine"), 2, "timemachine is a corpus for the task"),
    (("--data", "no-label.csv"), 1, "no column of labels in no-label.csv"),
    (("--data", "one.jsonl"), 1, "only one label in the train split of one.jsonl: 'good'"),
    (("--data", "empty.jsonl"), 1, "empty.jsonl is empty"),
    (("--data", "blank.jsonl"), 1, "no text in blank.jsonl"),
    (("--data", "nul.csv"), 1, "nul.csv has a NUL byte"),
    (("--data", "empty"), 1, "no labelled text in empty"),
    (("--data", "notes.txt"), 1, "notes.txt does not have a known format of labelled texts"),
    (("--data", "broken.tar.gz"), 1, "broken.tar.gz"),
    (("--data", "texts.jsonl", "--text-column", "words"), 1, "no column 'words'"),
    (("--data", "texts.jsonl", "--encoding", "utf-9"), 2, "unknown encoding 'utf-9'"),
    (("--preset", "imdb"), 2, "unknown preset: 'imdb'"),
    (("--preset", "timemachine-gru"), 2, "timemachine-gru"),
    (("--features", "first"), 2, "model.features is 'first'"),
    (("--tokens", "bytes"), 2, "corpus.tokens is 'bytes'"),
    (("--length", 0), 2, "corpus.length is 0"),
    (("--frozen",), 2, "model.freeze (--frozen) is true, but there are no trained layers"),
    (("--cell", "jordan"), 2, "the cell jordan has no torch layer"),
    (("--set", "embedding=one-hot"), 2, "model.ngrams is 2, but one-hot tokens"),
    (("--set", "embedding=tied"), 2, "model.embedding is 'tied'"),
    (("--set", "seq_len=3"), 2, "unknown key: 'seq_len'"),
    (("--set", "vocabulary_size=2"), 2, "corpus.vocabulary_size is 2"),
    (("--epochs", "many"), 2, "training.epochs is 'many'; it must be a whole number"),
    (("--run", "texts.jsonl"), 2, "texts.jsonl exists already"),
    (("--device", "tpu"), 2, "no device 'tpu' here"),
], ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "")  # fmt: skip
def test_bad_input_is_one_line_and_leaves_nothing(folder, charlm, options, code, message):
    write_lines("one.jsonl", [row for row in rows() if row["label"] == "good"])
    write_lines("blank.jsonl", [{"text": "", "label": "good"}, {"text": "", "label": "bad"}])
    Path("empty.jsonl").touch()
    Path("no-label.csv").write_text("text,mood\na film,good\n")
    Path("nul.csv").write_bytes(b"text,label\na\0b,good\nc,bad\n")
    Path("empty").mkdir()
    Path("notes.txt").write_text("some notes")
    Path("broken.tar.gz").write_bytes(b"\x1f\x8b" + b"no archive" * 99)
    before = sorted(folder.rglob("*"))
    data = () if "--data" in options else ("--data", "texts.jsonl")
    found = error_of(charlm("classify", "train", *data, *options))
    assert found[0] == code
    assert message in found[1]
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(("arguments", "code", "message"), [
    (("predict",), 2, "missing argument"),
    (("predict", "a"), 1, "no trained run under"),
    (("eval",), 1, "no trained run under"),
    (("train", "--resume"), 1, "no run to go on with"),
    (("predict", "a", "--run", "nowhere"), 1, "nowhere is not a run folder"),
    (("eval", "--run", "classifier", "--split", "all"), 2, "unknown split 'all'"),
    (("predict", "a", "--run", "classifier", "--device", "tpu"), 2, "no device 'tpu' here"),
    (("learn",), 2, "no such command 'learn'"),
], ids=lambda value: " ".join(value) if isinstance(value, tuple) else "")  # fmt: skip
def test_other_commands_that_cannot_be(trained, charlm, arguments, code, message):
    found = error_of(charlm("classify", *arguments))
    assert found[0] == code
    assert message in found[1]


@pytest.mark.parametrize("name", ["vocabulary.json", "run.json"])
@pytest.mark.parametrize("command", [("predict", "a"), ("eval",), ("train", "--resume")])
def test_a_damaged_run_is_one_line(trained, charlm, name, command):
    path = Path("classifier", name)
    path.write_bytes(path.read_bytes()[:-9])
    code, message = error_of(charlm("classify", *command, "--run", "classifier"))
    assert code == 1
    assert "damaged" in message


def test_a_damaged_checkpoint_is_left_out_and_told(trained, charlm):
    newest = max(Path("classifier").glob("checkpoint-*"))
    (newest / "best.safetensors").write_bytes(b"")
    code, _, err = charlm("classify", "eval", "--run", "classifier")
    assert code == 0
    assert err.count("warning: ") == 1
    assert "going back to" in err


def test_texts_of_one_character_and_null_bytes_in_json(folder, charlm):
    content = [{"text": text, "label": label} for label, text in
               [("a", "x"), ("b", "y"), ("a", "."), ("b", "\0")] * 5]  # fmt: skip
    write_lines("short.jsonl", content)
    for tokens in ("words", "characters"):
        code, out, err = charlm("classify", "train", "--data", "short.jsonl", *SMALL, "--epochs", 1,
                                "--json", "--tokens", tokens, "--features", "all")  # fmt: skip
        assert code == 0, err
        assert json.loads(out)["texts_seen"] > 0


def test_chinese_by_character(folder, charlm):
    content = [{"text": f"这部电影很{word}" * (n + 1), "label": label} for n in range(10)
               for word, label in (("好", "正"), ("坏", "负"))]  # fmt: skip
    write_lines("chinese.jsonl", content)
    code, out, err = charlm(
        "classify", "train", "--data", "chinese.jsonl", *SMALL, "--epochs", 30, "--json",
        "--tokens", "characters", "--lr", 0.05, "--run", "r", "--set", "test=0.2",
    )  # fmt: skip
    assert code == 0, err
    assert json.loads(out)["test_accuracy"] == 100
    code, out, _ = charlm("classify", "predict", "--run", "r", "很坏")
    assert (code, out[0]) == (0, "负")
