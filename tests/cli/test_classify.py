"""The commands of a classifier: kinds of labelled texts, ``--from-run``, labels of texts."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
import tarfile
from pathlib import Path

import pytest
import torch

from charlm.cli import run
from charlm.runs import Run

SMALL = shlex.split("--hidden-size 4 --set buckets=50 --device cpu --batch-size 8")
TRAIN = ("classify", "train", "--data", "texts.jsonl", *SMALL)
LANGUAGE = shlex.split(
    "train --corpus traveller --max-chars 2000 --hidden-size 6 --batch-size 8 --seq-len 20 --set "
    "sample_length=3 --device cpu --epochs 1 --quiet"
)


def rows(splits=(("train", 30), ("valid", 10), ("test", 10))):
    return [
        {"split": split, "label": label, "text": f"the film was {label} {'indeed ' * (n % 4)}"}
        for split, size in splits
        for n in range(size // 2)
        for label in ("bad", "good")
    ]


def write_lines(path: str, content) -> None:
    lines = (json.dumps(row) + "\n" for row in content)
    Path(path).write_text("".join(lines), "utf-8")


@pytest.fixture(autouse=True)
def _texts(folder):
    write_lines("texts.jsonl", rows())


@pytest.fixture(scope="module")
def _trained(tmp_path_factory):
    """A classifier and a language model."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_lines("texts.jsonl", rows())
        options = ("--epochs", "10", "--lr", "0.05", "--run", "./classifier", "--quiet")
        assert run([*TRAIN, *options]) == 0
        assert run([*LANGUAGE, "--run", "./language"]) == 0
    return folder


@pytest.fixture
def trained(folder, _trained):
    """The working folder with copies of ``classifier`` and ``language``."""
    for name in ("classifier", "language"):
        shutil.copytree(_trained / name, folder / name)
    return folder


PREDICT = ("classify", "predict", "--run", "classifier")


def test_texts_without_splits_are_split(charlm):
    content = [
        {"text": f"{row['text']} {n}", "label": row["label"]} for n, row in enumerate(rows())
    ]
    write_lines("all.jsonl", content)
    words = ("classify", "train", "--data", "all.jsonl", "--set", "valid=0.2")
    found = charlm(*words, "--dry-run", "--json")
    assert found.json["split"] == {"train": 36, "valid": 8, "test": 6}
    assert "6 texts" in found.err


def imdb(folder: Path) -> None:
    for row in rows((("train", 20), ("test", 6))):
        place = folder / row["split"] / {"good": "pos", "bad": "neg"}[row["label"]]
        place.mkdir(parents=True, exist_ok=True)
        number = len(list(place.iterdir()))
        (place / f"{number}_7.txt").write_text(f"{row['text']}<br /><br />{number}", "utf-8")


def sources() -> dict[str, tuple[str, ...]]:
    """Writes each kind of labelled texts, and gives the options that read it."""
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
    words = ("classify", "train", "--data", *sources()[kind], *SMALL)
    result = charlm(*words, "--epochs", 2, "--json", "--run", "./r").json
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")  # the run has absolute paths
    found = charlm("classify", "eval", "--run", "../r", "--json").json
    assert found["test_accuracy"] == result["test_accuracy"] is not None
    labels = {"folder": ["neg", "pos"], "archive": ["neg", "pos"], "columns": ["1", "5"]}
    assert [*found["labels"]] == labels.get(kind, ["bad", "good"])


def test_the_help_lists_the_presets_and_each_is_one(charlm):
    names = re.findall(r"imdb-[\w-]+", "".join(charlm("classify", "train", "--help").out.split()))
    assert {"imdb-best", "imdb-bilstm", "imdb-simple-rnn", "imdb-simple-rnn-all"} == {*names}
    for name in names:
        plan = charlm(*TRAIN, "--preset", name, "--dry-run", "--json").json
        assert plan["config"]["corpus"]["source"].endswith("texts.jsonl")


def test_dry_run_names_the_labels(charlm):
    options = ("--preset", "imdb-bilstm", "--tokens", "characters", "--length", 30)
    plan = charlm(*TRAIN, *options, "--features", "all", "--one-way", "--dry-run", "--json").json
    assert plan["labels"] == ["bad", "good"]
    assert plan["split"] == {"train": 30, "valid": 10, "test": 10}
    model = plan["config"]["model"]
    assert plan["config"]["corpus"]["tokens"] == "characters"
    assert (model["features"], model["bidirectional"], model["dense_size"]) == ("all", False, 64)
    assert plan["parameters"] > 30 * 4 * 64


