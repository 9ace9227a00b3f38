import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch

from charlm.config import LanguageModelConfig, preset_names, settings_from_preset
from charlm.corpus import load_corpus
from charlm.corpus.reviews import load_reviews
from charlm.corpus.slots import load_slots
from charlm.errors import CorpusError, RunError, TrainingError
from charlm.evaluation.perplexity import evaluate
from charlm.runs import ClassifierRun, Run, TaggerRun
from charlm.training import Finished, Measured, Sampled, Started, Stepped, train
from charlm.training import loop as loop_module
from charlm.training import trainer as trainer_module

CPU = torch.device("cpu")


def events_of(kind, events):
    return [event for event in events if isinstance(event, kind)]


def weights(run, which="last"):
    return dict(run.load_model(which).named_parameters())


def same_weights(left, right, which="last"):
    ours, theirs = weights(left, which), weights(right, which)
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_events_come_in_order_and_tell_what_happened(train_small, corpus):
    _, events = train_small()
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished)
    assert events[0].train_size == len(corpus.split("train"))
    measured = events_of(Measured, events)
    assert [event.epoch for event in measured] == [1, 2, 3, 4, 5, 6]
    assert measured[-1].train < measured[0].train
    assert all(event.valid < len(corpus.vocabulary) for event in measured[1:])
    steps = events_of(Stepped, events)
    progress = [event.progress for event in steps]
    assert progress == sorted(progress)
    assert progress[-1] == 1
    assert events[-1].items == steps[-1].items == len(steps) * 8 * 20
    assert events[-1].train == measured[-1].train
    assert events[-1].valid == min(event.valid for event in measured)


def test_the_run_folder_holds_the_metrics_and_the_samples(train_small):
    run, events = train_small()
    opened = Run.open(run.folder)
    names = {"train": "train_perplexity", "valid": "valid_perplexity", "items": "characters"}
    assert opened.metrics == [
        {names.get(name, name): value for name, value in vars(event).items()}
        for event in events_of(Measured, events)
    ]
    assert opened.samples == [dict(vars(event)) for event in events_of(Sampled, events)]
    assert opened.samples[-1]["text"].startswith("The ")
    assert len(opened.samples[-1]["text"]) == len("The ") + run.config.training.sample_length


