"""Train, resume, eval and predict: the same tests for the tasks."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from charlm.cli import run
from charlm.errors import CorpusError
from charlm.runs import Run
from charlm.tasks import TASKS
from charlm.training.trainer import Trainer

SPLITS = {"train": 30, "valid": 10, "test": 10}
PLACES = ("new york|B-to I-to", "Boston|B-to", "denver|B-to")


def write_text(path: Path, sizes: dict[str, int]) -> None:
    path.write_text("the time traveller came home\n" * 4 * sum(sizes.values()))


def write_labelled(path: Path, sizes: dict[str, int]) -> None:
    with path.open("w") as file:
        for split, size in sizes.items():
            for number in range(size):
                label = ("bad", "good")[number % 2]
                text = f"the film was {label} {'indeed ' * (number // 2 % 4)}"
                file.write(json.dumps({"split": split, "label": label, "text": text}) + "\n")


def write_tagged(path: Path, sizes: dict[str, int]) -> None:
    for split, size in sizes.items():
        (path / split).mkdir(parents=True)
        rows = [PLACES[number % len(PLACES)].split("|") for number in range(size)]
        (path / split / "seq.in").write_text("".join(f"to {words}\n" for words, _ in rows))
        (path / split / "seq.out").write_text("".join(f"O {tags}\n" for _, tags in rows))


@dataclass(frozen=True)
class Kind:
    """How a task is tested."""

    name: str
    data: str
    """The file or folder that `write` makes."""
    write: Callable[[Path, dict[str, int]], None]
    small: str
    """Options for a small network."""
    use: tuple[str, ...]
    """A command that uses a trained run."""

    @property
    def task(self):
        return TASKS[self.name]

    @property
    def command(self) -> list[str]:
        return self.task.command.split()[1:]

    @property
    def train(self) -> list[str]:
        source = [self.task.source_option, self.data]
        return [*self.command, "train", *source, "--device", "cpu", *self.small.split()]

    @property
    def scored(self) -> str:
        """The key of the metric that eval shows for its default split."""
        return self.task.valid_metric.key("test")


KINDS = [
    Kind(
        "language-model", "mine.txt", write_text,
        "--hidden-size 8 --batch-size 4 --seq-len 20 --set sample_length=5",
        ("generate", "--length", "5"),
    ),
    Kind(
        "classify", "mine.jsonl", write_labelled,
        "--hidden-size 4 --batch-size 8 --set buckets=50", ("classify", "predict", "good"),
    ),
    Kind(
        "tag", "mine", write_tagged,
        "--hidden-size 8 --batch-size 8 --set buckets=50 --set embedding_size=8",
        ("tag", "predict", "to boston"),
    ),
]  # fmt: skip
NAMES = [kind.name for kind in KINDS]


@pytest.fixture(scope="module", params=KINDS, ids=NAMES)
def kind(request):
    return request.param


@pytest.fixture
def data(folder, kind):
    """The data of the task, in the working folder."""
    kind.write(folder / kind.data, SPLITS)
    return folder / kind.data


@pytest.fixture(scope="module")
def _trained(tmp_path_factory):
    """A run of each task, each in a folder of its name, trained for one epoch."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for each in KINDS:
            each.write(folder / each.data, SPLITS)
            assert run([*each.train, "--epochs", "1", "--quiet", "--run", f"./{each.name}"]) == 0
    return folder


@pytest.fixture
def trained(folder, _trained):
    """Copies of these runs in the working folder."""
    for name in NAMES:
        shutil.copytree(_trained / name, folder / name)
    return folder


# Train


