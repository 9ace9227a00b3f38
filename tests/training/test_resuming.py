"""A training that is stopped and resumed has the result of an uninterrupted one, bit for bit."""

import dataclasses
import itertools

import pytest
import torch

from charlm.runs import Run
from charlm.training import Finished, Measured, Sampled, Started, Stepped, train

CPU = torch.device("cpu")
DROPOUT = {"input_dropout": 0.2, "dropout": 0.2, "output_dropout": 0.2, "weight_dropout": 0.2}
WORDS = {**DROPOUT, "word_dropout": 0.2}
ONE_WAY = {"bidirectional": False}
SCRATCH = {"backend": "scratch"}
REGULARISED = {
    **{**SCRATCH, **DROPOUT, "zoneout_hidden": 0.1, "zoneout_cell": 0.3},
    **{"embedding_dropout": 0.2, "activation": 2.0, "temporal_activation": 1.0, "past_decode": 0.1},
}
NETWORKS = [
    *(("torch", cell) for cell in ("rnn", "rnn-relu", "gru", "lstm")),
    *(("scratch", cell) for cell in ("rnn", "rnn-relu", "gru", "gru-reset-before", "lstm")),
    *(("scratch", cell) for cell in ("lstm-peephole", "jordan")),
]
OPTIMISERS = ("adamw", "sgd", "adam", "rmsprop", "sgd-momentum")
NGRAMS = {"ngram_order": 5, "ngram_rows": 60, "ngram_dropout": 0.3, **DROPOUT}
PLATEAU = {"schedule": "plateau", "lr": 0.5}  # so that the metric gets worse


def language_models():
    samplings = itertools.product(("consecutive", "random"), NETWORKS)
    for number, (sampling, (backend, cell)) in enumerate(samplings):
        dropout = DROPOUT if number % 4 else dict.fromkeys(DROPOUT, 0.0)
        model = {"backend": backend, "cell": cell, "num_layers": 2, **dropout}
        training = {"sampling": sampling, "optimiser": OPTIMISERS[number % 3], "sample_every": 1}
        yield "language-model", model, training
    for number, cell in enumerate(("mogrifier", "mlstm", "mingru", "minlstm")):
        model = {**SCRATCH, "cell": cell, "num_layers": 2, "residual": number % 2 == 0, **DROPOUT}
        yield "language-model", {**model, "skip": number > 0}, {"sample_every": 1}


def taggers():
    for number, (backend, cell) in enumerate(NETWORKS):
        model = {
            **{"backend": backend, "cell": cell, "bidirectional": number % 2 == 0, **WORDS},
            **{"num_layers": 1 + number % 2, "window": number % 3},
        }
        training = {"averaging": 0.9 if number % 3 else 0.0, "optimiser": OPTIMISERS[number % 4]}
        yield "tag", model, training


CLASSIFIERS = [
    ({"cell": "rnn", "features": "last", **ONE_WAY}, {"optimiser": "sgd"}),
    ({"cell": "rnn-relu", "features": "all"}, {"averaging": 0.9}),
    ({"cell": "gru", "features": "mean", "embedding": "one-hot", "ngrams": 1}, {}),
    (
        {"cell": "lstm", "num_layers": 2, "ngrams": 3, "dense_size": 3},
        {"optimiser": "adam", "precision": "bfloat16"},
    ),
    (
        {"cell": "lstm", "features": "all", "padding": "before", "skip_padding": False},
        {"optimiser": "rmsprop", "averaging": 0.99},
    ),
    ({"cell": "jordan", "features": "max", "standardise": True, **SCRATCH}, {}),
    ({"cell": "lstm-peephole", "features": "last", **SCRATCH}, {"save_steps": 3}),
]
CASES = [
    *language_models(),
    *taggers(),
    *(("classify", {**model, **WORDS}, training) for model, training in CLASSIFIERS),
    ("lines", {"num_layers": 2, **DROPOUT}, {}),
    (
        "language-model",
        {"cell": "lstm", **REGULARISED},
        {**PLATEAU, "nt_asgd": 1, "optimiser": "sgd-momentum"},
    ),
    (
        "language-model",
        {"cell": "gru-layernorm", **SCRATCH},
        {"schedule": "trapezoid", "swa": 0.5, "beta1": 0.0},
    ),
    ("tag", {"cell": "lstm-layernorm", **SCRATCH, "zoneout_cell": 0.3}, {"swa": 0.5}),
    ("language-model", NGRAMS, {"averaging": 0.9, "precision": "bfloat16"}),
    ("language-model", {**NGRAMS, "cell": "gru"}, {"sampling": "random", "swa": 0.5}),
    ("lines", {**NGRAMS, "num_layers": 2}, {}),
]


