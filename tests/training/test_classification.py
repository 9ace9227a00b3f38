"""Training a classifier: it learns, repeats, keeps the best, and goes on to the last bit."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import random

import pytest
import torch

from charlm.config import ClassificationConfig, LanguageModelConfig
from charlm.corpus import load_corpus
from charlm.corpus.reviews import load_reviews
from charlm.errors import CorpusError, RunError, TrainingError, UsageError
from charlm.evaluation.classification import class_logits, class_scores
from charlm.runs import ClassifierRun, Run
from charlm.training import Finished, Measured, Started, Stepped, train
from charlm.training import trainer as trainer_module
from charlm.training.classification import Classification, load_sequences

CPU = torch.device("cpu")
OTHER_WORDS = ("it", "was", "the", "film", "that", "we", "saw")
STEPS = 8  # of an epoch; the last batch is a smaller one
SETTINGS = {
    "model": {"hidden_size": 4, "embedding_size": 4, "buckets": 50},
    "training": {"epochs": 3, "batch_size": 8, "lr": 0.02, "patience": None, "save_minutes": None},
}
DROPOUT = {
    "input_dropout": 0.2, "dropout": 0.2, "output_dropout": 0.2, "weight_dropout": 0.2,
    "word_dropout": 0.2,
}  # fmt: skip
NO_DROPOUT = dict.fromkeys(DROPOUT, 0.0)
NETWORKS = {
    "rnn": ({"cell": "rnn", "features": "last", "bidirectional": False}, {"optimiser": "sgd"}),
    "relu": ({"cell": "rnn-relu", "features": "all"}, {"averaging": 0.9}),
    "gru": ({"cell": "gru", "features": "mean", "embedding": "one-hot", "ngrams": 1},
            {"optimiser": "rmsprop"}),
    "lstm": ({"cell": "lstm", "num_layers": 2, "ngrams": 3, "dense_size": 3},
             {"optimiser": "adam", "precision": "bfloat16"}),
    "lstm read": ({"cell": "lstm", "features": "all", "padding": "before", "skip_padding": False},
                  {"optimiser": "rmsprop", "averaging": 0.99}),
    "jordan": ({"cell": "jordan", "backend": "scratch", "features": "max", "standardise": True},
               {}),
    "peephole": ({"cell": "lstm-peephole", "backend": "scratch", "features": "last"},
                 {"optimiser": "adam", "save_steps": 3}),
}  # fmt: skip


def write_texts(path, rows) -> str:
    lines = (json.dumps({"text": t, "label": label, "split": s}) for s, label, t in rows)
    path.write_text("\n".join(lines), "utf-8")
    return str(path)


def some_texts(seed: int = 0, count: int = 60):
    """A word of each text tells its label, among others that tell nothing."""
    draw = random.Random(seed)
    rows = []
    for split, size in (("train", count), ("valid", 20), ("test", 20)):
        for number in range(size):
            label = ("bad", "good")[number % 2]
            words = draw.choices(OTHER_WORDS, k=draw.randrange(9))
            words.insert(draw.randrange(len(words) + 1), draw.choice([label, f"{label}ly"]))
            rows.append((split, label, " ".join(words)))
    return rows


@pytest.fixture
def config(tmp_path):
    source = write_texts(tmp_path / "texts.jsonl", some_texts())
    return ClassificationConfig.from_settings(
        [{"corpus": {"source": source, "length": 9}}, SETTINGS]
    )


@pytest.fixture
def corpus(config):
    return load_reviews(config.corpus)


@pytest.fixture
def new_run(tmp_path, config, corpus):
    """Makes a run; sections of settings as for `from_settings`."""
    number = itertools.count()

    def make(data=corpus, **sections):
        settings = ClassificationConfig.from_settings([config.to_dict(), sections])
        return ClassifierRun.create(tmp_path / f"run{next(number)}", settings, data)

    return make


def follow(run, corpus, stop_after=None):
    """Train; where ``stop_after`` is given, until that step of the whole training."""
    steps = run.training["position"]["step"] if run.training else 0
    events = []

    def should_stop():
        done = steps + sum(isinstance(event, Stepped) for event in events)
        return stop_after is not None and done >= stop_after

    for event in train(run, corpus, device=CPU, should_stop=should_stop):
        events.append(event)  # noqa: PERF402 - should_stop looks at them on the way
    return events


def open_again(run) -> ClassifierRun:
    return ClassifierRun.open(run.folder)


def kept(run):
    """All that a checkpoint holds, but for the time that was taken."""
    folder = open_again(run).checkpoint.folder
    files = {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}
    training = json.loads((folder / "training.json").read_text("utf-8"))
    del training["position"]["seconds"]
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        del row["seconds"]
    return {**files, "training": training, "metrics": rows}


def valid_figures(run):
    return [row["valid_accuracy"] for row in open_again(run).metrics]


# Learning


@pytest.mark.parametrize("name", NETWORKS)
def test_it_learns_which_words_tell_the_label(new_run, corpus, name):
    model, training = NETWORKS[name]
    lr = 2.0 if training.get("optimiser") == "sgd" else 0.02
    settings = {**training, "epochs": 12, "lr": lr, "save_steps": None}
    run = new_run(model={**model, **NO_DROPOUT, "hidden_size": 8}, training=settings)
    started, *events, finished = follow(run, corpus)
    assert isinstance(started, Started)
    assert (started.train_size, started.valid_size) == (60, 20)
    assert finished == Finished(
        epochs=12, seconds=finished.seconds, items=12 * 60, train=finished.train,
        valid=finished.valid, interrupted=False, out_of_patience=False,
    )  # fmt: skip
    assert finished.valid >= 80
    measured = [event for event in events if isinstance(event, Measured)]
    assert measured[-1].train < 0.5 * measured[0].train
    test = load_sequences(corpus, "test", CPU)
    scores = class_scores(class_logits(run.load_model(), test), corpus.labels("test"))
    assert scores.accuracy >= 80


def test_three_labels(tmp_path, new_run):
    rows = [
        (split, label, f"a {label} film {number}")
        for split in ("train", "valid", "test")
        for number in range(8)
        for label in ("bad", "fair", "good")
    ]
    source = write_texts(tmp_path / "three.jsonl", rows)
    corpus = load_reviews(
        ClassificationConfig.from_settings([{"corpus": {"source": source}}]).corpus
    )
    run = new_run(corpus, corpus={"source": source}, model=NO_DROPOUT, training={"epochs": 20})
    assert follow(run, corpus)[-1].valid == 100
    assert run.load_model().head.out_features == 3


def test_the_first_loss_is_that_of_knowing_nothing(new_run, corpus):
    """And the mean over an epoch's texts, in nats, whatever the batches."""
    training = {"epochs": 1, "lr": 1e-30, "precision": "float32"}
    run = new_run(model=NO_DROPOUT, training=training)
    *_, finished = follow(run, corpus)
    assert finished.train == pytest.approx(math.log(2), abs=0.05)
    torch.manual_seed(run.config.training.seed)
    logits = class_logits(run.new_model(), load_sequences(corpus, "train", CPU))
    wanted = class_scores(logits, corpus.labels("train")).loss
    assert finished.train == pytest.approx(wanted, rel=1e-5)