def test_train_json_has_the_contracts_keys(kind, data, charlm):
    found = charlm(*kind.train, "--epochs", 2, "--json", "--seed", 5)
    result, unit = found.json, kind.task.unit
    assert result.keys() >= {
        "run", "task", "corpus", "cell", "backend", "parameters", "device", "seed", "epochs",
        f"{unit}_seen", "seconds", f"{unit}_per_second", *kind.task.metric_keys, "interrupted",
        "seconds_with_set_up", f"valid_{unit}", f"valid_{unit}_scored",
    }  # fmt: skip
    assert result["seconds_with_set_up"] >= result["seconds"]
    assert result[f"valid_{unit}_scored"] == result[f"valid_{unit}"] > 0
    values = ("task", "corpus", "cell", "device", "seed", "epochs", "interrupted")
    assert [result[key] for key in values] == [kind.name, "mine", "lstm", "cpu", 5, 2, False]
    assert result[f"{unit}_seen"] > 0
    assert ("samples" in result) == kind.task.has_samples
    folder = Path(result["run"])
    assert re.fullmatch(r"checkpoints/\d{8}-\d{6}-mine-lstm", folder.as_posix())
    assert json.loads((folder / "summary.json").read_text()) == result
    assert Run.open(folder).new_model().num_parameters() == result["parameters"]
    assert f"training lstm (torch), {result['parameters']:,} parameters" in found.err
    for split in ("valid", "test"):
        key = kind.task.valid_metric.key(split)
        scores = charlm(*kind.command, "eval", "--json", "--split", split).json
        name = key if kind.task.tests_at_end else "perplexity"
        assert scores[name] == pytest.approx(result.get(key, scores[name]), rel=1e-5)
    default = charlm(*kind.command, "eval", "--json").json
    assert (default["split"], default["run"]) == ("test", result["run"])


def test_train_says_what_to_type_next_and_that_works(kind, data, charlm):
    code, out, err = charlm(*kind.train, "--epochs", 2, "--quiet", "--run", "./my run")
    assert (code, err) == (0, "")
    first, *metrics, last, report, following = out.splitlines()
    assert re.fullmatch(rf"trained after 2 epochs, 0:\d\d, [\d,]+ {kind.task.unit}/s", first)
    train, valid = kind.task.metric_titles()
    titles = [train, valid, *[kind.task.valid_metric.title("test")] * kind.task.tests_at_end]
    count = len(titles)
    assert [re.sub(r" [\d.]+%?( \(.*\))?$", "", line) for line in metrics[:count]] == titles
    assert metrics[0].endswith(" (last epoch)")
    words = r".* \(best, after ([\d.]+ epochs|1 epoch); last [\d.]+%?\)"
    assert re.fullmatch(words, metrics[1])
    assert metrics[count].startswith("gradient norm ")
    assert bool(metrics[count + 2 :]) == (kind.name == "language-model")
    assert last == "run my run"
    assert report == f"report {Path('my run') / 'report.html'}"
    assert following.startswith(f"next: {kind.task.next_command(Run.open('my run'))}")
    assert following.endswith(" --run 'my run'")
    assert charlm(*kind.use, "--run", "my run").code == 0


def test_log_is_no_setting_of_the_run(kind, data, charlm, monkeypatch):
    train, folder = [*kind.train, "--run", "a", "--epochs", 1], Path("checkpoints/a")
    log = ("--log", "tensorboard")
    refused = charlm(*train, "--log", "tensorbord")
    assert (refused.code, refused.error) == (2, "unknown logger: 'tensorbord'")
    with monkeypatch.context() as patch:
        patch.delitem(sys.modules, "charlm.training.tensorboard", raising=False)
        patch.setitem(sys.modules, "torch.utils.tensorboard", None)
        missing = charlm(*train, *log)
        assert (missing.code, missing.hint) == (1, 'pip install "charlm[tensorboard]"')
    assert not folder.exists()
    assert charlm(*train).code == 0
    resumed = [*kind.command, "train", "--resume", "--run", "a", "--quiet", "--epochs"]
    for epochs, more in ((2, log), (3, ())):
        done = charlm(*resumed, epochs, *more)
        assert (done.code, done.err) == (0, "")
        assert len(list((folder / "tensorboard").glob("events.*"))) == 1
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert rows == Run.open(folder).metrics


