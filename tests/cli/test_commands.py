"""The commands as a user types them, in one process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from charlm.cli import run

TINY = [
    "--set", "hidden_size=16", "--batch-size", "8", "--seq-len", "20", "--max-chars", "4000",
    "--set", "sample_length=12", "--device", "cpu",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder, and no corpora but those that come along."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHARLM_CORPORA", str(tmp_path / "corpora"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def charlm(capsys):
    """Runs a command and gives its exit code, stdout and stderr."""

    def command(*arguments):
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command


@pytest.fixture
def trained(folder, charlm):
    code, _, err = charlm("train", *TINY, "--epochs", "2", "--run", "checkpoints/small")
    assert code == 0, err
    return Path("checkpoints/small")


def error_lines(err):
    return [line for line in err.splitlines() if line.startswith(("error:", "hint:"))]


def test_train_json_has_the_contracts_keys(folder, charlm):
    code, out, err = charlm("train", *TINY, "--epochs", "2", "--json", "--seed", "3")
    assert code == 0
    result = json.loads(out)
    assert result.keys() >= {
        "run", "corpus", "cell", "backend", "parameters", "device", "epochs", "characters_seen",
        "seconds", "characters_per_second", "train_perplexity", "valid_perplexity", "samples",
    }  # fmt: skip
    assert (result["corpus"], result["cell"], result["epochs"]) == ("traveller", "lstm", 2)
    assert result["device"] == "cpu"
    assert 1 < result["valid_perplexity"] < 60
    assert result["characters_seen"] > 0
    assert [sample["prefix"] for sample in result["samples"]] == ["time traveller", "The traveller"]
    assert all(len(s["text"]) == len(s["prefix"]) + 12 for s in result["samples"])
    assert Path(result["run"]).parent == Path("checkpoints")
    assert "training lstm" in err


def test_train_says_what_to_type_next_and_that_works(trained, charlm):
    code, out, _ = charlm("train", *TINY, "--epochs", "1", "--quiet")
    assert code == 0
    next_line = next(line for line in out.splitlines() if line.startswith("next: "))
    assert next_line == "next: charlm generate --prefix 'time traveller'"
    code, out, err = charlm("generate", "--prefix", "time traveller", "--length", "40")
    assert code == 0
    assert out.startswith("time traveller")
    assert len(out) == len("time traveller") + 40 + 1
    assert err.startswith("run: checkpoints")


def test_without_a_validation_split_its_perplexity_is_null(folder, charlm):
    code, out, _ = charlm(
        "train", *TINY, "--epochs", "1", "--json", "--set", "split=1,0,0", "--cell", "gru",
        "--backend", "scratch", "--sampling", "random",
    )  # fmt: skip
    assert code == 0
    result = json.loads(out)
    assert result["valid_perplexity"] is None
    assert (result["cell"], result["backend"]) == ("gru", "scratch")
    code, out, _ = charlm("eval", "--json", "--quiet")
    assert code == 0
    assert json.loads(out)["split"] == "train"


def test_dry_run_writes_nothing(folder, charlm):
    code, out, _ = charlm("train", "--preset", "timemachine-gru", "--corpus", "traveller",
                          "--dry-run", "--json")  # fmt: skip
    assert code == 0
    plan = json.loads(out)
    assert plan["config"]["model"]["cell"] == "gru"
    assert plan["config"]["training"]["epochs"] == 500
    assert plan["characters"] == 10_000
    assert plan["parameters"] > 0
    assert not list(folder.iterdir())


def test_a_configuration_file_and_options_over_it(folder, charlm):
    Path("mine.toml").write_text(
        '[model]\ncell = "rnn"\nhidden_size = 8\n[training]\nepochs = 7\nseed = 5\n'
    )
    code, out, _ = charlm(
        "train", "--config", "mine.toml", "--hidden-size", "12", "--set", "seed=9",
        "--dry-run", "--json",
    )  # fmt: skip
    assert code == 0
    config = json.loads(out)["config"]
    assert (config["model"]["cell"], config["model"]["hidden_size"]) == ("rnn", 12)
    assert (config["training"]["epochs"], config["training"]["seed"]) == (7, 9)
    assert config["training"]["minutes"] is None


def test_generate_json_and_several_samples(trained, charlm):
    code, out, _ = charlm("generate", "--run", trained, "--prefix", "The", "--length", 30,
                          "--num-samples", 3, "--json")  # fmt: skip
    assert code == 0
    result = json.loads(out)
    assert result["run"] == str(trained)
    assert result["prefix"] == "The"
    assert result["text"] == result["samples"][0]
    assert len(result["samples"]) == 3
    assert len(set(result["samples"])) == 3
    assert all(text.startswith("The") and len(text) == 33 for text in result["samples"])


def test_generate_is_repeatable_by_seed_and_greedy_needs_none(trained, charlm):
    def text(*options):
        code, out, _ = charlm("generate", "--prefix", "The", "--length", 50, *options)
        assert code == 0
        return out

    assert text("--seed", 1) == text("--seed", 1)
    assert text("--seed", 1) != text("--seed", 2)
    assert text("--greedy", "--seed", 1) == text("--temperature", 0, "--seed", 2)
    assert text("--top-k", 1, "--temperature", 2) == text("--greedy")


def test_generate_says_what_it_changed_in_the_prefix(folder, charlm):
    code, _, err = charlm("train", *TINY, "--epochs", "1", "--cleaning", "letters")
    assert code == 0, err
    code, out, err = charlm("generate", "--prefix", "The TIME, 1895!", "--length", 5)
    assert code == 0
    assert out.startswith("the time")
    assert "warning: the prefix was cleaned as the corpus was (letters): 'the time'" in err
    code, out, err = charlm("generate", "--prefix", "123", "--length", 5)
    assert (code, out) == (2, "")
    assert error_lines(err)[0].startswith("error: the prefix '123' has nothing left")


def test_generate_lists_unknown_characters_with_their_code_points(trained, charlm):
    code, out, err = charlm("generate", "--prefix", "Ж time", "--length", 5)
    assert code == 0
    assert "'Ж' U+0416 CYRILLIC CAPITAL LETTER ZHE" in err
    assert out.startswith("Ж time")


def test_eval_json_has_the_contracts_keys_and_baselines(trained, charlm):
    code, out, _ = charlm("eval", "--json")
    assert code == 0
    result = json.loads(out)
    assert result.keys() >= {
        "run", "split", "characters", "nats_per_char", "perplexity", "bits_per_char",
        "bits_per_byte", "baselines", "seconds",
    }  # fmt: skip
    assert result["split"] == "valid"
    assert result["characters"] == 199
    assert set(result["baselines"]) == {"uniform", "unigram", "ngram", "xz"}
    assert result["baselines"]["uniform"]["perplexity"] > result["baselines"]["ngram"]["perplexity"]


def test_eval_scores_a_text_of_the_users(trained, charlm):
    Path("mine.txt").write_text("The traveller came home. Я тоже.", encoding="utf-8")
    code, out, err = charlm("eval", "--text", "mine.txt", "--json")
    assert code == 0
    result = json.loads(out)
    assert result["text"] == "mine.txt"
    assert "split" not in result
    assert result["characters"] == 31
    # Five Cyrillic letters of two bytes each.
    assert result["bits_per_byte"] * 36 == pytest.approx(result["bits_per_char"] * 31)
    assert "not in the vocabulary" in err


def test_eval_agrees_with_the_perplexity_that_training_reported(trained, charlm):
    summary = json.loads((trained / "summary.json").read_text())
    code, out, _ = charlm("eval", "--json")
    assert code == 0
    assert json.loads(out)["perplexity"] == pytest.approx(summary["valid_perplexity"], rel=1e-9)


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


def test_runs_list_show_and_compare(trained, charlm):
    assert charlm("train", *TINY, "--epochs", "1", "--cell", "gru", "--run", "other")[0] == 0
    code, out, _ = charlm("runs", "list", "--json")
    assert code == 0
    assert [Path(row["run"]).name for row in json.loads(out)["runs"]] == ["small"]
    code, out, _ = charlm("runs", "show", "small")
    assert code == 0
    assert "cell = lstm" in out
    assert "epoch" in out
    code, _, err = charlm("runs", "show", "small", "--plot", "curve.svg")
    assert (code, "picture: curve.svg" in err) == (0, True)
    assert Path("curve.svg").read_bytes().startswith(b"<?xml")
    code, _, err = charlm("runs", "show", "small", "--plot", "curve.jpg")
    assert (code, "known: .png, .svg, .pdf" in err) == (2, True)
    code, out, _ = charlm("runs", "compare", "small", "other", "--json")
    assert code == 0
    compared = json.loads(out)
    assert compared["differing"]["model.cell"] == ["lstm", "gru"]
    assert len(compared["runs"]) == 2
    code, _, err = charlm("runs", "compare", "small")
    assert code == 2
    assert "two runs" in err


def test_corpus_list_show_fetch_and_add(folder, charlm):
    code, out, _ = charlm("corpus", "list", "--json")
    assert code == 0
    names = [row["name"] for row in json.loads(out)["corpora"]]
    texts = ["traveller", "night_train", "timemachine", "jaychou", "tinyshakespeare"]
    assert names == [*texts, "imdb", "atis"]
    code, out, _ = charlm("corpus", "show", "night_train", "--json")
    assert code == 0
    assert json.loads(out)["vocabulary"] > 400
    code, out, _ = charlm("corpus", "fetch", "traveller")
    assert code == 0
    assert Path(out.strip()).is_file()
    Path("mine.txt").write_text("Hello, world. " * 50)
    code, out, _ = charlm("corpus", "add", "mine.txt")
    assert code == 0
    assert "charlm train --corpus mine" in out
    code, out, _ = charlm("corpus", "show", "mine")
    assert code == 0
    assert "Hello, world." in out


def test_verify_shows_agreement(charlm):
    code, out, _ = charlm("verify", "--json")
    assert code == 0
    rows = json.loads(out)["agreement"]
    assert {(row["cell"], row["dtype"]) for row in rows} >= {
        ("lstm", "float32"),
        ("gru", "float64"),
    }
    code, out, _ = charlm("verify")
    assert code == 0
    assert "DIFFER" not in out
    assert out.count("agree") == len(rows)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["train", "--corpus", "timemachin"], 1, "timemachine"),
        (["train", "--corpus", "missing.txt"], 1, "missing.txt"),
        (["train", "--preset", "jaychou"], 2, "jaychou-"),
        (["train", "--cell", "transformer"], 2, "rnn, rnn-relu"),
        (["train", "--cell", "gru-reset-before"], 2, "--backend scratch"),
        (["train", "--set", "learning_rate=1"], 2, "unknown key"),
        (["train", "--set", "lr"], 2, "KEY=VALUE"),
        (["train", "--epochs", "0"], 2, "epochs"),
        (["train", "--config", "missing.toml"], 2, "missing.toml"),
        (["train", "--device", "abacus"], 2, "--device cpu"),
        (["train", "--max-chars", "500"], 1, "needs"),
        (["train", "--run", "."], 2, "exists already"),
        (["generate", "--prefix", "a"], 1, "charlm train"),
        (["generate", "--prefix", "a", "--run", "nowhere"], 1, "run.json"),
        (["generate", "--prefix", "a", "--greedy", "--top-k", "3"], 2, "--greedy"),
        (["generate", "--prefix", "a", "--top-p", "2"], 2, "top-p"),
        (["eval", "--split", "test", "--text", "a"], 2, "give one"),
        (["corpus", "fetch", "timemachin"], 2, "timemachine"),
        (["runs", "show", "nowhere"], 1, "nowhere"),
    ],
)
def test_a_users_mistake_is_one_line_and_leaves_nothing_behind(
    folder, charlm, arguments, code, said
):
    Path("here").touch()
    found, out, err = charlm(*arguments)
    assert found == code
    assert out == ""
    lines = error_lines(err)
    assert lines[0].startswith("error: ")
    assert said in "\n".join(lines)
    assert "Traceback" not in err
    assert not Path("checkpoints").exists()


@pytest.mark.parametrize("arguments", [["train", "--hidden-size", "many"], ["fly"], ["train", "x"]])
def test_wrong_usage_is_two(folder, charlm, arguments):
    code, out, err = charlm(*arguments)
    assert code == 2
    assert out == ""
    assert "Traceback" not in err


def test_a_bug_is_three_with_its_traceback(folder, charlm, monkeypatch):
    monkeypatch.setattr("charlm.recurrent.parity.compare_all", lambda seed: 1 / 0)
    code, _, err = charlm("verify")
    assert code == 3
    assert "ZeroDivisionError" in err
    assert "please report" in err


def test_lack_of_memory_is_one_line(folder, charlm):
    code, _, err = charlm("train", *TINY, "--set", "hidden_size=1000000")
    assert code == 1
    assert error_lines(err) == [
        "error: there is not enough memory for this",
        "hint: try a smaller --hidden-size, --batch-size or --seq-len",
    ]