def test_an_epoch_reads_every_text_once(config, corpus, new_run):
    task = Classification(new_run(), corpus, CPU)
    assert task.higher_is_better
    batches = task.draw_batches(torch.Generator().manual_seed(0))
    numbers = torch.cat([batches[index] for index in range(len(batches))])
    assert len(batches) == STEPS
    assert sorted(numbers.tolist()) == list(range(60))


# Repeating


def test_a_seed_repeats_and_another_does_not(new_run, corpus):
    runs = [new_run(model=DROPOUT, training={"seed": seed}) for seed in (4, 4, 5)]
    for run in runs:
        follow(run, corpus)
    first, second, third = (kept(run) for run in runs)
    assert first == second
    assert first["last.safetensors"] != third["last.safetensors"]


def test_scoring_and_saving_change_no_weight(new_run, corpus, monkeypatch):
    """With dropout on, so that a stray draw from the global generator would show."""
    found = []
    for marks, saving in ((1, None), (5, 7), (1000, 3)):
        monkeypatch.setattr(trainer_module, "MARKS", marks)
        run = new_run(model=DROPOUT, training={"save_steps": saving})
        follow(run, corpus)
        found.append(kept(run))
    assert len(found[0]["metrics"]) < len(found[1]["metrics"]) < len(found[2]["metrics"])
    for name in ("last.safetensors", "training.safetensors"):
        assert found[0][name] == found[1][name] == found[2][name]


