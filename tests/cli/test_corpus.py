"""``charlm corpus``: corpora of every task."""

from __future__ import annotations

from pathlib import Path

import pytest

from charlm.corpus import catalogue


def test_list_shows_tasks(charlm, tmp_path):
    (tmp_path / "corpora").mkdir()
    (tmp_path / "corpora" / "mine.txt").write_text("a text")
    rows = {row["name"]: row for row in charlm("corpus", "list", "--json").json["corpora"]}
    texts = ["traveller", "night_train", "timemachine", "jaychou", "tinyshakespeare"]
    texts += ["ptb-char", "enwik8", "text8"]
    assert [*rows] == [*texts, "imdb", "atis", "mine"]
    tasks = {name: row["task"] for name, row in rows.items()}
    assert tasks["imdb"] == "classify"
    assert tasks["atis"] == "tag"
    assert tasks["traveller"] == tasks["timemachine"] == tasks["mine"] == "language-model"
    assert rows["atis"]["where"] == "not here"
    code, out, _ = charlm("corpus", "list")
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines()[1:]}
    assert list(lines) == list(rows)
    assert lines["imdb"].split()[1:4] == ["classify", "not", "here"]
    assert lines["mine"].endswith("your own text")


def test_list_finds_the_folder(charlm, atis):
    found = charlm("corpus", "list", "--json", "--corpora-dir", atis).json["corpora"]
    rows = {row["name"]: row for row in found}
    assert rows["atis"]["where"] == "downloaded"


@pytest.mark.parametrize(
    ("name", "task", "size"), [("imdb", "classify", 84_125_825), ("atis", "tag", None)]
)
def test_show_describes_what_is_not_here_without_downloading_it(charlm, name, task, size):
    shown = charlm("corpus", "show", name, "--json").json
    assert (shown["name"], shown["task"], shown["path"], shown["size"]) == (name, task, None, size)
    assert shown["licence"] == catalogue()[name].licence
    assert len(shown["files"]) == len(catalogue()[name].files)
    code, out, err = charlm("corpus", "show", name)
    assert (code, err) == (0, "")
    assert f"task         {task}\n" in out
    assert f"citation     {catalogue()[name].citation}\n" in out
    assert "cleaning" not in out
    assert "path" not in out
    assert out.endswith(f"\nnext: charlm {task} train --data {name}\n")


def test_show_finds_the_folder(charlm, atis):
    code, out, _ = charlm("corpus", "show", "atis", "--corpora-dir", atis)
    assert code == 0
    assert f"path         {atis / 'atis'}\n" in out
    assert "atis/train/seq.in, atis/train/seq.out, atis/train/label" in out


def test_show_describes_a_text(charlm):
    shown = charlm("corpus", "show", "traveller", "--json").json
    assert (shown["task"], shown["cleaning"]) == ("language-model", "none")
    assert sum(shown["split"].values()) == shown["characters"]
    code, out, _ = charlm("corpus", "show", "traveller")
    assert code == 0
    assert "task         language-model\n" in out
    assert out.endswith(" ...\n")
    assert charlm("corpus", "show", "night_train", "--json").json["vocabulary"] > 400


def test_show_says_which_share_of_the_held_out_text_repeats(charlm):
    """A verse of 47 characters, sung again in the held-out tenth."""
    verse = "wide is the river and long is the road to home\n"
    new = "".join(chr(0x4E00 + index) for index in range(900))
    Path("songs.txt").write_text(verse + new + verse + "end\n" + "".join(map(chr, range(192, 238))))
    shown = charlm("corpus", "show", "songs.txt", "--json").json
    assert shown["split"] == {"train": 939, "valid": 52, "test": 53}
    assert shown["repeated"] == {
        "32": {"training": pytest.approx(47 / 105), "itself": 0.0}, "128": None,
    }  # fmt: skip
    out = charlm("corpus", "show", "songs.txt").out
    assert (
        "repeats of 32+ characters in the held-out text: 44.8% from training, 0.0% from "
        "itself; on new text the scores would be worse\n"
    ) in out


def test_an_added_text_has_a_name(charlm):
    Path("mine.txt").write_text("Hello, world. " * 50)
    code, out, _ = charlm("corpus", "add", "mine.txt")
    assert code == 0
    assert out.endswith("next: charlm train --corpus mine\n")
    assert "Hello, world." in charlm("corpus", "show", "mine").out
    assert Path(charlm("corpus", "fetch", "traveller").out.strip()).is_file()


def test_fetch_finds_the_folder(charlm, atis):
    assert charlm("corpus", "fetch", "atis", "--corpora-dir", atis) == (0, f"{atis / 'atis'}\n", "")


def test_fetch_refuses_a_wrong_folder(charlm, tmp_path):
    wrong = tmp_path / "corpora" / "atis" / "test" / "seq.in"
    wrong.parent.mkdir(parents=True)
    wrong.write_text("something else")
    code, out, err = charlm("corpus", "fetch", "atis")
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {wrong} is not the catalogued file: SHA-256 ")
    assert wrong.read_text() == "something else"


@pytest.mark.parametrize(("name", "task"), [("imdb", "classify"), ("atis", "tag")])
def test_no_language_model_is_trained_on_it(charlm, name, task):
    code, out, err = charlm("train", "--corpus", name)
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        f"error: {name} is a corpus for the task {task}, not language-model",
        f"hint: charlm corpus show {name} says how to use it",
    ]