@pytest.mark.parametrize(
    ("kind", "sizes", "options", "empty", "default"),
    [
        (KINDS[0], SPLITS, "--set split=1,0,0",
         ["valid_perplexity", "last_valid_perplexity", "best_epoch", "ngram_perplexity", "repeated",
          "conclusion", "mixture"], "train"),
        (KINDS[1], {"train": 50}, "--set valid=0 --set test=0",
         ["valid_accuracy", "last_valid_accuracy", "best_epoch", "test_accuracy"], "train"),
        (KINDS[2], {"train": 30}, "", ["test_f1"], "valid"),
    ],
    ids=NAMES,
)  # fmt: skip
def test_without_a_split_its_metric_is_null(folder, charlm, kind, sizes, options, empty, default):
    kind.write(folder / kind.data, sizes)
    result = charlm(*kind.train, *options.split(), "--epochs", 1, "--json").json
    assert [key for key, value in result.items() if value is None] == empty
    assert charlm(*kind.command, "eval", "--json").json["split"] == default
    refused = charlm(*kind.command, "eval", "--split", "test")
    assert (refused.code, refused.error) == (2, "the test split is empty")


def test_dry_run_writes_nothing(kind, data, charlm, folder):
    before = sorted(folder.rglob("*"))
    plan = charlm(*kind.train, "--dry-run", "--json", "--cell", "gru").json
    assert (plan["task"], plan["corpus"], plan["device"]) == (kind.name, "mine", "cpu")
    assert plan["split"].keys() == SPLITS.keys()
    assert plan["parameters"] > 0
    assert plan["config"]["model"]["cell"] == "gru"
    assert plan["config"]["corpus"]["source"] == str(data)
    out = charlm(*kind.train, "--dry-run").out
    assert out.startswith("corpus mine: ")
    some = r"( \([\d,]+ in tables of n-grams\))?"
    model = rf"^model: [a-z]+ \((torch|scratch)\), [\d,]+ parameters{some}, on cpu$"
    assert re.search(model, out, re.MULTILINE)
    assert "\n[training]\n" in out
    line = next(line for line in out.splitlines() if line.startswith("device "))
    assert line.split(maxsplit=3)[1:] == ["cpu", "option", "The device to train on."]
    assert sorted(folder.rglob("*")) == before


def test_a_configuration_file_and_options_over_it(kind, data, charlm):
    Path("mine.toml").write_text(
        f'[corpus]\nsource = "{data.name}"\n[model]\ncell = "rnn"\nhidden_size = 8\n'
        "[training]\nepochs = 7\nseed = 5\n"
    )
    options = ("--config", "mine.toml", "--hidden-size", 12, "--set", "seed=9")
    plan = charlm(*kind.command, "train", *options, "--dry-run", "--json").json
    config, origins = plan["config"], plan["origins"]
    assert config["corpus"]["source"] == str(data)
    assert origins.keys() == config.keys()
    assert origins["corpus"]["source"] == origins["model"]["cell"] == "file"
    assert (origins["model"]["hidden_size"], origins["training"]["seed"]) == ("option", "--set")
    assert (origins["training"]["minutes"], origins["training"]["lr"]) == ("file", "default")
    assert (config["model"]["cell"], config["model"]["hidden_size"]) == ("rnn", 12)
    training = config["training"]
    assert (training["epochs"], training["minutes"], training["seed"]) == (7, None, 9)


@pytest.mark.parametrize("setting", ["device=abacus", "precision=bfloat16"])
def test_what_the_device_cannot_do_is_refused_first(kind, data, charlm, monkeypatch, setting):
    monkeypatch.setattr("charlm.device.computes_in_bfloat16", lambda device: False)
    refused = charlm(*kind.train, "--set", setting, "--run", "run")
    assert refused.code == 2
    assert re.search("no device 'abacus' here|the device cpu cannot compute in", refused.error)
    assert not Path("checkpoints").exists()


# Resume


@pytest.mark.usefixtures("handled")
def test_an_interrupted_training_resumes_to_the_same_end(kind, data, charlm, monkeypatch):
    words = (*kind.train, "--epochs", 4, "--json", "--run")
    undisturbed = charlm(*words, "undisturbed").json
    update, steps = Trainer.update, iter(range(1000))

    def interrupted(self):
        if next(steps) == 6:
            signal.raise_signal(signal.SIGINT)
        return update(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "update", interrupted)
        code, out, _ = charlm(*words, "run")
    assert code == 130
    assert json.loads(out)["interrupted"]
    assert json.loads(out).get(kind.scored) is None
    resumed = charlm(*words, "run", "--resume")
    assert "resuming after " in resumed.err
    keys = [*kind.task.metric_keys, "epochs", f"{kind.task.unit}_seen"]
    keys += [kind.scored] * kind.task.tests_at_end
    assert [resumed.json[key] for key in keys] == [undisturbed[key] for key in keys]
    for weights in ("last", "best"):
        ours, theirs = (Run.open(name).read_weights(weights) for name in ("run", "undisturbed"))
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