def test_without_a_validation_split_the_last_weights_are_the_best(tmp_path, new_run, corpus):
    rows = [row for row in some_texts() if row[0] != "valid"]
    source = write_texts(tmp_path / "other.jsonl", rows)
    settings = ClassificationConfig.from_settings([{"corpus": {"source": source, "valid": 0}}])
    alone = load_reviews(settings.corpus)
    assert alone.split_sizes == (60, 0, 20)
    sections = {"corpus": {"source": source, "valid": 0}, "training": {"patience": 1}}
    run = new_run(alone, model=DROPOUT, **sections)
    *_, finished = follow(run, alone)
    assert finished.valid is None
    assert finished.epochs == 3
    ours = kept(run)
    assert ours["best.safetensors"] == ours["last.safetensors"]
    validated = new_run(model=DROPOUT)
    follow(validated, corpus)
    assert kept(validated)["last.safetensors"] == ours["last.safetensors"]


# Best weights and patience


@pytest.mark.parametrize("averaging", [0.0, 0.9])
def test_the_weights_with_the_best_accuracy_are_kept(new_run, corpus, averaging):
    training = {"lr": 0.3, "epochs": 8, "schedule": "constant", "averaging": averaging}
    run = new_run(model=NO_DROPOUT, training={**training, "optimiser": "adam"})
    *_, finished = follow(run, corpus)
    figures = valid_figures(run)
    assert finished.valid == max(figures) == open_again(run).training["position"]["best_valid"]
    valid = load_sequences(corpus, "valid", CPU)
    scores = class_scores(class_logits(run.load_model(), valid), corpus.labels("valid"))
    assert scores.accuracy == max(figures)


def test_the_first_of_equally_good_weights_are_kept(new_run, corpus):
    run = new_run(training={"lr": 1e-30, "epochs": 4})
    follow(run, corpus, stop_after=STEPS)
    first = kept(run)
    follow(open_again(run), corpus)
    last = kept(run)
    assert len(set(valid_figures(run))) == 1
    assert first["best.safetensors"] == last["best.safetensors"]


def test_patience_ends_a_training_and_counts_on(new_run, corpus):
    # A learning rate of nearly nothing: no validation is better than the first.
    settings = {"patience": 3, "epochs": 50, "lr": 1e-30}
    undisturbed, run = new_run(training=settings), new_run(training=settings)
    ended = follow(undisturbed, corpus)[-1]
    assert ended.out_of_patience
    assert (ended.epochs, ended.interrupted) == (4, False)
    follow(run, corpus, stop_after=2 * STEPS + 3)
    assert follow(open_again(run), corpus)[-1].out_of_patience
    assert kept(run) == kept(undisturbed)
    assert [type(event) for event in follow(open_again(run), corpus)] == [Started, Finished]


# Going on


@pytest.mark.parametrize("name", NETWORKS)
def test_a_stopped_training_goes_on_bit_for_bit(new_run, corpus, name):
    """Stopped in the middle of an epoch, at the end of one, and at the very last step."""
    model, training = NETWORKS[name]
    sections = {"model": {**model, **DROPOUT}, "training": {**training, "epochs": 2}}
    undisturbed = new_run(**sections)
    events = follow(undisturbed, corpus)
    assert sum(isinstance(event, Stepped) for event in events) == 2 * STEPS
    wanted, logits = kept(undisturbed), test_logits(undisturbed, corpus)
    for step in (3, STEPS, 2 * STEPS):
        run = new_run(**sections)
        assert follow(run, corpus, stop_after=step)[-1].interrupted
        again = open_again(run)
        assert again.training["position"]["step"] == step
        started, *_, finished = follow(again, corpus)
        assert started.notices == ()
        assert not finished.interrupted
        assert kept(run) == wanted, step
        assert torch.equal(test_logits(run, corpus), logits)


def test_logits(run, corpus):
    return class_logits(open_again(run).load_model(), load_sequences(corpus, "test", CPU))