def test_class_weights_are_stated(folder, charlm):
    options = ("--class-weights", "good=2", "--epochs", 1, "--run", "r")
    found = charlm(*TRAIN, *options)
    assert "weights in the training loss, not in the scores: 'bad' 1, 'good' 2" in found.err
    assert charlm(*TRAIN, "--class-weights", "balanced", "--dry-run", "--json").code == 0
    refused = charlm(*TRAIN, "--class-weights", "god=2", "--run", "s")
    assert (refused.code, refused.hint) == (2, "did you mean good?")
    assert not Path("s").exists()


def test_a_csv_without_a_header(folder, charlm):
    Path("a.csv").write_text("".join(f"{row['label']},{row['text']}\n" for row in rows()))
    words = ("classify", "train", "--data", "a.csv", *SMALL, "--dry-run")
    found = charlm(*words, "--json")
    assert found.json["labels"] == ["bad", "good"]
    assert "its first row was taken for a text (if not: --header yes)" in found.err
    refused = charlm(*words, "--header", "yes")
    assert refused.error.startswith("no column of texts in a.csv")
    assert charlm(*words, "--header", "maybe").code == 2


@pytest.mark.parametrize(
    ("options", "length"),
    [((), 400), (("--tokens", "characters"), 1500), (("--tokens", "characters", "--length", 9), 9)],
)
def test_the_length_suits_the_tokens(charlm, options, length):
    plan = charlm(*TRAIN, *options, "--dry-run", "--json").json
    assert plan["config"]["corpus"]["length"] == length


def test_predict_one_text_several_texts_and_lines(trained, charlm):
    code, out, _ = charlm(*PREDICT, "The film was GOOD!")
    assert code == 0
    assert re.fullmatch(r"good  \d+\.\d%\n", out)
    texts = ["the film was bad", "good\r\n\tindeed"]
    code, out, _ = charlm(*PREDICT, *texts)
    assert code == 0
    assert re.fullmatch(r"bad  \d+\.\d%  the film was bad\ngood  \d+\.\d%  good indeed\n", out)
    lines = "the film was bad\ngood indeed\n"
    assert charlm(*PREDICT, "-", stdin=lines.encode()) == (0, out, "")


def test_predict_json(trained, charlm):
    texts = ["good", "坏 film", "a\nbad\ttext", "?"]
    found = charlm(*PREDICT, "--json", *texts)
    assert (found.json["run"], found.json["task"]) == ("classifier", "classify")
    for text, row in zip(texts, found.json["predictions"], strict=True):
        assert row["text"] == text
        assert row["labels"].keys() == {"bad", "good"}
        assert sum(row["labels"].values()) == pytest.approx(1)
        assert row["label"] == max(row["labels"], key=row["labels"].get)
    assert found.err == "warning: no word of '?' is in the vocabulary: the label is a guess\n"


def test_predict_has_a_row_for_each_line(trained, charlm):
    stdin = b"the film was bad\n\n \t\ngood\n\n"
    rows = charlm(*PREDICT, "--json", "-", stdin=stdin).json["predictions"]
    assert [row["text"] for row in rows] == ["the film was bad", "", " \t", "good", ""]
    assert [row["label"] for row in rows] == ["bad", None, None, "good", None]
    assert rows[1]["labels"] == {}
    code, out, err = charlm(*PREDICT, "-", stdin=stdin)
    assert (code, err) == (0, "")
    assert [line[:4].strip() for line in out.split("\n")] == ["bad", "", "", "good", "", ""]
    for nothing in (("", " "), ("-",)):
        refused = charlm(*PREDICT, *nothing, stdin=b"\n \n")
        assert (refused.code, refused.error) == (2, "there is no text to label")


@pytest.mark.parametrize("text", ["?", "xyzzy plugh", "好片", "\0", "🎬" * 100])
def test_the_label_of_unknown_words_is_a_guess(trained, charlm, text):
    code, out, err = charlm(*PREDICT, text)
    assert code == 0
    assert re.fullmatch(r"(bad|good)  \d+\.\d%\n", out)
    assert err.startswith("warning: no word of ")
    assert err.rstrip("\n").isprintable()


def test_a_text_is_the_same_alone_and_among_others(trained, charlm):
    texts = ["good", "the film was bad indeed " * 300, "a", "film good bad " * 20]
    together = charlm(*PREDICT, "--json", *texts).json["predictions"]
    for text, row in zip(texts, together, strict=True):
        alone = charlm(*PREDICT, "--json", text).json["predictions"][0]["labels"]
        assert alone == pytest.approx(row["labels"], abs=1e-4)


