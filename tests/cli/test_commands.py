"""The commands of language models, and exit codes."""

import functools
import json
import math
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from charlm.tasks.language_model import baselines, scores
from charlm.tasks.language_model.corpus import load_corpus

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


def test_a_bare_name_is_a_run_under_checkpoints_in_every_command(charlm, folder):
    path = str(Path("checkpoints", "novel"))
    assert charlm("train", *TINY, "--run", "novel", "--json").json["run"] == path
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoints"]
    commands = [
        "generate --length 3 --run NAME", "eval --run NAME", "train --resume --run NAME",
        "inspect --memory --distances 3 --run NAME", "inspect --memory --run NAME --run NAME",
        "runs show NAME", "runs compare NAME NAME",
    ]  # fmt: skip
    for words in commands:
        for name in ("novel", "checkpoints/novel", "./checkpoints/novel/"):
            assert charlm(*words.replace("NAME", name).split()).code == 0
        refused = charlm(*words.replace("NAME", "navel").split())
        where = Path("checkpoints", "navel")
        assert refused.error == f"navel is not a run folder: {where} has no run.json"
        assert (refused.code, refused.hint) == (1, "did you mean novel?")
    (listed,) = charlm("runs", "list", "--json").json["runs"]
    assert listed["run"] == path
    refused = charlm("train", *TINY, "--run", "novel")
    assert (refused.code, refused.error) == (2, f"{path} exists already")


def test_the_folder_of_a_run_is_a_path_from_anywhere(charlm, folder, monkeypatch):
    assert charlm("train", *TINY, "--run", "./novel").code == 0
    assert sorted(path.name for path in folder.iterdir()) == ["novel"]
    for name in ("novel", "./novel", str(folder / "novel")):
        assert charlm("generate", "--length", 3, "--run", name).code == 0
    monkeypatch.chdir("novel")
    for name in (".", "../novel", max(path.name for path in Path().glob("checkpoint-*"))):
        assert charlm("generate", "--length", 3, "--run", name).code == 0
    assert charlm("generate", "--run", "novel").code == 1
    assert charlm("generate", "--run", "").error == "the name of a run is empty"


def test_dry_run_of_a_preset(charlm):
    words = ("train", "--preset", "timemachine-gru", "--corpus", "traveller")
    plan = charlm(*words, "--dry-run", "--json").json
    assert plan["config"]["model"]["cell"] == "gru"
    assert plan["config"]["training"]["epochs"] == 500
    assert plan["characters"] == 10_000
    for off in ("none", "0", "inf"):
        shown = charlm(*words, "--dry-run", "--clip-norm", off).out
        assert re.search(r"^clip_norm +none +option", shown, re.MULTILINE)


def test_the_backend_is_chosen_when_the_run_is_made(charlm, monkeypatch):
    def choose(backend):
        monkeypatch.setattr("charlm.models.build.fastest_backend", lambda *_, **__: backend)

    choose("torch")
    shown = charlm("train", *TINY, "--dry-run").out
    assert "time: unknown until the speed is measured; if it is more than 10 minutes" in shown
    assert "time:" not in charlm("train", *TINY, "--minutes", 1, "--dry-run").out
    assert "\nmodel: lstm (torch), " in shown
    assert re.search(r"^backend +torch +auto +The implementation", shown, re.MULTILINE)
    choose("scratch")
    plan = charlm("train", *TINY, "--dry-run", "--json").json
    assert [plan["backend"], plan["config"]["model"]["backend"]] == ["scratch"] * 2
    assert charlm("train", *TINY, "--run", "novel", "--json").json["backend"] == "scratch"
    choose("torch")
    about = json.loads(Path("checkpoints/novel/run.json").read_bytes())
    assert about["config"]["model"]["backend"] == "scratch"
    again = ("train", "--resume", "--run", "novel", "--epochs", 2, "--json")
    assert charlm(*again, "--backend", "auto").json["backend"] == "scratch"
    assert "--backend" not in charlm(*again, "--backend", "torch").hint
    own = ("train", *TINY, "--from-run", "novel", "--json")
    assert charlm(*own, "--backend", "auto").json["backend"] == "scratch"
    assert charlm(*own, "--backend", "torch").error.startswith("model.backend is scratch in ")


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
        "bits_per_byte", "unknown_characters", "protocol", "baselines", "seconds",
    }  # fmt: skip
    assert (result["unknown_characters"], result["protocol"]) == (0, "carried")
    assert result["known_only"] is None
    assert (result["split"], result["characters"]) == ("test", 199)
    assert set(result["baselines"]) == {"uniform", "unigram", "ngram", "xz"}
    assert result["baselines"]["uniform"]["perplexity"] > result["baselines"]["ngram"]["perplexity"]
    lines = charlm("eval").out.splitlines()
    assert lines[0] == "traveller, test split: 199 characters predicted; protocol carried"
    assert lines[1].split() == ["perplexity", "nats/char", "bits/char", "bits/byte"]
    assert [line.split("  ")[0] for line in lines[2:-1]] == [
        "this model (lstm)", "uniform", "unigram", "ngram", "xz",
    ]  # fmt: skip
    assert lines[-1] == result["conclusion"]
    worse = result["bits_per_char"] - result["baselines"]["ngram"]["bits_per_char"]
    assert lines[-1] == (
        f"the model is worse than the n-gram by {worse:.3f} bits per character "
        f"({worse / result['baselines']['ngram']['bits_per_char']:.1%}), probably because 3,600 "
        "training characters are few for 61 different ones, and counts learn more from little "
        "text; use a longer text, or mix the network with the n-gram: --resume --mix-ngram"
    )