test_logits.__test__ = False


def test_stopped_after_every_single_step_it_comes_to_the_same_end(new_run, corpus):
    sections = {"model": DROPOUT, "training": {"averaging": 0.9, "epochs": 2}}
    undisturbed, run = new_run(**sections), new_run(**sections)
    follow(undisturbed, corpus)
    for step in itertools.count(1):
        if not follow(open_again(run), corpus, stop_after=step)[-1].interrupted:
            break
    assert step == 2 * STEPS + 1
    assert kept(run) == kept(undisturbed)


def test_stopped_while_it_is_scored_it_is_scored_again(new_run, corpus):
    undisturbed, run = new_run(), new_run()
    follow(undisturbed, corpus)
    steps = asked = 0

    def should_stop():
        nonlocal asked
        asked += steps == STEPS
        return asked > 1  # the first is after the step

    for event in train(run, corpus, device=CPU, should_stop=should_stop):
        steps += isinstance(event, Stepped)
    assert event.interrupted
    opened = open_again(run)
    assert opened.training["position"]["measured_step"] < STEPS
    assert [type(event) for event in follow(opened, corpus)][:2] == [Started, Measured]
    assert kept(run) == kept(undisturbed)


def test_more_epochs_go_on_from_the_end(new_run, corpus):
    """With a constant learning rate it is as if there had been so many from the first."""
    settings = {"schedule": "constant", "warmup": 0}
    long, run = new_run(training={**settings, "epochs": 5}), new_run(training=settings)
    follow(long, corpus)
    follow(run, corpus)
    opened = open_again(run)
    opened.change(
        ClassificationConfig.from_settings([opened.config.to_dict(), {"training": {"epochs": 5}}])
    )
    assert follow(opened, corpus)[-1].epochs == 5
    ours, theirs = kept(run), kept(long)
    for name in ("last.safetensors", "training.safetensors"):
        assert ours[name] == theirs[name]


def test_numbers_that_overflow_end_it_and_keep_what_was(new_run, corpus):
    run = new_run(training={"save_steps": 1})
    follow(run, corpus, stop_after=5)
    before = kept(run)
    opened = open_again(run)
    training = dataclasses.replace(opened.config.training, lr=1e39)
    opened.config = dataclasses.replace(opened.config, training=training)
    with pytest.raises(TrainingError, match="not finite"):
        follow(opened, corpus)
    assert kept(run) == before


def test_other_texts_are_refused(tmp_path, new_run, corpus):
    run = new_run()
    follow(run, corpus, stop_after=3)
    source = write_texts(tmp_path / "other.jsonl", some_texts(count=70))
    opened = open_again(run)
    other = load_reviews(dataclasses.replace(opened.config.corpus, source=source))
    with pytest.raises(CorpusError) as caught:
        follow(opened, other)
    for words in ("other.jsonl", "sha256", "split 70/20/20, not 60/20/20"):
        assert words in caught.value.message


@pytest.mark.parametrize("change", [
    {"vocabulary_size": 5}, {"punctuation": True}, {"tokens": "characters"},
], ids=str)  # fmt: skip
def test_another_vocabulary_is_refused(tmp_path, config, new_run, change):
    source = write_texts(
        tmp_path / "p.jsonl", [(s, label, f"{t}!") for s, label, t in some_texts()]
    )
    settings = dataclasses.replace(config.corpus, source=source)
    corpus = load_reviews(settings)
    run = new_run(corpus, corpus={"source": source})
    with pytest.raises(CorpusError, match=r"vocabulary of .* entries, not the run's"):
        follow(run, load_reviews(dataclasses.replace(settings, **change)))


# --from-run


def language_model(folder, **model):
    corpus = load_corpus("traveller", max_chars=1050)
    settings = {"cell": "gru", "hidden_size": 4, "embedding": "learned", "embedding_size": 3}
    training = {"epochs": 1, "batch_size": 5, "seq_len": 20, "sample_length": 1, "lr": 0.05}
    config = LanguageModelConfig.from_settings(
        [{"model": {**settings, **model}, "training": training}]
    )
    run = Run.create(folder, config, corpus)
    for _ in train(run, corpus, device=CPU):
        pass
    return Run.open(folder)


