"""The training loop: its events, when it ends, and its errors."""

import dataclasses

import pytest
import torch

from charlm.errors import CorpusError, RunError, TrainingError
from charlm.runs import Run
from charlm.tasks.language_model.config import LanguageModelConfig
from charlm.tasks.language_model.corpus import load_corpus
from charlm.tasks.language_model.perplexity import evaluate
from charlm.training import Finished, Measured, Sampled, Started, Stepped, train
from charlm.training.loop import open_trainer

CPU = torch.device("cpu")


def events_of(kind, events):
    return [event for event in events if isinstance(event, kind)]


def weights(run, which="last"):
    return dict(run.load_model(which).named_parameters())


def same_weights(left, right, which="last"):
    ours, theirs = weights(left, which), weights(right, which)
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_order_and_content_of_events(train_small, corpus):
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


def test_best_weights_have_the_reported_validation_perplexity(train_small, corpus):
    run, events = train_small(training={"lr": 0.05})
    ids = torch.from_numpy(corpus.split("valid").copy())
    assert evaluate(run.load_model("best"), ids).perplexity == events[-1].valid
    last = events_of(Measured, events)[-1].valid
    assert evaluate(run.load_model("last"), ids).perplexity == pytest.approx(last, rel=1e-6)


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
    assert events[-1].valid == pytest.approx(expected[-1].valid, rel=0.1)


def test_by_the_clock_it_ends_in_time_and_measures_inside_a_long_epoch(tmp_path, monkeypatch):
    """A clock that moves one second with each look makes the course of it certain."""
    seconds = iter(range(10**9))
    monkeypatch.setattr("time.monotonic", lambda: float(next(seconds)))
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
    assert events_of(Stepped, by_clock)[-1].progress == 1


def test_samples_every_two_epochs(train_small):
    _, events = train_small(training={"sample_every": 2})
    assert [event.epoch for event in events_of(Sampled, events)] == [2, 4, 6]


@pytest.mark.parametrize("lr", [1e30, 1e38])
def test_loss_that_is_not_finite_stops_before_the_update(train_small, tmp_path, lr):
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


def test_text_shorter_than_a_batch_says_what_it_needs(tmp_path):
    corpus = load_corpus("traveller", max_chars=1000)
    run = Run.create(tmp_path / "run", LanguageModelConfig(), corpus)
    with pytest.raises(CorpusError, match=r"900 characters.*needs 1,") as caught:
        list(train(run, corpus, device=CPU))
    assert "--batch-size" in caught.value.hint


def test_full_disk_ends_training_with_one_line(train_small, monkeypatch):
    def full(self, **kinds):
        raise RunError("cannot write it: No space left on device")

    monkeypatch.setattr(Run, "save", full)
    with pytest.raises(RunError, match="No space left"):
        train_small()


# All tasks


def test_events_and_metrics(small, follow):
    run, task, (train_size, valid_size, _) = small.new_run(), small.task, small.corpus.split_sizes
    events = follow(run, small.corpus)
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished)
    assert events[0].parameters == run.new_model().num_parameters()
    if task.name == "tag":
        train_size, valid_size = (
            sum(len(row.words) for row in small.corpus.data.splits[name])
            for name in ("train", "valid")
        )
    assert (events[0].train_size, events[0].valid_size) == (train_size, valid_size)
    assert len(events_of(Stepped, events)) == 3 * small.steps
    measured = events_of(Measured, events)
    assert {small.steps, 2 * small.steps, 3 * small.steps} <= {event.step for event in measured}
    opened = Run.open(run.folder)
    names = {"train": task.metric_keys[0], "valid": task.metric_keys[1], "items": task.unit}
    names |= {kind: f"{kind}_{task.metric_keys[1]}" for kind in ("raw", "averaged")}
    assert opened.metrics == [
        {names.get(name, name): value for name, value in vars(event).items()} for event in measured
    ]
    assert opened.samples == [dict(vars(event)) for event in events_of(Sampled, events)]
    assert bool(opened.samples) == task.has_samples
    values = [event.valid for event in measured]
    best = max(values) if task.valid_metric.higher_is_better else min(values)
    assert opened.training["progress"]["best_valid"] == best
    assert events[-1] == Finished(
        epochs=3,
        seconds=events[-1].seconds,
        items=measured[-1].items,
        train=measured[-1].train,
        valid=best,
        last_train=measured[-1].train,
        last_valid=measured[-1].valid,
        best_epoch=next(event.epoch for event in measured if event.valid == best),
        interrupted=False,
        scored=valid_size,
    )


@pytest.mark.parametrize("kind", ["language-model", "lines", "classify", "tag"])
def test_sample_of_the_validation_split_is_scored(make_small, kind):
    small = make_small(kind)
    trainer, _ = open_trainer(small.new_run(), small.corpus, CPU)
    objective, model = trainer.objective, trainer.model
    whole = next(trainer.reports.make(lambda: False)).valid
    sizes = {1, objective.valid_size // 3, objective.valid_size // 2, objective.valid_size - 1}
    scores = {size: objective.score(model, size, lambda: False) for size in sizes}
    assert all(0 <= score < 1000 for score in scores.values())
    assert objective.score(model, objective.valid_size, lambda: False) == whole


def test_a_stop_inside_an_epoch_says_what_was_trained_there(small, follow):
    """In the first epoch, there after resuming, and in the second epoch."""
    run, loss = small.new_run(), {}
    for stop_after in (2, 3, small.steps + 2):
        events = follow(Run.open(run.folder), small.corpus, stop_after)
        steps, end = events_of(Stepped, events), events[-1]
        loss |= {(step.epoch, step.items): step.metric for step in steps}
        assert end.interrupted
        assert end.last_train == steps[-1].metric
        if stop_after < small.steps:
            assert end.train == end.last_train
    whole = max(items for epoch, items in loss if epoch == 1)
    assert end.train == loss[1, whole] != end.last_train
    assert end.best_epoch <= 1


def test_caller_may_leave_the_loop(small, follow, checkpoint_content):
    run, undisturbed = small.new_run(), small.new_run()
    follow(undisturbed, small.corpus)
    events = train(run, small.corpus, device=CPU)
    for event in events:
        if isinstance(event, Stepped):
            break
    events.close()
    assert Run.open(run.folder).training["progress"]["step"] == 1
    follow(Run.open(run.folder), small.corpus)
    assert checkpoint_content(run) == checkpoint_content(undisturbed)