def test_eval_of_the_train_split_concludes_nothing(trained, charlm):
    result = charlm("eval", "--split", "train", "--json").json
    assert result["repeated"] is None
    assert result["conclusion"].endswith("were trained on this text: see another split")


def test_train_ends_with_the_ngram_and_the_repeats(charlm):
    """The figures are those of eval; the n-gram of a short text is the whole one."""
    result = charlm("train", *TINY, "--run", "r", "--json").json
    scored = charlm("eval", "--run", "r", "--split", "valid", "--json").json
    assert result["ngram_perplexity"] == scored["baselines"]["ngram"]["perplexity"]
    assert set(result["repeated"]) == {"32", "128"}
    assert result["repeated"]["32"] == {"training": 0.0, "itself": 0.0}
    assert "the model is worse than an n-gram (perplexity " in result["conclusion"]
    again = charlm("train", *TINY, "--run", "r2", "--json").json
    times = {"run", "seconds", "seconds_with_set_up", "characters_per_second"}
    assert {k: v for k, v in again.items() if k not in times} == {
        k: v for k, v in result.items() if k not in times
    }
    out = charlm("train", *TINY, "--run", "r3", "--quiet").out
    assert result["conclusion"] in out.splitlines()
    assert "repeats" not in out  # there are none


def test_eval_of_a_long_text_scores_a_sample_of_it(trained, charlm, monkeypatch):
    """Five windows of 256, baselines that learn from the end, and --whole."""
    monkeypatch.setattr(scores, "WHOLE", 2000)
    monkeypatch.setattr(scores, "SAMPLE", 1500)
    for module in (baselines, scores):
        monkeypatch.setattr(module, "LEARNED", 1200)
    text = load_corpus("traveller").text("train")[4000:8000]
    Path("long.txt").write_text(text + "\u042f", encoding="utf-8")
    words = ("eval", "--text", "long.txt", "--protocol", "nanogpt")
    result, whole = charlm(*words, "--json").json, charlm(*words, "--whole", "--json").json
    assert (result["characters"], result["characters_in_text"]) == (1280, 4000)
    assert (whole["characters"], whole["standard_error"]) == (4000, None)
    for each in (result, whole):
        assert each["train_characters"] == 3600
        learned = {name: other["learned_from"] for name, other in each["baselines"].items()}
        assert learned == {"uniform": 0, "unigram": 3600, "ngram": 1200, "xz": 1200}
    far = 4 * result["standard_error"]
    known = whole["known_only"]["nats_per_char"]  # the unknown character is not in the sample
    assert result["unknown_characters"] == 0
    assert result["nats_per_char"] == pytest.approx(known, abs=far)
    for name in ("unigram", "ngram", "xz"):
        assert result["baselines"][name]["nats_per_char"] == pytest.approx(
            whole["baselines"][name]["nats_per_char"], rel=0.15
        )
    lines = charlm(*words).out.splitlines()
    assert lines[0] == "long.txt: 1,280 of 4,000 characters predicted; protocol nanogpt"
    assert lines[1].startswith("a sample of 5 parts, spread evenly; standard error of the model 0.")
    assert lines[1].endswith(" bits/char (--whole scores all)")
    assert "ngram and xz learned from the last 1,200 of 3,600 training characters" in lines