@pytest.mark.usefixtures("handled")
def test_a_signal_while_a_split_is_scored(charlm, monkeypatch, folder):
    """The training is complete; resuming it scores the test split."""
    kind = KINDS[2]
    kind.write(folder / kind.data, SPLITS)
    from charlm.tasks.tagging import scores

    def predict_tags(model, sentences, *arguments, predict=scores.predict_tags, **options):
        if "should_stop" in options:
            signal.raise_signal(signal.SIGINT)
        return predict(model, sentences, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(scores, "predict_tags", predict_tags)
        code, out, _ = charlm(*kind.train, "--epochs", 1, "--set", "valid=0.1", "--json")
        result = json.loads(out)
        assert (code, result["epochs"], result["test_f1"]) == (130, 1, None)
        assert charlm("tag", "eval", "--json")[:2] == (130, "")
    resumed = charlm("tag", "train", "--resume", "--json")
    assert "this training is already complete" in resumed.err
    assert resumed.json["test_f1"] is not None


def test_the_newest_run_of_the_task_is_resumed_and_used(kind, trained, charlm):
    for number, each in enumerate([kind, *(each for each in KINDS if each != kind)]):
        shutil.move(each.name, f"checkpoints/{each.name}")
        os.utime(f"checkpoints/{each.name}/run.json", (number, number))
    run_line = f"run: {Path('checkpoints', kind.name)}"
    for command in (kind.use, (*kind.command, "eval")):
        found = charlm(*command)
        assert (found.code, found.err.splitlines()[0]) == (0, run_line)
    resume = (*kind.command, "train", "--resume")
    assert charlm(*resume, "--epochs", 2, "--json").json["epochs"] == 2
    again = charlm(*resume)
    assert again.code == 0
    hint = "give more --epochs or --minutes to train longer"
    assert f"this training is already complete; {hint}" in again.err
    assert len(list(Path("checkpoints").iterdir())) == len(KINDS)


def test_settings_that_cannot_change_are_named(kind, trained, charlm):
    words = (*kind.command, "train", "--resume", "--run", kind.name)
    refused = charlm(*words, "--cell", "gru", "--seed", 3)
    assert refused.code == 2
    assert refused.error == (
        f"{kind.name} cannot resume with other settings: model.cell is lstm in the run, not gru; "
        "training.seed is 0 in the run, not 3"
    )
    assert refused.hint == "leave them out to resume; or train a new run, without --resume"


def test_other_data_is_refused_and_moved_data_is_accepted(kind, data, charlm):
    assert charlm(*kind.train, "--epochs", 1, "--run", "run").code == 0
    moved, other = (data.with_name(name + data.suffix) for name in ("moved", "other"))
    data.rename(moved)
    kind.write(other, {**SPLITS, "train": 20})
    option = kind.task.source_option
    resume, evaluate = ("train", "--resume", "--epochs", 2), ("eval",)
    for command in (evaluate, resume):
        words = (*kind.command, *command, "--run", "run")
        missing = charlm(*words)
        assert (missing.code, missing.hint) == (1, f"use {option} to say where the data is now")
        refused = charlm(*words, option, other)
        assert refused.code == 1
        wrong = f"{other} is not the data that {Path('checkpoints/run')} was trained on: "
        assert wrong in refused.error
        assert refused.hint == f"name the right data with {option}"
        assert charlm(*words, option, moved).code == 0
    assert charlm(*kind.command, "eval", "--run", "run").code == 0  # the new place is kept


def test_out_of_patience(charlm, folder):
    kind = KINDS[1]
    kind.write(folder / kind.data, SPLITS)
    options = ("--lr", 1e-30, "--run", "r", "--epochs", 9, "--patience", 2)
    assert "stopped improving: ended after 3 epochs" in charlm(*kind.train, *options).out
    again = ("classify", "train", "--resume", "--run", "r")
    hint = "it stopped improving; give a larger --patience to train longer"
    assert f"this training is already complete; {hint}" in charlm(*again, "--epochs", 10).err
    assert "stopped improving: ended after 5 epochs" in charlm(*again, "--patience", 4).out


# Runs


def refuse(self):
    raise CorpusError("the data is gone")


def test_runs_of_all_tasks_are_listed_shown_and_compared(trained, charlm, monkeypatch):
    assert "no runs under checkpoints" in charlm("runs", "list").err
    Path("checkpoints").mkdir()
    for name in NAMES:
        Path(name).rename(Path("checkpoints", name))
    rows = {row["task"]: row for row in charlm("runs", "list", "--json").json["runs"]}
    assert rows.keys() == {*NAMES}
    for kind in KINDS:
        assert rows[kind.name].keys() >= {*kind.task.metric_keys}
        code, out, _ = charlm("runs", "show", kind.name)
        assert code == 0
        assert "cell = lstm\n" in out
        titles = (*kind.task.metric_titles(), "norm", "largest", "clipped", "time")
        assert re.search(rf"^epoch +{' +'.join(titles)}$", out, re.M)
        shown = charlm("runs", "show", kind.name, "--json").json
        summary = json.loads(Path("checkpoints", kind.name, "summary.json").read_text())
        for key in ("gradient_norm", "largest_gradient_norm", "clipped_share"):
            assert shown[key] == summary[key] >= 0
            assert shown["metrics"][-1][key] is not None
    assert {line.split()[0] for line in charlm("runs", "list").out.splitlines()[1:]} == {*NAMES}
    baselines = ("n-gram", "always ", "the most frequent tag of each word")
    for kind in KINDS:
        code, _, err = charlm("runs", "show", kind.name, "--plot", "curve.svg")
        assert (code, "picture: curve.svg" in err) == (0, True)
        texts = set(re.findall("<!-- (.*) -->", Path("curve.svg").read_text("utf-8")))
        wanted = {*kind.task.metric_titles(), "learning rate", "largest", f"{kind.task.unit} seen"}
        assert texts > {*wanted, "clip norm", "seconds"}
        assert not texts & {"valid, of the weights", "clipped"}  # without data
        assert any(text.startswith(baselines) for text in texts)
    with monkeypatch.context() as patch:
        patch.setattr(Run, "load_corpus", refuse)
        told = charlm("runs", "show", "tag", "--plot", "curve.svg").err
    assert "the data is gone: the picture has no baselines\n" in told
    with monkeypatch.context() as patch:
        patch.setattr("charlm.cli.runs.SHOWN", 1)
        assert "\nthe last 1 of " in charlm("runs", "show", "tag").out
    refused = charlm("runs", "show", "tag", "--plot", "curve.jpg")
    assert (refused.code, refused.hint) == (2, "known: .png, .svg, .pdf")
    compared = charlm("runs", "compare", "classify", "tag", "--json")
    assert compared.json["differing"]["model.features"] == ["mean-max", None]
    assert "warning: the runs differ in their data, splits or cleaning" in compared.err
    assert "model.features" in charlm("runs", "compare", "classify", "tag").out
    monkeypatch.setenv("COLUMNS", "80")
    lines = charlm("runs", "compare", "classify", "tag", "tag", "classify").out.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split() for line in lines[1:5]] == [
        ["1", "classify"], ["2", "tag"], ["3", "tag"], ["4", "classify"],
    ]  # fmt: skip
    assert lines[6].split() == ["1", "2", "3", "4"]
    values = {line.split()[0]: line.split()[1:] for line in lines[7 : lines.index("", 7)]}
    assert values["cell"] == ["lstm"] * 4
    assert values["model.features"] == ["mean-max", "none", "none", "mean-max"]
    assert values["group"] == ["A", "B", "B", "A"]
    twice = charlm("runs", "compare", "tag", "tag", "--json", "--plot", "c.svg", "--html", "c.html")
    assert twice.json["differing"] == {}
    (group,) = twice.json["groups"]
    assert (group["seeds"], group["metric"]) == ([0, 0], "valid_f1")
    assert group["mean"] == group["min"] == rows["tag"]["valid_f1"]
    assert "picture: c.svg\n" in twice.err
    assert "page: c.html\n" in twice.err
    assert Path("c.svg").read_bytes().startswith(b"<?xml")
    assert b"valid F1 of 1 group of runs" in Path("c.html").read_bytes()
    assert twice.json["conclusions"] == [
        "the run tag has the same settings and seed as tag, so it is not counted"
    ]
    refused = charlm("runs", "compare", "tag", "classify", "--html", "none/c.html")
    assert refused.error == "--html 'none/c.html' is in a folder that does not exist"
    assert charlm("runs", "compare", "tag").error == "a comparison needs at least two runs"