@pytest.fixture
def from_run(tmp_path, config):
    """Makes a run that begins with a language model's layers; gives both and the texts."""

    def make(source, *, freeze, **sections):
        model = source.config.model
        layer = {
            "corpus": {"tokens": "characters"},
            "model": {
                "cell": model.cell, "hidden_size": model.hidden_size, "bidirectional": False,
                "num_layers": model.num_layers, "embedding_size": 3, "ngrams": 1, "freeze": freeze,
                "from_run": str(source.folder), **DROPOUT,
            },
        }  # fmt: skip
        settings = ClassificationConfig.from_settings([config.to_dict(), layer, sections])
        corpus = load_reviews(settings.corpus, tokens=source.vocabulary)
        return ClassifierRun.create(tmp_path / "new", settings, corpus), corpus

    return make


def layers_of(model):
    return {name: each for name, each in model.named_parameters()
            if name.startswith(("embedding.", "stack."))}  # fmt: skip


@pytest.mark.parametrize("freeze", [False, True], ids=["fine-tuned", "frozen"])
def test_it_begins_with_a_language_models_layers(tmp_path, from_run, freeze):
    source = language_model(tmp_path / "lm", num_layers=2, weight_dropout=0.0)
    run, corpus = from_run(source, freeze=freeze)
    wanted = [each for name, each in source.load_model().named_parameters() if "head" not in name]
    first = list(layers_of(run.first_model()).values())
    assert len(first) == len(wanted) == 1 + 2 * 4
    assert all(map(torch.equal, first, wanted))
    started, *_ = follow(run, corpus)
    model = open_again(run).load_model("last")
    learned = [torch.equal(*pair) for pair in zip(layers_of(model).values(), wanted, strict=True)]
    assert learned == [freeze] * len(wanted)
    head = 2 * 4 + 1  # mean and maximum of four units
    everything = sum(parameter.numel() for parameter in model.parameters())
    assert started.parameters == (head if freeze else everything)
    assert open_again(run).training["parameters"] == started.parameters


@pytest.mark.parametrize("freeze", [False, True], ids=["fine-tuned", "frozen"])
def test_it_goes_on_without_the_language_model(tmp_path, from_run, freeze):
    source = language_model(tmp_path / "lm", weight_dropout=0.0)
    run, corpus = from_run(source, freeze=freeze, training={"averaging": 0.9})
    follow(run, corpus)
    wanted = kept(run)
    (tmp_path / "new").rename(tmp_path / "undisturbed")
    run, corpus = from_run(source, freeze=freeze, training={"averaging": 0.9})
    follow(run, corpus, stop_after=STEPS + 3)
    (tmp_path / "lm").rename(tmp_path / "gone")
    opened = open_again(run)
    again = opened.load_corpus()
    assert again.vocabulary == corpus.vocabulary
    follow(opened, again)
    assert kept(run) == wanted


def test_before_its_first_step_it_needs_the_language_model(tmp_path, from_run):
    source = language_model(tmp_path / "lm")
    run, corpus = from_run(source, freeze=False)
    (tmp_path / "lm").rename(tmp_path / "gone")
    with pytest.raises(RunError, match="lm is not a run folder"):
        follow(run, corpus)


def test_other_layers_than_the_language_models_are_refused(tmp_path, from_run):
    source = language_model(tmp_path / "lm")
    run, corpus = from_run(source, freeze=False, model={"hidden_size": 5})
    with pytest.raises(UsageError, match="not those of the run"):
        follow(run, corpus)


@pytest.mark.cuda
@pytest.mark.parametrize("name", NETWORKS)
def test_on_cuda_it_goes_on_bit_for_bit_with_deterministic_algorithms(new_run, corpus, name):
    model, training = NETWORKS[name]
    sections = {
        "model": {**model, **DROPOUT}, "training": {**training, "deterministic": True},
    }  # fmt: skip
    device = torch.device("cuda")
    undisturbed, run = new_run(**sections), new_run(**sections)
    list(train(undisturbed, corpus, device=device))
    answers = iter([False] * 12 + [True] * 9)
    list(train(run, corpus, device=device, should_stop=lambda: next(answers)))
    list(train(open_again(run), corpus, device=device))
    assert kept(run) == kept(undisturbed)