def test_eval_charges_for_unknown_characters(trained, charlm):
    """Eight unknown characters, once all the same and once all different, cost the same."""
    Path("different.txt").write_text("The traveller came home. Я тоже дум", encoding="utf-8")
    Path("same.txt").write_text("The traveller came home. Я ЯЯЯЯ ЯЯЯ", encoding="utf-8")
    first, second = (
        charlm("eval", "--text", f"{name}.txt", "--json").json for name in ("different", "same")
    )
    assert first["characters"] == 34
    assert first["unknown_characters"] == second["unknown_characters"] == 8
    spelling = math.log(1_112_064 - 60)
    assert first["spelling_nats"] == pytest.approx(spelling)
    assert first["nats_per_char"] == pytest.approx(second["nats_per_char"])
    total = first["nats_per_char"] * 34
    known = first["known_only"]
    assert known["characters"] == 26
    of_unknown = total - known["nats_per_char"] * 26
    assert of_unknown > 8 * spelling + 8 * 2  # <unk> itself is not free
    assert of_unknown < 8 * spelling + 8 * 8
    assert first["bits_per_byte"] == pytest.approx(total / math.log(2) / (26 + 8 * 2))
    assert known["bits_per_byte"] == pytest.approx(known["bits_per_char"])
    uniform = first["baselines"]["uniform"]
    assert uniform["nats_per_char"] * 34 == pytest.approx(34 * math.log(61) + 8 * spelling)
    assert uniform["known_only"]["perplexity"] == pytest.approx(61)
    for name in ("unigram", "ngram"):
        other = first["baselines"][name]
        assert (
            other["nats_per_char"] * 34 > other["known_only"]["nats_per_char"] * 26 + 8 * spelling
        )
    assert first["baselines"]["xz"]["known_only"] is None
    lines = charlm("eval", "--text", "different.txt").out.splitlines()
    assert lines[0] == (
        "different.txt: 34 characters predicted, 8 of them unknown (23.5%); protocol carried"
    )
    assert lines[1].endswith("known bits/char")
    assert f"{known['bits_per_char']:.4f}" in lines[2]
    assert lines[-1].endswith(
        "many characters are not in the training text; train on text of this kind"
    )


def test_protocol_is_named_and_windows_start_from_zeros(trained, charlm):
    words = ("eval", "--split", "train", "--json")
    carried, windows = (charlm(*words, "--protocol", each).json for each in ("carried", "nanogpt"))
    assert (carried["protocol"], windows["protocol"]) == ("carried", "nanogpt")
    assert carried["characters"] == windows["characters"] == 3599
    assert carried["perplexity"] != windows["perplexity"]
    assert carried["perplexity"] == pytest.approx(windows["perplexity"], rel=0.05)
    shown = charlm("eval", "--protocol", "nanogpt").out
    assert shown.splitlines()[0].endswith("protocol nanogpt")
    assert "the n-gram, which reads on from window to window, by " in shown
    refused = charlm("eval", "--protocol", "gpt")
    assert (refused.code, refused.error) == (
        2, "eval.protocol is 'gpt'; it can be carried, nanogpt"
    )  # fmt: skip


@pytest.mark.parametrize("damage", ["moved", "changed"])
def test_a_text_is_scored_without_the_corpus(folder, charlm, damage):
    """The n-gram and xz need the training text; --corpus says where it lies now."""
    Path("book.txt").write_text("the time traveller came home\n" * 99)
    Path("mine.txt").write_text("the traveller came")
    small = ("--corpus", "book.txt", "--batch-size", 4, "--seq-len", 20, "--hidden-size", 8)
    assert charlm("train", *small, "--epochs", 1, "--device", "cpu", "--run", "./r").code == 0
    words = ("eval", "--run", "r", "--text", "mine.txt", "--json")
    whole = charlm(*words)
    Path("book.txt").rename("moved.txt")
    if damage == "changed":
        Path("book.txt").write_text("something else")
    alone = charlm(*words)
    (line,) = [line for line in alone.err.splitlines() if line.startswith("warning: ")]
    reason = {"moved": "no such file or folder: ", "changed": "is not the data that r was trained"}
    assert reason[damage] in line
    assert line.endswith(
        "; the unigram, the n-gram and xz are left out (use --corpus to say where the data is now)"
    )
    assert alone.json["baselines"] == {
        "uniform": whole.json["baselines"]["uniform"], "unigram": None, "ngram": None, "xz": None,
    }  # fmt: skip
    assert alone.json["perplexity"] == whole.json["perplexity"]
    assert alone.json["conclusion"] is alone.json["repeated"] is None
    assert "xz" in charlm(*words[:-1]).out
    found = charlm(*words, "--corpus", "moved.txt")
    assert "warning" not in found.err
    assert found.json | {"seconds": 0} == whole.json | {"seconds": 0}
    assert charlm("eval", "--run", "r").hint == "use --corpus to say where the data is now"
    assert charlm(*words, "--corpus", "mine.txt").code == 1


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


def test_a_text_through_standard_input_can_be_evaluated_later(folder, charlm):
    text = "one two three four five six seven. " * 60
    train = [sys.executable, "-m", "charlm", "train", "--corpus", "-", "--epochs", "1",
             "--batch-size", "4", "--seq-len", "10", "--hidden-size", "8", "--json",
             "--quiet"]  # fmt: skip
    done = subprocess.run(train, input=text.encode(), capture_output=True, check=True)
    result = json.loads(done.stdout)
    assert result["corpus"] == "stdin"
    assert charlm("eval", "--json").json["run"] == result["run"]


def test_verify_shows_agreement(charlm, monkeypatch):
    from charlm.recurrent import parity

    monkeypatch.setattr(parity, "compare_all", functools.cache(parity.compare_all))
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
        (["train", "x"], 2, "write --corpus before it; see"),
        (["tag", "train", "x"], 2, "write --data before it"),
        (["runs", "list", "x"], 2, "runs list --help"),
        (["train", "--run", "a\nb"], 2, "the name of a run has a control character"),
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