def test_a_huge_text_takes_no_time(trained, charlm):
    huge = b"the film was bad indeed " * 100_000 + b"\n" + b"x" * 2_000_000 + b"\ngood\n"
    code, out, _ = charlm(*PREDICT, "-", stdin=huge)
    assert code == 0
    assert len(out.splitlines()) == 3
    assert max(map(len, out.splitlines())) < 80


@pytest.mark.parametrize(
    ("stdin", "message"), [(b"", "empty"), (b"a good film\xff\n", "not UTF-8"), (b"a\0b\n", "NUL")]
)
def test_standard_input_that_is_not_text(trained, charlm, stdin, message):
    refused = charlm(*PREDICT, "-", stdin=stdin)
    assert refused.code == 1
    assert message in refused.error
    assert refused.hint == "write lines of text to it, in UTF-8"


def test_eval_of_every_split(trained, charlm):
    for split, texts in (("train", 30), ("valid", 10), ("test", 10)):
        words = ("classify", "eval", "--run", "classifier", "--split", split)
        result = charlm(*words, "--json").json
        assert (result["run"], result["task"], result["split"]) == ("classifier", "classify", split)
        assert (result["texts"], result[f"{split}_accuracy"]) == (texts, 100)
        assert result["majority_accuracy"] == 50
        assert 0 < result[f"{split}_loss"] < 0.69
        half = texts // 2
        assert result["confusion"] == {
            "bad": {"bad": half, "good": 0}, "good": {"bad": 0, "good": half},
        }  # fmt: skip
        assert result["labels"]["good"] == {"precision": 100, "recall": 100, "f1": 100}
    out = charlm(*words).out
    assert out.startswith(
        "test accuracy 100.00% of 10 texts (always the most frequent label: 50.00%)\ntest loss 0."
    )
    assert re.search(r"^good +0 +5$", out, re.MULTILINE)
    assert re.search(r"^bad +100\.00% +100\.00% +100\.00%$", out, re.MULTILINE)


# --from-run

FROM_RUN = (*TRAIN[:4], "--batch-size", 8, "--device", "cpu", "--from-run")
LANGUAGE_MODELS = {
    "one-hot": "--set embedding=one-hot",
    "learned": "--set embedding=learned --set embedding_size=3",
    "tied": "--set embedding=tied",
    "two layers": "--num-layers 2 --set weight_dropout=0.3",
    "scratch": "--backend scratch --cell gru-reset-before --cleaning letters",
    "jordan": "--backend scratch --cell jordan --set weight_dropout=0.3",
}


@pytest.mark.parametrize("options", LANGUAGE_MODELS.values(), ids=LANGUAGE_MODELS)
def test_from_a_language_model_of_any_kind(charlm, options):
    assert charlm(*LANGUAGE, *options.split(), "--run", "lm").code == 0
    source = Run.open("lm")
    for frozen in (True, False):
        words = (*FROM_RUN, "lm", *["--frozen"] * frozen, "--epochs", 2, "--lr", 0.02)
        result = charlm(*words, "--json", "--run", f"frozen-{frozen}").json
        opened = Run.open(Path(result["run"]))
        assert opened.config.corpus.cleaning == source.corpus["cleaning"]
        assert opened.vocabulary.tokens == source.vocabulary
        parameters = 13 if frozen else opened.new_model().num_parameters()
        assert result["parameters"] == parameters
        evaluated = charlm("classify", "eval", "--run", result["run"], "--json").json
        assert evaluated["parameters"] == parameters
        lm, model = source.load_model(), opened.load_model("last")
        ids = torch.from_numpy(source.vocabulary.encode("the time traveller")).unsqueeze(1)
        wanted, _ = lm.stack(*lm.vectors(ids, lm.initial_state(1))[:2])
        found, _ = model.stack(model.embed(ids), model.initial_state(1))
        assert torch.equal(found, wanted) == frozen