def commands(kind):
    """The commands of a task that read a run."""
    words = [[*kind.use], [*kind.command, "eval"], [*kind.command, "train", "--resume"]]
    return words + ([["inspect", "--memory"]] if kind.task.has_samples else [])


def test_a_run_of_another_task_is_refused(kind, trained, charlm):
    for other in KINDS:
        for command in commands(kind):
            if other != kind:
                refused = charlm(*command, "--run", other.name)
                assert (refused.code, refused.error) == (
                    1,
                    f"{other.name} is a run of {other.task.command} train, not of "
                    f"{kind.task.command} train",
                )
                assert refused.hint == f"see {other.task.command} --help"


def test_without_a_run_the_hint_says_how_to_train_one(kind, charlm):
    for command in commands(kind):
        refused = charlm(*command)
        assert refused.code == 1
        assert refused.hint == f"train one: {kind.task.command} train"
        refused = charlm(*command, "--run", "nowhere")
        assert refused.code == 1
        assert refused.error.startswith("nowhere is not a run folder")


@pytest.mark.parametrize("name", ["vocabulary.json", "run.json"])
def test_a_damaged_run_is_one_line(kind, trained, charlm, name):
    path = Path(kind.name, name)
    whole = path.read_bytes()
    for content in (b"", whole[:-9], whole.replace(b"o", b"0")):
        path.write_bytes(content)
        for command in commands(kind):
            refused = charlm(*command, "--run", kind.name)
            assert refused.code == 1
            assert refused.error.startswith(f"{path} is damaged: ")