def case_id(case):
    task, model, training = case
    details = model.get("features") or training.get("sampling") or "whole"
    return f"{task}-{model.get('backend', 'torch')}-{model.get('cell', 'lstm')}-{details}"


def cases():
    """The cases; every other sampling of a network is slow."""
    for number, case in enumerate(CASES):
        slow = number < 2 * len(NETWORKS) and number % 2
        yield pytest.param(*case, id=case_id(case), marks=[pytest.mark.slow] if slow else [])


@pytest.fixture
def pair(small):
    """An undisturbed run and another one with the same settings, with dropout."""
    return [small.new_run({"model": DROPOUT}) for _ in range(2)]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
@pytest.mark.parametrize("places", ["inside", pytest.param("ends", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("small", "model", "training"), [*cases()], indirect=["small"])
def test_stopped_training_resumes(
    small, model, training, places, device, follow, checkpoint_content
):
    """Stopped inside an epoch, or at the end of an epoch and at the last step."""
    layer = {"model": model, "training": {**training, "deterministic": device == "cuda"}}
    undisturbed = small.new_run(layer)
    events = follow(undisturbed, small.corpus, device=device)
    last = sum(isinstance(event, Stepped) for event in events)
    expected = checkpoint_content(undisturbed)
    for step in (last // 3 + 2,) if places == "inside" else (2 * last // 3, last):
        run = small.new_run(layer)
        assert follow(run, small.corpus, step, device)[-1].interrupted
        opened = Run.open(run.folder)
        assert opened.training["progress"]["step"] == step
        started, *_, finished = follow(opened, small.corpus, device=device)
        assert started.notices == ()
        assert started.epoch == pytest.approx(3 * step / last, abs=0.2)
        assert not finished.interrupted
        assert checkpoint_content(run) == expected, step


@pytest.mark.parametrize(
    ("small", "optimiser"),
    [
        *[("language-model", "adamw"), ("lines", "adamw"), ("classify", "rmsprop")],
        *[("tag", "adam"), ("tag", "sgd")],
    ],
    indirect=["small"],
)
def test_stopped_after_every_step(small, optimiser, follow, checkpoint_content):
    layer = {"model": DROPOUT, "training": {"optimiser": optimiser, "averaging": 0.9, "epochs": 2}}
    undisturbed, run = small.new_run(layer), small.new_run(layer)
    follow(undisturbed, small.corpus)
    for step in itertools.count(0):
        opened = Run.open(run.folder)
        if not follow(opened, small.corpus, step)[-1].interrupted:
            break
        assert Run.open(run.folder).training["progress"]["step"] == step
    assert step == 2 * small.steps + 1
    assert checkpoint_content(run) == checkpoint_content(undisturbed)


@pytest.mark.parametrize(
    ("small", "during"),
    [
        *((task, "scoring") for task in ("language-model", "classify", "tag")),
        ("language-model", "sampling"),
    ],
    indirect=["small"],
)
def test_report_that_was_interrupted_is_repeated(small, pair, during, follow, checkpoint_content):
    undisturbed, run = pair
    follow(undisturbed, small.corpus)
    rows = checkpoint_content(undisturbed)["metrics"]
    reports = sum(row["step"] <= small.steps for row in rows)
    steps = measured = calls = 0

    def should_stop():
        nonlocal calls
        calls += steps == small.steps and (during == "scoring" or measured == reports)
        return calls > 1

    for event in train(run, small.corpus, device=CPU, should_stop=should_stop):
        steps += isinstance(event, Stepped)
        measured += isinstance(event, Measured)
    assert event.interrupted
    opened = Run.open(run.folder)
    assert opened.training["progress"]["step"] == small.steps
    assert all(row["step"] < small.steps for row in opened.metrics)
    kinds = [type(event) for event in follow(opened, small.corpus)]
    assert kinds[:2] == [Started, Measured]
    assert (Sampled in kinds) == small.task.has_samples
    assert checkpoint_content(run) == checkpoint_content(undisturbed)


def test_finished_training_does_nothing_more(small, follow, checkpoint_content):
    run = small.new_run()
    finished = follow(run, small.corpus)[-1]
    before = checkpoint_content(run)
    events = follow(Run.open(run.folder), small.corpus)
    assert [type(event) for event in events] == [Started, Finished]
    assert events[-1].valid == finished.valid
    assert checkpoint_content(run) == before


def test_more_epochs_after_the_end(small, follow, checkpoint_content):
    """With a constant learning rate the result is that of a longer training."""
    layer = {"training": {"schedule": "constant", "warmup": 0.0}}
    long, run = small.new_run(layer, {"training": {"epochs": 5}}), small.new_run(layer)
    follow(long, small.corpus)
    follow(run, small.corpus)
    opened = Run.open(run.folder)
    layers = [opened.config.to_dict(), {"training": {"epochs": 5}}]
    opened.change(small.task.config_type.from_settings(layers))
    events = follow(opened, small.corpus)
    assert events[-1].epochs == 5
    sampled = {event.epoch for event in events if isinstance(event, Sampled)}
    assert sampled == ({4, 5} if small.task.has_samples else set())
    assert Run.open(run.folder).config.training.epochs == 5
    ours, theirs = checkpoint_content(run), checkpoint_content(long)
    for name in ("last.safetensors", "training.safetensors"):
        assert ours[name] == theirs[name]


def test_damaged_checkpoint_is_replaced_by_the_one_before(small, follow, checkpoint_content):
    layer = {"model": DROPOUT, "training": {"save_steps": 3}}
    undisturbed, run = small.new_run(layer), small.new_run(layer)
    follow(undisturbed, small.corpus)
    follow(run, small.corpus, stop_after=small.steps + 1)
    newest, before = sorted(run.folder.glob("checkpoint-*"), reverse=True)
    data = bytearray((newest / "last.safetensors").read_bytes())
    data[len(data) // 2] ^= 1
    (newest / "last.safetensors").write_bytes(data)
    opened = Run.open(run.folder)
    assert opened.checkpoint.folder == before
    assert opened.training["progress"]["step"] <= small.steps
    follow(opened, small.corpus)
    assert checkpoint_content(run) == checkpoint_content(undisturbed)


def test_data_may_move(small, pair, follow, checkpoint_content):
    undisturbed, run = pair
    follow(undisturbed, small.corpus)
    follow(run, small.corpus, stop_after=2)
    if small.task.name == "language-model":
        moved = dataclasses.replace(small.corpus, source="moved")
    else:
        data = dataclasses.replace(small.corpus.data, source="moved")
        moved = dataclasses.replace(small.corpus, data=data)
    follow(Run.open(run.folder), moved)
    assert checkpoint_content(run) == checkpoint_content(undisturbed)


def test_patience_continues_to_count(small, follow, checkpoint_content, monkeypatch):
    scores = itertools.cycle([50.0])
    monkeypatch.setattr(small.objective, "score", lambda *arguments: next(scores))
    layer = {"training": {"patience": 3, "epochs": 50, "minutes": None}}
    undisturbed, run = small.new_run(layer), small.new_run(layer)
    ended = follow(undisturbed, small.corpus)[-1]
    assert ended.out_of_patience
    assert (ended.epochs, ended.interrupted) == (4, False)
    follow(run, small.corpus, stop_after=2 * small.steps + 1)
    assert follow(Run.open(run.folder), small.corpus)[-1].out_of_patience
    assert checkpoint_content(run) == checkpoint_content(undisturbed)


def test_seconds_and_items_of_all_parts(small, follow, monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    run = small.new_run()
    first = follow(run, small.corpus, stop_after=small.steps + 1)[-1]
    for _ in range(10_000):  # time between the two parts is not training time
        next(clock)
    last = follow(Run.open(run.folder), small.corpus)[-1]
    assert last.items == Run.open(run.folder).metrics[-1][small.task.unit] > first.items
    assert first.seconds < last.seconds < 2_000
