"""``--lines``: train, resume, eval, inspect and generate on a list of names."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path

import pytest

from charlm.cli import run
from charlm.corpus import SPLITS
from charlm.runs import Run

NAMES = sorted(f"{a}{b}{c}" for a in "abcdefgh" for b in "aeiou" for c in ("", "na", "rik"))
SMALL = ["--hidden-size", "16", "--device", "cpu", "--set", "sample_length=8"]
TRAIN = ["train", "--corpus", "names.txt", "--lines", *SMALL]


def write_names(folder, names=NAMES):
    (folder / "names.txt").write_text("".join(f"{name}\n" for name in names))


@pytest.fixture(scope="module")
def trained_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lines")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_names(folder)
        assert run([*TRAIN, "--epochs", "30", "--quiet", "--run", "checkpoints/names"]) == 0
    return folder


@pytest.fixture
def names(folder, trained_folder):
    """A run that was trained on names, with their file, in the working folder."""
    shutil.copytree(trained_folder / "checkpoints" / "names", folder / "checkpoints" / "names")
    about = json.loads((folder / "checkpoints" / "names" / "run.json").read_text())
    shutil.copyfile(trained_folder / "names.txt", folder / "names.txt")
    assert about["config"]["corpus"]["source"] == str(trained_folder / "names.txt")  # still there
    return "checkpoints/names"


def test_train_on_lines(folder, charlm):
    write_names(folder)
    found = charlm(*TRAIN, "--epochs", 30, "--json", "--run", "checkpoints/names")
    result = found.json
    assert result["valid_perplexity"] < 12 < 25  # 17 characters in the vocabulary
    assert [sample["prefix"] for sample in result["samples"]] == [""]
    assert "\n" not in result["samples"][0]["text"]
    plan = charlm(*TRAIN, "--dry-run", "--json").json
    assert (plan["lines"], plan["characters"]) == (120, sum(len(name) + 1 for name in NAMES))
    assert sum(plan["split"].values()) == plan["characters"]
    assert f"{plan['characters']} characters in 120 lines" in charlm(*TRAIN, "--dry-run").out
    assert plan["config"]["training"]["batch_size"] == 16


def test_short_lines_make_larger_batches(folder, charlm):
    write_names(folder, [f"{a}{b}" for a in NAMES for b in NAMES[:50]])
    plan = charlm("train", "--corpus", "names.txt", "--lines", "--dry-run", "--json").json
    assert plan["config"]["training"]["batch_size"] == 61
    given = charlm(*TRAIN, "--batch-size", 20, "--dry-run", "--json").json
    assert given["config"]["training"]["batch_size"] == 20


def test_eval_counts_every_character_and_line_end(names, charlm):
    found = charlm("eval", "--json").json
    held_out = Run.open(Path(names)).load_corpus().lines_of("test")
    assert (found["split"], found["lines"], found["lines_in_train"]) == ("test", 6, 0)
    assert found["characters"] == sum(len(name) + 1 for name in held_out)
    assert found["bits_per_byte"] == pytest.approx(found["bits_per_char"])
    assert found["nats_per_char"] < 0.8 * found["baselines"]["unigram"]["nats_per_char"]
    assert found["baselines"]["uniform"]["perplexity"] == pytest.approx(16)
    size = Run.open(Path(names)).load_corpus().split_sizes[0]
    learned = [found["baselines"][name]["learned_from"] for name in ("unigram", "ngram", "xz")]
    assert [found["train_characters"], *learned] == [size] * 4
    assert found["compared_characters"] == found["characters"]
    assert found["protocol"] == "lines"
    words = "names, test split, 6 lines of which 0 are also in train: "
    assert f"{words}{found['characters']} characters predicted" in charlm("eval").out
    refused = charlm("eval", "--protocol", "nanogpt")
    wrong = f"--protocol nanogpt is for running texts, and {names} was trained with --lines"
    assert (refused.code, refused.error) == (2, wrong)


def test_eval_of_a_text_scores_its_lines(names, charlm, folder):
    (folder / "others.txt").write_text("gona\n\nace\nbena\n")
    (folder / "reversed.txt").write_text("bena\nace\ngona")
    found = charlm("eval", "--json", "--text", "others.txt")
    assert (found.json["lines"], found.json["characters"]) == (3, 14)
    assert found.json["unknown_characters"] == 0
    assert "left out 1 blank line" in found.err
    # Each line starts anew: their order changes nothing.
    other = charlm("eval", "--json", "--text", "reversed.txt").json
    assert other["nats_per_char"] == pytest.approx(found.json["nats_per_char"], rel=1e-6)
    for name in ("unigram", "ngram"):
        pair = (each["baselines"][name]["nats_per_char"] for each in (other, found.json))
        assert math.isclose(*pair, rel_tol=1e-9)


def test_repeated_lines_are_reported(folder, charlm):
    write_names(folder, NAMES * 2)
    found = charlm(*TRAIN, "--epochs", 1, "--run", "checkpoints/names")
    assert re.search(r"\d+ of the 24 lines of valid and test are also in train", found.err)
    assert charlm("eval", "--json").json["lines_in_train"] > 6
    once = charlm(*TRAIN, "--dry-run", "--json", "--set", "distinct=true")
    assert (once.json["lines"], once.err) == (120, "")


def test_resume_is_exact(folder, charlm, checkpoint_content):
    write_names(folder)
    constant = ["--set", "schedule=constant", "--set", "warmup=0"]
    charlm(*TRAIN, *constant, "--epochs", 4, "--run", "runs/whole")
    charlm(*TRAIN, *constant, "--epochs", 2, "--run", "runs/parts")
    assert charlm("train", "--resume", "--run", "runs/parts", "--epochs", 4).code == 0
    whole, parts = (
        checkpoint_content(Run.open(Path(name))) for name in ("runs/whole", "runs/parts")
    )
    assert whole["last.safetensors"] == parts["last.safetensors"]
    changed = charlm("train", "--resume", "--run", "runs/parts", "--set", "lines=false")
    assert "corpus.lines is True in the run, not False" in changed.error


def test_the_split_does_not_depend_on_the_seed(folder, charlm):
    write_names(folder)
    for seed in (0, 1):
        charlm(*TRAIN, "--epochs", 1, "--seed", seed, "--run", f"runs/{seed}")
    first, second = (Run.open(Path(f"runs/{seed}")).load_corpus() for seed in (0, 1))
    assert all(first.lines_of(split) == second.lines_of(split) for split in SPLITS)


@pytest.mark.parametrize(
    ("text", "options", "error"),
    [
        ("anna", [], "no line to train on: the splits have 0, 0 and 1 lines"),
        ("\n \n", [], "every line of names.txt is blank after the cleaning 'none'"),
        ("安\n", ["--cleaning", "letters"], "every line of names.txt is blank after the cleaning"),
        ("anna\nbob\n", ["--max-chars", "3"], "the first line and its end have more than 3 char"),
        ("a\nb\n", ["--cleaning", "spaces"], "--cleaning spaces removes the line ends that --lin"),
        ("a\nb\n", ["--prefix", "a\nb"], "the prefix 'a\\nb' has a line end, but this model"),
        ("a\nb\n", ["--set", "split=1,2,3"], "the split counts sum to 6, but the text has 2 lines"),
    ],
)
def test_what_cannot_be_trained_on(folder, charlm, text, options, error):
    (folder / "names.txt").write_text(text)
    refused = charlm(*TRAIN, *options)
    assert refused.error.startswith(error)
    assert refused.hint
    assert ("leave out --lines" in refused.hint) == error.startswith("no line")


@pytest.mark.parametrize(
    "option", [["--sampling", "random"], ["--set", "offset=none"], ["--set", "drop_last=true"]]
)
def test_settings_of_a_running_text_are_idle(folder, charlm, option):
    write_names(folder)
    warning = "has no effect: with --lines, each batch has whole lines of similar lengths"
    assert warning in charlm(*TRAIN, *option, "--dry-run").err
    text = [*TRAIN, "--max-chars", 500, "--batch-size", 1]
    text.remove("--lines")
    assert "has no effect" not in charlm(*text, *option, "--dry-run").err
    idle = charlm(*text, "--set", "distinct=true", "--dry-run").err
    assert "corpus.distinct is True but has no effect: it is for --lines\n" in idle


def test_memory_needs_a_running_text(names, charlm):
    refused = charlm("inspect", "--memory")
    assert refused.code == 2
    assert "was trained with --lines" in refused.error


def generated(charlm, *options, code=0):
    found = charlm("generate", "--run", "checkpoints/names", *options)
    assert found.code == code, found.err
    return found


def test_generate_writes_whole_lines(names, charlm):
    lines = generated(charlm, "--num-samples", 12, "--seed", 3).out.splitlines()
    assert len(lines) == 12
    assert all(1 <= len(line) <= 20 for line in lines)
    # The lines of a seed do not depend on their number.
    more = generated(charlm, "--num-samples", 70, "--seed", 3).out.splitlines()
    assert (more[:12], len(more)) == (lines, 70)
    assert generated(charlm, "--seed", 3).out == f"{lines[0]}\n"
    begun = generated(charlm, "--num-samples", 5, "--prefix", "ba").out.splitlines()
    assert [line[:2] for line in begun] == ["ba"] * 5


def test_generate_says_in_json_which_lines_are_new(names, trained_folder, charlm):
    options = ["--num-samples", 50, "--seed", 1, "--temperature", 1, "--top-p", 1, "--json"]
    found = generated(charlm, *options).json
    assert found["new"] == [line not in NAMES for line in found["samples"]]
    assert {*found["new"]} == {True, False}
    assert (found["text"], found["prefix"]) == (found["samples"][0], "")
    moved = (trained_folder / "names.txt").rename(trained_folder / "moved.txt")
    try:
        assert generated(charlm, "--json", "--seed", 1).json["new"] is None
        refused = generated(charlm, "--new-only", code=1)
        assert "--new-only compares with the run's text, but no such file" in refused.error
    finally:
        moved.rename(trained_folder / "names.txt")


def test_generate_new_only(names, charlm):
    options = ["--new-only", "--num-samples", 40, "--seed", 0, "--temperature", 1, "--top-p", 1]
    lines = generated(charlm, *options).out.splitlines()
    assert len({*lines}) == 40
    assert not {*lines} & {*NAMES}
    found = generated(charlm, *options, "--json").json
    assert (found["samples"], found["new"]) == (lines, [True] * 40)


def test_generate_new_only_ends_where_there_are_too_few(names, charlm, monkeypatch):
    few = generated(charlm, "--new-only", "--num-samples", 3, "--prefix", "anaq", "--greedy")
    assert len(few.out.splitlines()) == 1
    assert "found 1 new line among 1,000" in few.err
    known = frozenset(few.out.splitlines())
    monkeypatch.setattr("charlm.cli.lines.lines_of_text", lambda run, corpora_dir: known)
    refused = generated(charlm, "--new-only", "--prefix", "anaq", "--greedy", code=1)
    assert refused.error == "none of 1,000 lines is new: all are in the run's text"


def test_generate_cuts_a_line_that_does_not_end(names, charlm):
    found = generated(charlm, "--num-samples", 30, "--length", 1, "--seed", 0)
    assert all(len(line) <= 1 for line in found.out.splitlines())
    assert re.search(r"warning: \d+ lines had no end after 1 character: cut", found.err)


def test_generate_refuses_what_has_no_meaning(names, folder, charlm):
    assert "has a line end" in generated(charlm, "--prefix", "a\nb", code=2).error
    charlm("train", "--max-chars", 2000, "--epochs", 1, "--hidden-size", 4, "--run", "runs/text")
    refused = charlm("generate", "--run", "runs/text", "--new-only")
    wrong = "--new-only needs a run trained with --lines, and runs/text is not one"
    assert (refused.code, refused.error) == (2, wrong)
    for options in (["--exact-length"], ["--stop", "a"]):
        refused = generated(charlm, *options, code=2)
        assert refused.error == f"{options[0]} is for running texts, and {names} writes whole lines"


def test_generate_continues_typed_starts_of_lines(names, charlm):
    typed = charlm("generate", "--run", names, "--interactive", "--seed", 1, stdin=b"ba\nce\n")
    assert [line[:2] for line in typed.out.splitlines()] == ["ba", "ce"]
