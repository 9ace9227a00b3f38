"""Where the bits go: each character once in each grouping, and the same total as the score."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

import charlm as library
from charlm.cli import run as command
from charlm.tasks.language_model import scores
from charlm.tasks.language_model.by_kind import by_kind
from charlm.tasks.language_model.kinds import Grouping

SMALL = {"hidden_size": 16, "epochs": 2, "batch_size": 16, "progress": False}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("by-kind")


@pytest.fixture(scope="module")
def novel(folder):
    """A run on the bundled story."""
    return library.train("traveller", run=folder / "novel", **SMALL)


@pytest.fixture(scope="module")
def names(folder):
    """A run on lines."""
    lines = [f"{a}{b}" for a in ("An", "Bo", "Emm", "Lu") for b in ("a", "na", "ra", "ise")] * 5
    (folder / "names.txt").write_text("".join(f"{line}\n" for line in lines))
    return library.train(folder / "names.txt", lines=True, run=folder / "names", **SMALL)


@pytest.fixture
def evaluate(capsys):
    """Runs ``charlm eval --by-kind``."""

    def evaluate(run, *options):
        capsys.readouterr()
        code = command(["eval", "--by-kind", "--run", str(run.folder), *map(str, options)])
        out, err = capsys.readouterr()
        assert code == 0, err
        return out

    return evaluate


def check_sums(found: dict) -> dict:
    """Characters, bits and gains of each grouping add up to those of the score."""
    groupings = {name: rows for name, rows in found["by_kind"].items() if name != "conclusion"}
    ngram = found["baselines"]["ngram"]
    for rows in groupings.values():
        assert sum(row["characters"] for row in rows) == found["characters"]
        assert math.fsum(row["characters_share"] for row in rows) == pytest.approx(1, abs=1e-12)
        assert math.fsum(row["bits_share"] for row in rows) == pytest.approx(1, abs=1e-12)
        mean = math.fsum(row["bits_per_char"] * row["characters_share"] for row in rows)
        assert mean == pytest.approx(found["bits_per_char"], rel=1e-7)
        if ngram and rows[0]["gain"] is not None:
            gain = math.fsum(row["gain"] for row in rows)
            difference = ngram["bits_per_char"] - found["bits_per_char"]
            assert gain == pytest.approx(difference, abs=1e-6)
    return groupings


@pytest.mark.parametrize("options", [(), ("--protocol", "nanogpt"), ("--split", "valid")])
@pytest.mark.parametrize("sample", [False, True])
def test_the_rows_add_up_to_the_score(novel, evaluate, monkeypatch, options, sample):
    if sample:
        monkeypatch.setattr(scores, "WHOLE", 1000)
        monkeypatch.setattr(scores, "SAMPLE", 700)
    found = json.loads(evaluate(novel, *options, "--json"))
    assert set(check_sums(found)) == {"kind", "word_frequency", "after"}
    assert (found["characters"] < found["characters_in_text"]) == sample


def test_each_line_starts_anew_and_its_end_is_a_kind(names, evaluate):
    found = json.loads(evaluate(names, "--json"))
    rows = check_sums(found)
    ends = {row["group"]: row["characters"] for row in rows["kind"]}["line ends"]
    before = {row["group"]: row["characters"] for row in rows["after"]}["a line end"]
    assert ends == before == found["lines"]


def test_unknown_characters_cost_their_spelling(novel, evaluate, folder):
    (folder / "other.txt").write_text("the zoo of 分 and 分开 is the zoo", encoding="utf-8")
    found = json.loads(evaluate(novel, "--text", folder / "other.txt", "--json"))
    rows = check_sums(found)
    (han,) = (row for row in rows["kind"] if row["group"] == "Han characters")
    assert (han["characters"], found["unknown_characters"]) == (3, 3)
    assert min(han["bits_per_char"], han["ngram_bits_per_char"]) > 20


def test_without_the_corpus_there_is_no_ngram_and_no_frequency(names, evaluate, folder, capsys):
    (folder / "others.txt").write_text("Anna\nBora\n")
    (folder / "names.txt").rename(folder / "moved.txt")
    try:
        with pytest.warns(UserWarning, match="and the frequency of words"):
            rows = names.by_kind(file=str(folder / "others.txt"))
        given = ["eval", "--by-kind", "--run", str(names.folder)]
        assert command([*given, "--text", str(folder / "others.txt")]) == 0
        out, err = capsys.readouterr()
    finally:
        (folder / "moved.txt").rename(folder / "names.txt")
    assert {row["grouping"] for row in rows} == {"kind", "after"}
    assert {row["gain"] for row in rows} == {None}
    assert "n-gram and xz are left out, and the frequency of words" in err
    assert "of the bits" in out
    assert "gain" not in out


def test_the_training_text_is_not_compared(novel, evaluate):
    out = evaluate(novel, "--split", "train")
    assert "gain" not in out
    assert "against the n-gram" not in out


def test_tables_fit_80_columns(novel, names, evaluate, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for run in (novel, names):
        out = evaluate(run)
        assert out.count("gain\n") == 3
        assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_a_picture(novel, evaluate, folder, kind):
    evaluate(novel, "--plot", folder / f"a.{kind}", "--quiet")
    assert (folder / f"a.{kind}").stat().st_size > 10_000


def test_a_picture_needs_by_kind(novel, capsys):
    assert command(["eval", "--run", str(novel.folder), "--plot", "a.png"]) == 2
    assert "error: --plot draws the result of --by-kind" in capsys.readouterr().err
    assert command(["eval", "--run", str(novel.folder), "--by-kind", "--plot", "a.jpg"]) == 2
    assert "no known kind of picture" in capsys.readouterr().err


def kinds_of(model, ngram, labels=("spaces", "digits"), name="kind"):
    grouping = Grouping(name, "title", labels, np.array([0, 0, 1], np.uint8))
    nats = (None if each is None else np.array(each) * math.log(2) for each in (model, ngram))
    return by_kind([grouping], *nats, train_characters=9)


@pytest.mark.parametrize(
    ("ngram", "end"),
    [
        (None, "75.0% of the bits, 66.7% of the characters"),
        ([1, 2, 1], "66.7% of the characters"),
        ([1, 5, 1], "it gains most on spaces (1.000), in bits per character of the whole text"),
        ([1, 2, 0.4], "it loses most on digits (0.200), in bits per character of the whole text"),
        ([1, 5, 0.4], "it gains most on spaces (1.000) and loses most on digits (0.200), in bits "
         "per character of the whole text"),
    ],
)  # fmt: skip
def test_conclusion(ngram, end):
    words = kinds_of([1, 2, 1], ngram).conclusion()
    assert words.startswith("the model spends most bits on spaces: 75.0% of the bits, 66.7% of the")
    assert words.endswith(end)


def test_conclusion_of_a_script_without_spaces():
    words = kinds_of([1, 2, 1], None, ("never", "once"), "character_frequency").conclusion()
    assert words.startswith(
        "the model spends most bits on characters seen never in training: 75.0%"
    )


def test_a_certain_model():
    (rows,) = kinds_of([0, 0, 0], [0, 0, 0]).rows.values()
    assert [row.bits_share for row in rows] == [0, 0]