def test_a_damaged_checkpoint_is_skipped_with_a_warning(kind, trained, charlm):
    resume = (*kind.command, "train", "--resume", "--run", kind.name, "--epochs", 2)
    assert charlm(*resume, "--quiet").code == 0
    newest = max(Path(kind.name).glob("checkpoint-*"))
    (newest / "best.safetensors").write_bytes(b"")
    code, _, err = charlm(*kind.command, "eval", "--run", kind.name)
    assert code == 0
    assert err.count("warning: ") == 1
    assert re.search(r"best.safetensors is damaged: .*; using checkpoint-\d+ instead", err)


def test_fine_tuning_shows_the_perplexity_before_training(charlm, folder):
    """And what the model knows; the summary has both."""
    kind = KINDS[0]
    kind.write(folder / kind.data, SPLITS)
    first = charlm(*kind.train, "--epochs", 1, "--run", "old", "--json").json
    assert "start_valid_perplexity" not in first
    words = ("train", "--corpus", kind.data, "--from-run", "old", "--epochs", 1, "--device", "cpu")
    outcome = charlm(*words, "--batch-size", 4, "--seq-len", 10, "--run", "new")
    value = f"{first['valid_perplexity']:.3f}"
    assert f"before training: valid perplexity {value}" in outcome.err
    assert f"before training, valid perplexity {value}" in outcome.out
    assert "characters of this text" in outcome.err
    summary = json.loads(Path("checkpoints/new/summary.json").read_text())
    assert summary["start_valid_perplexity"] == first["valid_perplexity"]
    assert summary["valid_perplexity"] <= first["valid_perplexity"]
    assert charlm("runs", "show", "new").out.count("\n0 ") == 1