def test_the_settings_of_the_language_model_may_be_repeated(trained, charlm):
    options = "--cell lstm --hidden-size 6 --one-way --tokens characters --set ngrams=1"
    plan = charlm(*FROM_RUN, "language", *options.split(), "--dry-run", "--json").json
    assert plan["config"]["model"]["ngrams"] == 1


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--hidden-size 7", "model.hidden_size is 6 in LANGUAGE, not 7"),
        ("--bidirectional", "model.bidirectional is False in LANGUAGE, not True"),
        ("--tokens words", "corpus.tokens is characters in LANGUAGE, not words"),
        ("--cell gru", "model.cell is lstm in LANGUAGE, not gru"),
        ("--num-layers 2", "model.num_layers is 1 in LANGUAGE, not 2"),
        ("--set ngrams=2", "model.ngrams is 1 in LANGUAGE, not 2"),
        ("--set cleaning=letters", "corpus.cleaning is none in LANGUAGE, not letters"),
    ],
)
def test_other_settings_than_those_of_the_language_model_are_refused(
    trained, charlm, option, message
):
    refused = charlm(*FROM_RUN, "language", *option.split(), "--dry-run")
    assert refused.code == 2
    assert refused.error.replace(str(trained / "language"), "LANGUAGE") == message


def test_a_classifier_resumes_without_its_language_model(trained, charlm):
    words = (*FROM_RUN, "./language", "--frozen", "--run", "r", "--epochs")
    assert charlm(*words, 1).code == 0
    shutil.rmtree("language")
    assert charlm(*words, 2, "--resume", "--json").json["epochs"] == 2


def delete(*paths):
    for path in paths:
        shutil.rmtree(path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: delete("language"), "language is not a run folder: "),
        (lambda: delete(*Path("language").glob("checkpoint-*")), "has no checkpoint yet"),
        (lambda: (delete("language"), Path("classifier").rename("language")),
         "language is a run of charlm classify train"),
        (lambda: Path("language/run.json").write_text("{"), "run.json is damaged"),
        (lambda: [p.write_bytes(b"") for p in Path("language").glob("*/best.safetensors")],
         "is damaged"),
    ],
    ids=["missing", "untrained", "classifier", "damaged", "no weights"],
)  # fmt: skip
def test_a_run_that_is_not_a_trained_language_model(trained, charlm, make, message):
    make()
    before = sorted(trained.rglob("*"))
    refused = charlm(*FROM_RUN, "language")
    assert refused.code == 1
    assert message in refused.error
    assert sorted(trained.rglob("*")) == before


# Bad input


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ("--data ./nowhere", 1, "no such file or folder: nowhere"),
        ("--data nothing", 1, "no corpus, file or folder is called 'nothing'"),
        ("--data timemachine", 2, "timemachine is a corpus for the task language-model"),
        ("--data one.jsonl", 1, "only one label in the train split of one.jsonl: 'good'"),
        ("--data texts.jsonl --text-column words", 1, "no column 'words'"),
        ("--data texts.jsonl --encoding utf-9", 2, "unknown encoding 'utf-9'"),
        ("--preset imdb", 2, "unknown preset: 'imdb'"),
        ("--features first", 2, "model.features is 'first'"),
        ("--frozen", 2, "model.freeze (--frozen) is true, but there are no trained layers"),
        ("--set seq_len=3", 2, "unknown key: 'seq_len'"),
        ("--run ./texts.jsonl", 2, "texts.jsonl exists already"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(folder, charlm, options, code, message):
    write_lines("one.jsonl", [row for row in rows() if row["label"] == "good"])
    before = sorted(folder.rglob("*"))
    data = () if "--data" in options else ("--data", "texts.jsonl")
    refused = charlm("classify", "train", *data, *options.split())
    assert refused.code == code
    assert message in refused.error
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("tokens", ["words", "characters"])
def test_texts_of_one_character_and_null_bytes_in_json(charlm, tokens):
    texts = [("a", "x"), ("b", "y"), ("a", "."), ("b", "\0")] * 5
    write_lines("short.jsonl", [{"text": text, "label": label} for label, text in texts])
    words = ("classify", "train", "--data", "short.jsonl", *SMALL, "--epochs", 1)
    result = charlm(*words, "--json", "--tokens", tokens, "--features", "all").json
    assert result["texts_seen"] > 0


def test_chinese_by_character(charlm):
    words = (("好", "正"), ("坏", "负"))
    content = [
        {"text": f"这部电影很{word}" * (n + 1), "label": label}
        for n in range(10)
        for word, label in words
    ]
    write_lines("chinese.jsonl", content)
    options = shlex.split("--epochs 30 --tokens characters --lr 0.05 --run r --set test=0.2")
    train = ("classify", "train", "--data", "chinese.jsonl", *SMALL, *options)
    assert charlm(*train, "--json").json["test_accuracy"] == 100
    assert charlm("classify", "predict", "--run", "r", "很坏").out.startswith("负")