def test_the_best_weights_have_the_reported_validation_perplexity(train_small, corpus):
    run, events = train_small(training={"lr": 0.05})
    ids = torch.from_numpy(corpus.split("valid").copy())
    assert evaluate(run.load_model("best"), ids).perplexity == events[-1].valid
    last = events_of(Measured, events)[-1].valid
    assert evaluate(run.load_model("last"), ids).perplexity == pytest.approx(last, rel=1e-6)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(train_small):
    settings = {"model": {"weight_dropout": 0.2, "input_dropout": 0.1}}
    runs = [
        train_small(name, **settings, training={"seed": seed})[0]
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert same_weights(runs[0], runs[1])
    assert not same_weights(runs[0], runs[2])


@pytest.mark.parametrize("sampling", ["random", "consecutive"])
def test_validating_and_sampling_change_no_weight(tmp_path, train_small, sampling):
    """With dropout on, so that a stray draw from the global generator would show."""
    model = {"input_dropout": 0.2, "output_dropout": 0.2, "weight_dropout": 0.2}
    often, _ = train_small(
        "often",
        model=model,
        training={"sampling": sampling, "sample_every": 1, "prefixes": ["a", "b", "The "]},
    )
    whole = load_corpus("traveller", max_chars=4000)
    train_characters = len(whole.split("train"))
    alone = load_corpus("traveller", max_chars=4000, split=(train_characters, 0, 400))
    assert len(alone.split("valid")) == 0
    config = dataclasses.replace(
        often.config,
        training=dataclasses.replace(often.config.training, sample_every=10**6, prefixes=("a",)),
    )
    seldom = Run.create(tmp_path / "seldom", config, alone)
    events = list(train(seldom, alone, device=CPU))
    assert len(events_of(Sampled, events)) < len(often.samples)
    assert same_weights(often, seldom)


def test_bfloat16_products_leave_weights_and_scores_in_float32(train_small):
    run, events = train_small(training={"precision": "bfloat16", "weight_decay": 0.1})
    exact, expected = train_small("exact", training={"precision": "float32", "weight_decay": 0.1})
    assert {tensor.dtype for tensor in weights(run).values()} == {torch.float32}
    assert not same_weights(run, exact)
    assert events[-1].valid == pytest.approx(expected[-1].valid, rel=0.05)


def test_asked_to_stop_it_saves_and_ends(tmp_path, corpus):
    config = LanguageModelConfig.from_settings(
        [{"training": {"epochs": 5, "batch_size": 8, "seq_len": 20}}]
    )
    run = Run.create(tmp_path / "run", config, corpus)
    answers = iter([False] * 4 + [True] * 100)
    events = list(train(run, corpus, device=CPU, should_stop=lambda: next(answers)))
    assert events[-1].interrupted
    assert len(events_of(Stepped, events)) == 4  # it is asked before the first step too
    assert 0 < events[-1].epochs < 1
    assert weights(run)  # they can be read


def test_by_the_clock_it_ends_in_time_and_measures_inside_a_long_epoch(tmp_path, monkeypatch):
    """A clock that moves one second with each look makes the course of it certain."""
    seconds = iter(range(10**9))
    monkeypatch.setattr(trainer_module.time, "monotonic", lambda: float(next(seconds)))
    corpus = load_corpus("traveller")
    config = LanguageModelConfig.from_settings(
        [
            {
                "model": {"hidden_size": 8},
                "training": {"minutes": 2, "batch_size": 2, "seq_len": 10, "prefixes": ["a"]},
            }
        ]
    )
    run = Run.create(tmp_path / "run", config, corpus)
    events = list(train(run, corpus, device=CPU))
    measured = events_of(Measured, events)
    assert 0 < events[-1].epochs < 1
    assert len(measured) >= 3
    assert measured[-1].learning_rate < 0.05 * run.config.training.lr
    assert all(event.epoch < 1 for event in measured)
    assert events_of(Sampled, events)[-1].epoch == measured[-1].epoch


def test_with_epochs_and_minutes_the_first_to_come_ends_it(train_small):
    _, by_epochs = train_small("epochs", training={"epochs": 6, "minutes": 60})
    assert by_epochs[-1].epochs == 6
    assert by_epochs[-1].seconds < 60
    _, by_clock = train_small("clock", training={"epochs": 10**6, "minutes": 0.01})
    assert 0 < by_clock[-1].epochs < 10**6
    assert by_clock[-1].seconds >= 0.6


def test_samples_come_as_often_as_asked(train_small):
    _, events = train_small(training={"sample_every": 2})
    assert [event.epoch for event in events_of(Sampled, events)] == [2, 4, 6]


@pytest.mark.parametrize("lr", [1e30, 1e38])
def test_a_loss_that_is_not_finite_stops_before_the_update(train_small, tmp_path, lr):
    with pytest.raises(TrainingError, match="not finite at step") as caught:
        train_small(
            model={"cell": "rnn-relu", "backend": "scratch", "embedding": "one-hot"},
            training={"optimiser": "sgd", "clip_norm": 0, "lr": lr, "epochs": 30},
        )
    assert "--lr" in caught.value.hint
    folder = tmp_path / "run"
    if Run.open(folder).checkpoint is not None:
        kept = weights(Run.open(folder))
        assert all(bool(tensor.isfinite().all()) for tensor in kept.values())


def test_the_weights_before_a_bad_step_are_kept(train_small, tmp_path, monkeypatch):
    good = []

    def clip(parameters, max_norm):
        if len(good) == 5:
            return math.inf
        good.append(1)
        return 1.0

    monkeypatch.setattr(trainer_module, "clip_gradients", clip)
    with pytest.raises(TrainingError, match="gradient is not finite at step 6"):
        train_small()
    kept = Run.open(tmp_path / "run")
    monkeypatch.undo()
    again, _ = train_small("again", training={"epochs": 1})
    assert not same_weights(kept, again)
    assert all(bool(tensor.isfinite().all()) for tensor in weights(kept).values())


def test_a_text_shorter_than_a_batch_says_what_it_needs(tmp_path):
    corpus = load_corpus("traveller", max_chars=1000)
    run = Run.create(tmp_path / "run", LanguageModelConfig(), corpus)
    with pytest.raises(CorpusError, match=r"900 characters.*needs 1,") as caught:
        list(train(run, corpus, device=CPU))
    assert "--batch-size" in caught.value.hint


def test_a_full_disk_ends_training_with_one_line(train_small, monkeypatch):
    def full(self, **kinds):
        raise RunError("cannot write it: No space left on device")

    monkeypatch.setattr(Run, "save", full)
    with pytest.raises(RunError, match="No space left"):
        train_small()


def test_every_line_of_the_metrics_is_json(train_small):
    run, _ = train_small()
    lines = Path(run.checkpoint.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3, 4, 5, 6]


# What all tasks have in common


def test_each_kind_of_run_has_a_task_that_it_is_trained_on():
    assert {*loop_module.TASKS} == {Run, ClassifierRun, TaggerRun}
    names = {kind.task: kind for kind in loop_module.TASKS}
    assert names == {"language-model": Run, "classify": ClassifierRun, "tag": TaggerRun}
    for kind in loop_module.TASKS:
        assert kind.config_type.task == kind.task
        assert kind.config_type.from_settings([preset_layer(kind)])
        train_figure, valid_figure = kind.figures
        assert train_figure.startswith("train_")
        assert valid_figure.startswith("valid_")


def preset_layer(kind):
    return settings_from_preset(kind.task, preset_names(kind.task)[0])


@pytest.fixture
def small_runs(tmp_path):
    """A run of each task with what it is trained on, by its name."""
    folder = tmp_path / "examples"
    for split in ("train", "valid", "test"):
        (folder / split).mkdir(parents=True)
        (folder / split / "seq.in").write_text("to boston\nnow\n" * 6)
        (folder / split / "seq.out").write_text("O B-place\nO\n" * 6)
    (tmp_path / "examples.csv").write_text("text,label\n" + "so good,1\nso bad,0\n" * 12)
    small = {"hidden_size": 4}
    configs = {
        "language-model": {"corpus": {"max_chars": 2000}, "training": {"prefixes": ["The "]}},
        "classify": {"corpus": {"source": str(tmp_path / "examples.csv")}},
        "tag": {"corpus": {"source": str(folder), "buckets": 9}},
    }
    loaders = {
        "language-model": lambda about: load_corpus("traveller", max_chars=about.max_chars),
        "classify": load_reviews,
        "tag": load_slots,
    }
    made = {}
    for kind in loop_module.TASKS:
        common = {"model": small, "training": {"epochs": 2, "batch_size": 4, "patience": None}}
        config = kind.config_type.from_settings([common, configs[kind.task]])
        corpus = loaders[kind.task](config.corpus)
        made[kind.task] = kind.create(tmp_path / kind.task, config, corpus), corpus
    return made


@pytest.mark.parametrize("task", ["language-model", "classify", "tag"])
def test_all_tasks_are_trained_by_the_same_loop(small_runs, task):
    """Begun, measured, kept, and stopped in one way; what is counted and measured has its name."""
    run, corpus = small_runs[task]
    events = list(train(run, corpus, device=CPU))
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished)
    assert (events[-1].epochs, events[-1].interrupted) == (2, False)
    opened = type(run).open(run.folder)
    assert opened.metrics[-1].keys() == {
        "epoch", "step", "learning_rate", "seconds", *run.figures, run.unit,
    }  # fmt: skip
    assert opened.metrics[-1][run.unit] == events[-1].items
    values = [row[run.figures[1]] for row in opened.metrics]
    best = min(values) if task == "language-model" else max(values)
    assert opened.training["position"]["best_valid"] == events[-1].valid == best
    assert [event.text for event in events_of(Sampled, events)] == [
        sample["text"] for sample in opened.samples
    ]
    assert bool(opened.samples) == (task == "language-model")
