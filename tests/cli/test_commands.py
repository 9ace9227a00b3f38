"""The commands of language models, and exit codes."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

TINY = shlex.split(
    "--hidden-size 16 --batch-size 8 --seq-len 20 --max-chars 4000 --device cpu --epochs 1 --set "
    "sample_length=12"
)


@pytest.fixture
def trained(folder, charlm):
    assert charlm("train", *TINY, "--run", "checkpoints/small").code == 0
    return Path("checkpoints/small")


def test_train_writes_samples(charlm):
    result = charlm("train", *TINY, "--json").json
    assert [sample["prefix"] for sample in result["samples"]] == ["time traveller", "The traveller"]
    assert all(len(s["text"]) == len(s["prefix"]) + 12 for s in result["samples"])
    assert 1 < result["valid_perplexity"] < 60
    assert charlm("eval", "--split", "valid", "--json").json["perplexity"] == pytest.approx(
        result["valid_perplexity"], rel=1e-5
    )
    code, out, err = charlm(*["generate", "--prefix", "time", "--length", "40", "--exact-length"])
    assert (code, len(out)) == (0, len("time") + 40 + 1)
    assert out.startswith("time")
    assert err.startswith("run: checkpoints")


def test_dry_run_of_a_preset(charlm):
    words = ("train", "--preset", "timemachine-gru", "--corpus", "traveller")
    plan = charlm(*words, "--dry-run", "--json").json
    assert plan["config"]["model"]["cell"] == "gru"
    assert plan["config"]["training"]["epochs"] == 500
    assert plan["characters"] == 10_000


def test_generate_json_and_several_samples(trained, charlm):
    words = shlex.split(
        f"generate --run {trained} --prefix The --length 30 --exact-length --seed 5"
    )
    words += ["--num-samples", "3"]
    result = charlm(*words, "--json").json
    assert result["run"] == str(trained)
    assert (result["prefix"], result["seed"]) == ("The", 5)
    assert result["text"] == result["samples"][0]
    assert len({*result["samples"]}) == 3
    assert all(text.startswith("The") and len(text) == 33 for text in result["samples"])
    shown = "".join(f"--- {n} ---\n{text}\n" for n, text in enumerate(result["samples"], start=1))
    assert charlm(*words).out == shown


def test_generate_is_repeatable_by_seed_and_greedy_needs_none(trained, charlm):
    def text(*options):
        code, out, _ = charlm("generate", "--prefix", "The", "--length", 50, *options)
        assert code == 0
        return out

    assert text("--seed", 1) == text("--seed", 1) != text("--seed", 2)
    assert text("--greedy", "--seed", 1) == text("--temperature", 0, "--seed", 2)
    assert text("--top-k", 1, "--temperature", 2) == text("--greedy")


def test_generate_says_what_it_changed_in_the_prefix(charlm):
    assert charlm("train", *TINY, "--cleaning", "letters").code == 0
    code, out, err = charlm("generate", "--prefix", "The TIME, 1895!", "--length", 5)
    assert code == 0
    assert out.startswith("the time")
    assert "warning: the prefix was cleaned as the corpus was (letters): 'the time'" in err


def test_eval_json_has_the_contracts_keys_and_baselines(trained, charlm):
    result = charlm("eval", "--json").json
    assert result.keys() >= {
        "run", "split", "characters", "nats_per_char", "perplexity", "bits_per_char",
        "bits_per_byte", "baselines", "seconds",
    }  # fmt: skip
    assert (result["split"], result["characters"]) == ("test", 199)
    assert set(result["baselines"]) == {"uniform", "unigram", "ngram", "xz"}
    assert result["baselines"]["uniform"]["perplexity"] > result["baselines"]["ngram"]["perplexity"]
    lines = charlm("eval").out.splitlines()
    assert lines[0] == "traveller, test split: 199 characters predicted"
    assert lines[1].split() == ["perplexity", "nats/char", "bits/char", "bits/byte"]
    assert [line.split("  ")[0] for line in lines[2:]] == [
        "this model (lstm)", "uniform", "unigram", "ngram", "xz",
    ]  # fmt: skip


def test_eval_scores_a_text_of_the_users(trained, charlm):
    Path("mine.txt").write_text("The traveller came home. Я тоже.", encoding="utf-8")
    scored = charlm("eval", "--text", "mine.txt", "--json")
    result = scored.json
    assert result["text"] == "mine.txt"
    assert "split" not in result
    assert result["characters"] == 31
    # Five Cyrillic letters of two bytes each.
    assert result["bits_per_byte"] * 36 == pytest.approx(result["bits_per_char"] * 31)
    assert "not in the vocabulary" in scored.err


def test_a_text_through_standard_input_can_be_evaluated_later(folder):
    text = "one two three four five six seven. " * 60
    command = [sys.executable, "-m", "charlm"]
    train = [*command, "train", "--corpus", "-", "--epochs", "1", "--batch-size", "4",
             "--seq-len", "10", "--hidden-size", "8", "--json", "--quiet"]  # fmt: skip
    done = subprocess.run(train, input=text.encode(), capture_output=True, check=True)
    result = json.loads(done.stdout)
    assert result["corpus"] == "stdin"
    done = subprocess.run([*command, "eval", "--json"], capture_output=True, check=True)
    assert json.loads(done.stdout)["run"] == result["run"]


def test_verify_shows_agreement(charlm):
    rows = charlm("verify", "--json").json["agreement"]
    cells = {(row["cell"], row["dtype"]) for row in rows}
    assert cells >= {("lstm", "float32"), ("gru", "float64")}
    code, out, _ = charlm("verify")
    assert code == 0
    assert "DIFFER" not in out
    assert out.count("agree") == len(rows)


def test_verify_fails_where_the_layers_differ(charlm, monkeypatch):
    monkeypatch.setattr("charlm.recurrent.parity.TOLERANCE", {"float32": 0.0, "float64": 0.0})
    code, out, err = charlm("verify")
    assert code == 1
    assert "DIFFER" in out
    assert err.startswith("error: the scratch layers and the torch layers differ\nhint: ")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["train", "--run", "."], 2, "exists already"),
        (["generate", "--greedy", "--top-k", "3"], 2, "--greedy"),
        (["eval", "--split", "test", "--text", "a"], 2, "give only one"),
        (["corpus", "fetch", "timemachin"], 2, "timemachine"),
        (["runs", "show", "nowhere"], 1, "nowhere"),
        (["train", "x"], 2, "train --help"),
    ],
)
def test_a_users_mistake_is_one_line_and_leaves_nothing_behind(charlm, arguments, code, said):
    Path("here").touch()
    refused = charlm(*arguments)
    assert refused.code == code
    assert said in f"{refused.error} {refused.hint}"
    assert not Path("checkpoints").exists()


def test_a_bug_is_three_with_its_traceback(charlm, monkeypatch):
    monkeypatch.setattr("charlm.recurrent.parity.compare_all", lambda seed: 1 / 0)
    code, _, err = charlm("verify")
    assert code == 3
    assert "ZeroDivisionError" in err
    assert "please report" in err


def test_lack_of_memory_is_one_line(charlm):
    refused = charlm("train", *TINY, "--set", "hidden_size=1000000")
    assert (refused.code, refused.error) == (1, "there is not enough memory for this")
    assert refused.hint == "try a smaller --hidden-size, --batch-size or --seq-len"
