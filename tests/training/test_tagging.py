"""Training a tagger: it learns, goes on to the last bit, and is stopped at any step."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
import shutil

import pytest
import torch
import torch.nn.functional as F

from charlm.config import TaggingConfig
from charlm.corpus.slots import load_slots
from charlm.errors import CorpusError, TrainingError
from charlm.evaluation.spans import score_spans
from charlm.evaluation.tagging import Sentences, predict_tags, tags_of, words_of
from charlm.runs import TaggerRun
from charlm.training import Finished, Measured, Started, Stepped, train
from charlm.training import trainer as trainer_module
from charlm.training.tagging import Tagging

CPU = torch.device("cpu")
NETWORKS = [
    ("rnn", "torch"), ("gru", "torch"), ("lstm", "torch"), ("rnn", "scratch"), ("gru", "scratch"),
    ("lstm", "scratch"), ("gru-reset-before", "scratch"), ("lstm-peephole", "scratch"),
    ("jordan", "scratch"),
]  # fmt: skip
OPTIMISERS = ("adam", "sgd", "rmsprop", "adamw")
EPOCH = 4  # batches
SETTINGS = {
    "corpus": {"buckets": 30, "min_count": 1},
    "model": {"hidden_size": 6, "embedding_size": 5},
    "training": {"epochs": 3, "batch_size": 10, "lr": 0.02},
}
DROPOUT = {
    "input_dropout": 0.2, "dropout": 0.2, "output_dropout": 0.2, "weight_dropout": 0.2,
    "word_dropout": 0.2,
}  # fmt: skip
NO_DROPOUT = dict.fromkeys(DROPOUT, 0.0)


def sentences(count, seed):
    """From here to there: the place after `from` is one kind of span, after `to` the other."""
    draw = random.Random(seed)
    for _ in range(count):
        words, tags = [], []
        for word in draw.choice((("from", "to"), ("to", "from"), ("to",))):
            places = draw.choice((("Boston",), ("new", "york"), ("Dallas",), ("san", "jose", "9")))
            words += [word, *places]
            tags += ["O", f"B-{word}", *(f"I-{word}" for _ in places[1:])]
        yield words, tags


def write(folder, **splits):
    """Made anew for a split each: how many sentences."""
    for number, (split, count) in enumerate(splits.items()):
        (folder / split).mkdir(parents=True)
        rows = list(sentences(count, number))
        for name, side in (("seq.in", 0), ("seq.out", 1)):
            text = "".join(" ".join(row[side]) + "\n" for row in rows)
            (folder / split / name).write_text(text, "utf-8")
    return folder


def load(folder, **settings):
    layer = {"corpus": {"source": str(folder), **settings}}
    return load_slots(TaggingConfig.from_settings([SETTINGS, layer]).corpus)


@pytest.fixture
def corpus(tmp_path):
    return load(write(tmp_path / "data", train=37, valid=9, test=5))


@pytest.fixture
def new_run(tmp_path, corpus):
    """Makes a run; sections of settings as for `TaggingConfig.from_settings`."""
    number = itertools.count()

    def make(*layers, corpus=corpus):
        source = {"corpus": {"source": corpus.source}}
        config = TaggingConfig.from_settings([SETTINGS, source, *layers])
        return TaggerRun.create(tmp_path / f"run{next(number)}", config, corpus)

    return make


def follow(run, corpus, stop_after=None, device=CPU):
    """Train; where ``stop_after`` is given, until that step of the whole training."""
    first = (run.training or {"position": {"step": 0}})["position"]["step"]
    events = []

    def should_stop():
        steps = first + sum(isinstance(event, Stepped) for event in events)
        return stop_after is not None and steps >= stop_after

    for event in train(run, corpus, device=device, should_stop=should_stop):
        events.append(event)  # noqa: PERF402 - should_stop looks at them on the way
    return events


def kept(run):
    """All that a checkpoint holds, but for the time that was taken."""
    folder = TaggerRun.open(run.folder).checkpoint.folder
    files = {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}
    training = json.loads((folder / "training.json").read_text("utf-8"))
    del training["position"]["seconds"]
    lines = (folder / "metrics.jsonl").read_text("utf-8").splitlines()
    rows = [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]
    return {**files, "training": training, "metrics": rows}


def f1(run, corpus, split, weights="best"):
    """Scored anew, a sentence at a time."""
    rows = corpus.data.splits[split]
    read = Sentences(words_of(rows), run.vocabulary, run.config.corpus, CPU)
    found = predict_tags(run.load_model(weights), read, run.vocabulary.tags, rows=1)
    return score_spans(tags_of(rows), found).overall.f1


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


# It learns


@pytest.mark.parametrize(
    ("cell", "backend", "more"),
    [
        ("lstm", "torch", {}),
        ("rnn", "torch", {"bidirectional": False, "window": 2}),
        ("jordan", "scratch", {"bidirectional": False, "window": 1}),
        ("gru", "scratch", {"num_layers": 2}),
    ],
)
def test_it_learns_what_is_there_to_learn(new_run, corpus, cell, backend, more):
    model = {**NO_DROPOUT, "cell": cell, "backend": backend, "hidden_size": 16, **more}
    run = new_run({"model": model, "training": {"epochs": 15, "lr": 0.03}})
    *_, finished = follow(run, corpus)
    assert finished.valid > 95
    assert finished.train < 0.3
    assert f1(run, corpus, "test") > 90
    assert f1(run, corpus, "train") > 90


def test_events_tell_what_happened(new_run, corpus):
    run = new_run()
    started, *middle, finished = follow(run, corpus)
    splits = corpus.data.splits
    words = [sum(len(row.words) for row in splits[name]) for name in ("train", "valid")]
    assert isinstance(started, Started)
    assert [started.train_size, started.valid_size] == words
    assert started.parameters == run.new_model().num_parameters()
    assert len(of(Stepped, middle)) == 3 * EPOCH
    # At each epoch's end, and where a fifth of the training has gone since the last measure.
    assert [event.step for event in of(Measured, middle)] == [2, 4, 7, 8, 11, 12]
    assert isinstance(finished, Finished)
    assert finished.items == 3 * words[0]
    assert finished.valid == max(event.valid for event in of(Measured, middle))
    assert TaggerRun.open(run.folder).metrics == [
        {
            "epoch": event.epoch, "step": event.step, "train_loss": event.train,
            "valid_f1": event.valid, "learning_rate": event.learning_rate,
            "seconds": event.seconds, "words": event.items,
        }
        for event in of(Measured, middle)
    ]  # fmt: skip


def test_the_loss_is_the_mean_over_words(new_run, corpus):
    """Of a batch that is padded, as of each of its sentences alone."""
    run = new_run()
    task = Tagging(run, corpus, CPU)
    model = run.new_model().double().eval()
    for rows in ([0, 1, 2], [5], [36, 3]):
        nats, count, state = task.loss(model, torch.tensor(rows), None)
        expected, words = 0.0, 0
        for row in rows:
            sentence = corpus.data.splits["train"][row]
            logits = model(task.train.inputs(torch.tensor([row])))[:, 0]
            targets = torch.tensor(run.vocabulary.encode_tags(sentence.tags))
            expected += F.cross_entropy(logits, targets, reduction="sum").item()
            words += len(sentence.words)
        assert nats.item() == pytest.approx(expected, rel=1e-6)
        assert (count, state) == (words, None)


def test_an_epoch_has_each_sentence_once(new_run, corpus):
    task = Tagging(new_run(), corpus, CPU)
    generator = torch.Generator().manual_seed(3)
    orders = []
    for _ in range(2):
        batches = task.draw_batches(generator)
        assert len(batches) == EPOCH
        orders.append(torch.cat([batches[index] for index in range(len(batches))]).tolist())
        assert sorted(orders[-1]) == list(range(37))
    assert orders[0] != orders[1]


# Going on


@pytest.mark.parametrize(
    ("cell", "backend", "bidirectional"),
    [
        *((*network, index % 2 == 0) for index, network in enumerate(NETWORKS)),
        ("gru", "torch", True),
        ("lstm", "torch", False),
        ("jordan", "scratch", False),
    ],
)
def test_a_stopped_training_goes_on_bit_for_bit(new_run, corpus, cell, backend, bidirectional):
    """Stopped in the middle of an epoch, at the end of one, and at the very last step."""
    number = NETWORKS.index((cell, backend))
    layer = {
        "model": {
            "cell": cell, "backend": backend, "bidirectional": bidirectional,
            "num_layers": 1 + number % 2, "window": number % 3, **DROPOUT,
        },
        "training": {
            "optimiser": OPTIMISERS[(number + bidirectional) % 4],
            "averaging": 0.9 if number % 3 else 0.0,
        },
    }  # fmt: skip
    undisturbed = new_run(layer)
    assert len(of(Stepped, follow(undisturbed, corpus))) == 3 * EPOCH
    expected = kept(undisturbed)
    for step in (EPOCH + 2, 2 * EPOCH, 3 * EPOCH):
        run = new_run(layer)
        assert follow(run, corpus, stop_after=step)[-1].interrupted
        again = TaggerRun.open(run.folder)
        assert again.training["position"]["step"] == step
        started, *_, finished = follow(again, corpus)
        assert not finished.interrupted
        assert started.notices == ()
        assert kept(run) == expected, step


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_stopped_after_every_single_step_it_comes_to_the_same_end(new_run, corpus, optimiser):
    layer = {"model": DROPOUT, "training": {"optimiser": optimiser, "epochs": 2}}
    undisturbed, run = new_run(layer), new_run(layer)
    follow(undisturbed, corpus)
    for step in itertools.count(1):
        if not follow(TaggerRun.open(run.folder), corpus, stop_after=step)[-1].interrupted:
            break
    assert step == 2 * EPOCH + 1
    assert kept(run) == kept(undisturbed)


def test_stopped_while_it_scores_the_report_is_made_again(new_run, corpus):
    undisturbed, run = new_run(), new_run()
    follow(undisturbed, corpus)
    steps = 0

    def should_stop():
        asked[0] += steps == EPOCH
        return asked[0] == 2  # after the step, and then within the scoring

    asked = [0]
    for event in train(run, corpus, device=CPU, should_stop=should_stop):
        steps += isinstance(event, Stepped)
    assert event.interrupted
    opened = TaggerRun.open(run.folder)
    assert opened.training["position"]["step"] == EPOCH
    assert all(row["step"] < EPOCH for row in opened.metrics)
    assert [type(each) for each in follow(opened, corpus)][:2] == [Started, Measured]
    assert kept(run) == kept(undisturbed)


def test_asked_to_stop_at_once_it_saves_the_first_weights(new_run, corpus):
    run = new_run()
    events = follow(run, corpus, stop_after=0)
    assert [type(event) for event in events] == [Started, Finished]
    opened = TaggerRun.open(run.folder)
    assert opened.training["position"]["step"] == 0
    undisturbed = new_run()
    follow(undisturbed, corpus)
    follow(opened, corpus)
    assert kept(run) == kept(undisturbed)


def test_a_training_that_is_over_has_nothing_left_to_do(new_run, corpus):
    run = new_run()
    follow(run, corpus)
    before = kept(run)
    events = follow(TaggerRun.open(run.folder), corpus)
    assert [type(event) for event in events] == [Started, Finished]
    assert events[-1].valid == max(row["valid_f1"] for row in before["metrics"])
    assert kept(run) == before


def test_more_epochs_go_on_from_the_end(new_run, corpus):
    constant = {"training": {"schedule": "constant"}}
    long, run = new_run(constant, {"training": {"epochs": 5}}), new_run(constant)
    follow(long, corpus)
    follow(run, corpus)
    opened = TaggerRun.open(run.folder)
    training = dataclasses.replace(opened.config.training, epochs=5)
    opened.change(dataclasses.replace(opened.config, training=training))
    assert follow(opened, corpus)[-1].epochs == 5
    ours, theirs = kept(run), kept(long)
    assert ours["last.safetensors"] == theirs["last.safetensors"]
    assert ours["training.safetensors"] == theirs["training.safetensors"]


def test_it_goes_on_where_the_data_lies_elsewhere(new_run, corpus, tmp_path):
    run, undisturbed = new_run(), new_run()
    follow(undisturbed, corpus)
    follow(run, corpus, stop_after=5)
    shutil.move(tmp_path / "data", tmp_path / "moved")
    follow(TaggerRun.open(run.folder), load(tmp_path / "moved"))
    assert kept(run) == kept(undisturbed)


def test_after_damage_it_goes_on_from_the_checkpoint_before(new_run, corpus):
    """And comes to the same end."""
    layer = {"model": DROPOUT, "training": {"save_steps": 3}}
    undisturbed, run = new_run(layer), new_run(layer)
    follow(undisturbed, corpus)
    follow(run, corpus, stop_after=7)
    newest, before = sorted(run.folder.glob("checkpoint-*"), reverse=True)
    for path in (newest / "training.safetensors", newest / "last.safetensors"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    opened = TaggerRun.open(run.folder)
    assert opened.checkpoint.folder == before
    assert opened.training["position"]["step"] < 7
    assert any(f"going back to {before.name}" in notice for notice in opened.notices)
    follow(opened, corpus)
    assert kept(run) == kept(undisturbed)


# What is kept


def test_the_weights_with_the_best_f1_are_kept(new_run, corpus):
    """Where it was found before the end, before the training was stopped, and lost since."""
    layer = {"training": {"lr": 0.3, "epochs": 8, "schedule": "constant", "seed": 1}}
    undisturbed, run = new_run(layer), new_run(layer)
    follow(undisturbed, corpus)
    rows = kept(undisturbed)["metrics"]
    best = max(row["valid_f1"] for row in rows)
    first = next(row for row in rows if row["valid_f1"] == best)
    assert first != rows[-1]  # else there is nothing to see here
    assert rows[-1]["valid_f1"] < best
    opened = TaggerRun.open(undisturbed.folder)
    assert opened.training["position"]["best_valid"] == best
    assert f1(opened, corpus, "valid") == best
    assert f1(opened, corpus, "valid", "last") == rows[-1]["valid_f1"]
    follow(run, corpus, stop_after=first["step"] + 2)
    follow(TaggerRun.open(run.folder), corpus)
    ours = kept(run)
    assert ours["best.safetensors"] == kept(undisturbed)["best.safetensors"]
    assert ours["best.safetensors"] != ours["last.safetensors"]


def test_of_equal_figures_the_first_is_the_best(new_run, corpus):
    """No span is found at first: an F1 of 0 is a figure as well."""
    run = new_run({"training": {"lr": 1e-30}})
    finished = follow(run, corpus)[-1]
    metrics = TaggerRun.open(run.folder).metrics
    assert len({row["valid_f1"] for row in metrics}) == 1
    assert finished.valid == metrics[0]["valid_f1"]
    assert TaggerRun.open(run.folder).training["position"]["unimproved"] == len(metrics) - 1


def test_patience_ends_it_and_counts_on(new_run, corpus):
    layer = {"training": {"patience": 3, "epochs": 50, "lr": 1e-30}}
    undisturbed, run = new_run(layer), new_run(layer)
    ended = follow(undisturbed, corpus)[-1]
    assert ended.out_of_patience
    assert ended.epochs == 4
    follow(run, corpus, stop_after=9)
    assert follow(TaggerRun.open(run.folder), corpus)[-1].out_of_patience
    assert kept(run) == kept(undisturbed)


def test_a_seed_gives_the_same_weights_and_another_seed_others(new_run, corpus):
    runs = [new_run({"model": DROPOUT, "training": {"seed": seed}}) for seed in (1, 1, 2)]
    for run in runs:
        follow(run, corpus)
    first, same, other = map(kept, runs)
    assert first == same
    assert first["last.safetensors"] != other["last.safetensors"]


def test_scoring_and_saving_at_any_frequency_change_nothing(new_run, corpus, monkeypatch):
    found = []
    for marks, save, measures in ((1, None, 3), (5, 1, 6), (1000, 3, 3 * EPOCH)):
        monkeypatch.setattr(trainer_module, "MARKS", marks)
        run = new_run({"model": DROPOUT, "training": {"save_steps": save}})
        assert len(of(Measured, follow(run, corpus))) == measures
        found.append(kept(run)["last.safetensors"])
    assert found[0] == found[1] == found[2]


def test_what_is_held_out_changes_no_weight(new_run, corpus, tmp_path):
    """Other validation sentences of the same tags: the very same training."""
    other = write(tmp_path / "other", train=37, valid=3, test=0)
    rows = list(sentences(4, 99))
    for name, side in (("seq.in", 0), ("seq.out", 1)):
        text = "".join(" ".join(row[side]) + "\n" for row in rows)
        (other / "valid" / name).write_text(text, "utf-8")
        (other / "test" / name).unlink()
    second = load(other)
    assert second.vocabulary == corpus.vocabulary
    assert second.data.sha256 != corpus.data.sha256
    one, two = new_run({"model": DROPOUT}), new_run({"model": DROPOUT}, corpus=second)
    follow(one, corpus)
    follow(two, second)
    assert kept(one)["last.safetensors"] == kept(two)["last.safetensors"]
    assert kept(one)["metrics"] != kept(two)["metrics"]


def test_a_running_mean_is_what_is_scored(new_run, corpus):
    run = new_run({"training": {"averaging": 0.9}})
    finished = follow(run, corpus)[-1]
    assert f1(TaggerRun.open(run.folder), corpus, "valid") == finished.valid


# What else there may be


@pytest.mark.parametrize(
    "corpus_settings",
    [{"ngrams": []}, {"ngrams": [], "shapes": True}, {"min_count": 100}, {"buckets": 1}],
)
def test_whatever_is_seen_of_words(new_run, tmp_path, corpus, corpus_settings):
    other = load(tmp_path / "data", **corpus_settings)
    run = new_run({"corpus": corpus_settings}, corpus=other)
    assert follow(run, other)[-1].epochs == 3
    assert TaggerRun.open(run.folder).load_model().eval()


def test_tags_of_the_test_split_alone_are_missed(new_run, tmp_path):
    folder = write(tmp_path / "more", train=37, valid=9, test=5)
    tags = folder / "test" / "seq.out"
    tags.write_text(tags.read_text("utf-8").replace("B-to", "B-new"), "utf-8")
    corpus = load(folder)
    assert "B-new" not in corpus.vocabulary.tags
    run = new_run({"training": {"epochs": 12, "lr": 0.05}}, corpus=corpus)
    finished = follow(run, corpus)[-1]
    assert finished.valid > 60
    assert f1(run, corpus, "test") < finished.valid


def test_sentences_of_a_single_word_in_batches_of_one(new_run, tmp_path):
    folder = tmp_path / "single"
    for split in ("train", "valid"):
        (folder / split).mkdir(parents=True)
        (folder / split / "seq.in").write_text("boston\nnow\n", "utf-8")
        (folder / split / "seq.out").write_text("B-place\nO\n", "utf-8")
    corpus = load(folder)
    run = new_run({"model": {"window": 3}, "training": {"batch_size": 1}}, corpus=corpus)
    events = follow(run, corpus)
    assert len(of(Stepped, events)) == 6
    assert 0 <= events[-1].valid <= 100


def test_what_is_not_finite_stops_before_the_update(new_run, corpus, monkeypatch):
    run, undisturbed = new_run({"model": DROPOUT}), new_run({"model": DROPOUT})
    follow(undisturbed, corpus)
    calls, loss = itertools.count(1), Tagging.loss

    def poisoned(self, *arguments):
        nats, count, state = loss(self, *arguments)
        return (nats * float("nan") if next(calls) == 6 else nats), count, state

    with monkeypatch.context() as patch:
        patch.setattr(Tagging, "loss", poisoned)
        with pytest.raises(TrainingError, match=r"loss is not finite at step 6, after .+ words"):
            follow(run, corpus)
    assert TaggerRun.open(run.folder).training["position"]["step"] == 5
    follow(TaggerRun.open(run.folder), corpus)
    assert kept(run) == kept(undisturbed)


def test_other_data_is_refused_before_anything_is_written(new_run, corpus, tmp_path):
    run = new_run()
    follow(run, corpus, stop_after=5)
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")}
    other = load(write(tmp_path / "other", train=36, valid=9, test=5))
    with pytest.raises(CorpusError, match="split 36/9/5, not 37/9/5") as caught:
        follow(TaggerRun.open(run.folder), other)
    assert caught.value.hint == "name the right one: --data"
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")} == before


@pytest.mark.cuda
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("cell", "backend"), NETWORKS)
def test_on_cuda_it_goes_on_bit_for_bit_with_deterministic_algorithms(
    new_run, corpus, cell, backend, bidirectional
):
    layer = {
        "model": {"cell": cell, "backend": backend, "bidirectional": bidirectional, "window": 1}
        | DROPOUT,
        "training": {"deterministic": True},
    }
    device = torch.device("cuda")
    undisturbed, run = new_run(layer), new_run(layer)
    follow(undisturbed, corpus, device=device)
    follow(run, corpus, stop_after=EPOCH + 2, device=device)
    assert follow(TaggerRun.open(run.folder), corpus, device=device)[0].notices == ()
    assert kept(run) == kept(undisturbed)


@pytest.mark.cuda
def test_on_cuda_it_learns_and_finds_what_the_cpu_finds(new_run, corpus):
    run = new_run({"model": NO_DROPOUT, "training": {"epochs": 15, "lr": 0.03}})
    assert follow(run, corpus, device=torch.device("cuda"))[-1].valid > 90
    model, rows = run.load_model(), corpus.data.splits["test"]
    found = []
    for device in (CPU, torch.device("cuda")):
        read = Sentences(words_of(rows), run.vocabulary, run.config.corpus, device)
        found.append(predict_tags(model.to(device), read, run.vocabulary.tags))
    assert found[0] == found[1]
