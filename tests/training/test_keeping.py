"""Going on from a checkpoint: as if nothing had been, to the last bit."""

from __future__ import annotations

import dataclasses
import itertools
import json

import pytest
import torch

from charlm.config import LanguageModelConfig
from charlm.corpus import load_corpus
from charlm.errors import CorpusError, RunError, TrainingError
from charlm.generation.decoding import Decoding, generate
from charlm.runs import Run
from charlm.training import Finished, Measured, Sampled, Started, Stepped, train
from charlm.training import language as language_module
from charlm.training import trainer as trainer_module
from charlm.training.language import LanguageModelling
from charlm.training.trainer import Trainer

CPU = torch.device("cpu")
NETWORKS = [
    ("torch", "rnn"), ("torch", "rnn-relu"), ("torch", "gru"), ("torch", "lstm"),
    ("scratch", "rnn"), ("scratch", "rnn-relu"), ("scratch", "gru"),
    ("scratch", "gru-reset-before"), ("scratch", "lstm"), ("scratch", "lstm-peephole"),
    ("scratch", "jordan"),
]  # fmt: skip
EPOCH = {"consecutive": 9, "random": 10}  # batches; the tenth is a smaller one
SETTINGS = {
    "model": {"hidden_size": 8, "num_layers": 2, "embedding_size": 4},
    "training": {
        "epochs": 3, "batch_size": 5, "seq_len": 20, "prefixes": ["The "], "sample_length": 20,
        "sample_every": 1, "lr": 0.01,
    },
}  # fmt: skip
DROPOUT = {"input_dropout": 0.2, "dropout": 0.2, "output_dropout": 0.2, "weight_dropout": 0.2}
NO_DROPOUT = dict.fromkeys(DROPOUT, 0.0)


@pytest.fixture
def corpus():
    return load_corpus("traveller", max_chars=1050, split=(930, 120, 0))


@pytest.fixture
def new_run(tmp_path, corpus):
    """Makes a run; sections of settings as for `LanguageModelConfig.from_settings`."""
    number = itertools.count()

    def make(*layers):
        config = LanguageModelConfig.from_settings([SETTINGS, *layers])
        return Run.create(tmp_path / f"run{next(number)}", config, corpus)

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
    folder = Run.open(run.folder).checkpoint.folder
    files = {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}
    training = json.loads((folder / "training.json").read_text("utf-8"))
    del training["position"]["seconds"]
    rows = [
        json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").split("\n")[:-1]
    ]
    for row in rows:
        del row["seconds"]
    return {**files, "training": training, "metrics": rows,
            "samples": (folder / "samples.jsonl").read_bytes()}  # fmt: skip


def thousand_characters(run):
    model = Run.open(run.folder).load_model("last")
    drawn = generate(model, [1, 2, 3], length=1000, decoding=Decoding(temperature=1.0), seed=7)
    return [int(token) for token in drawn]


@pytest.mark.parametrize("dropout", [DROPOUT, NO_DROPOUT], ids=["dropout", "no dropout"])
@pytest.mark.parametrize("sampling", ["random", "consecutive"])
@pytest.mark.parametrize(("backend", "cell"), NETWORKS)
def test_a_stopped_training_goes_on_bit_for_bit(new_run, corpus, backend, cell, sampling, dropout):
    """Stopped in the middle of an epoch, at the end of one, and at the very last step."""
    # Which optimiser does not depend on the order that the tests run in.
    optimiser = ("adamw", "sgd", "adam")[(NETWORKS.index((backend, cell)) + len(sampling)) % 3]
    layer = {
        "model": {"backend": backend, "cell": cell, **dropout},
        "training": {"sampling": sampling, "optimiser": optimiser},
    }
    undisturbed = new_run(layer)
    events = follow(undisturbed, corpus)
    expected, characters = kept(undisturbed), thousand_characters(undisturbed)
    assert len([event for event in events if isinstance(event, Stepped)]) == 3 * EPOCH[sampling]
    places = {"mid-epoch": 13, "epoch's end": 2 * EPOCH[sampling], "last step": 3 * EPOCH[sampling]}
    for where, step in places.items():
        run = new_run(layer)
        assert follow(run, corpus, stop_after=step)[-1].interrupted
        assert Run.open(run.folder).training["position"]["step"] == step
        again = Run.open(run.folder)
        started, *_, finished = follow(again, corpus)
        assert not finished.interrupted
        assert started.epoch == pytest.approx(step / EPOCH[sampling], abs=0.1)
        assert started.notices == ()
        assert kept(run) == expected, where
        assert thousand_characters(run) == characters


def test_stopped_after_every_single_step_it_comes_to_the_same_end(new_run, corpus):
    layer = {"model": DROPOUT}
    undisturbed, run = new_run(layer), new_run(layer)
    follow(undisturbed, corpus)
    for step in itertools.count(1):
        finished = follow(Run.open(run.folder), corpus, stop_after=step)[-1]
        if not finished.interrupted:
            break
    assert step == 3 * EPOCH["consecutive"] + 1
    assert kept(run) == kept(undisturbed)


@pytest.mark.parametrize("settings", [
    {"sample_every": 1, "save_steps": 1, "save_minutes": None},
    {"sample_every": 1000, "save_steps": 4, "save_minutes": 1e-9},
    {"prefixes": ["a", "b"], "sample_length": 3, "save_minutes": None},
])  # fmt: skip
def test_sampling_and_saving_at_any_frequency_change_nothing(new_run, corpus, settings):
    plain, run = new_run({"model": DROPOUT}), new_run({"model": DROPOUT, "training": settings})
    follow(plain, corpus)
    follow(run, corpus)
    ours, theirs = kept(run), kept(plain)
    for name in ("last.safetensors", "best.safetensors", "training.safetensors", "metrics"):
        assert ours[name] == theirs[name], name


def test_scoring_at_any_frequency_changes_nothing(new_run, corpus, monkeypatch):
    runs = []
    for marks in (1, 5, 1000):
        monkeypatch.setattr(trainer_module, "MARKS", marks)
        runs.append(new_run({"model": DROPOUT}))
        measured = [each for each in follow(runs[-1], corpus) if isinstance(each, Measured)]
        assert len(measured) >= (27 if marks == 1000 else 3)
    first, *others = [kept(run) for run in runs]
    for other in others:
        assert other["last.safetensors"] == first["last.safetensors"]
        assert other["training.safetensors"] == first["training.safetensors"]


@pytest.mark.parametrize("what", ["scoring", "sampling"])
def test_stopped_in_a_report_the_whole_report_is_made_again(new_run, corpus, what):
    undisturbed, run = new_run(), new_run()
    follow(undisturbed, corpus)
    steps = measured = asked = 0

    def should_stop():
        nonlocal asked
        asked += steps == 9 and (what == "scoring" or measured == 2)
        return asked > (1 if what == "scoring" else 10)

    # At step 9 an epoch ends; the first measure comes before, inside the epoch.
    for event in train(run, corpus, device=CPU, should_stop=should_stop):
        steps += isinstance(event, Stepped)
        measured += isinstance(event, Measured)
    assert event.interrupted
    assert steps == 9
    opened = Run.open(run.folder)
    assert opened.training["position"]["measured_step"] < 9
    assert all(row["step"] < 9 for row in opened.metrics)
    kinds = [type(event) for event in follow(opened, corpus)]
    assert kinds[:3] == [Started, Measured, Sampled]
    assert kept(run) == kept(undisturbed)


def test_a_training_that_is_over_has_nothing_left_to_do(new_run, corpus):
    run = new_run()
    follow(run, corpus)
    before = kept(run)
    assert [type(event) for event in follow(Run.open(run.folder), corpus)] == [Started, Finished]
    assert kept(run) == before


def test_more_epochs_go_on_from_the_end(new_run, corpus):
    """With a constant learning rate it is as if there had been so many from the first."""
    settings = {"training": {"schedule": "constant", "warmup": 0, "sample_every": 100}}
    long = new_run(settings, {"training": {"epochs": 5}})
    follow(long, corpus)
    run = new_run(settings)
    follow(run, corpus)
    opened = Run.open(run.folder)
    opened.change(
        dataclasses.replace(
            opened.config, training=dataclasses.replace(opened.config.training, epochs=5)
        )
    )
    assert follow(opened, corpus)[-1].epochs == 5
    assert Run.open(run.folder).config.training.epochs == 5
    ours, theirs = kept(run), kept(long)
    assert ours["last.safetensors"] == theirs["last.safetensors"]
    assert ours["training.safetensors"] == theirs["training.safetensors"]


def test_seconds_and_characters_are_those_of_all_sittings(new_run, corpus, monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(trainer_module.time, "monotonic", lambda: float(next(clock)))
    run = new_run()
    first = follow(run, corpus, stop_after=10)[-1]
    for _ in range(10_000):  # what passes between is not of the training
        next(clock)
    last = follow(Run.open(run.folder), corpus)[-1]
    assert last.items == 27 * 100
    assert first.seconds < last.seconds < 2_000


def test_patience_counts_on(new_run, corpus):
    # A learning rate of nearly nothing: no validation is better than the first.
    layer = {"training": {"patience": 3, "epochs": 50, "lr": 1e-30, "sample_every": 100}}
    undisturbed, run = new_run(layer), new_run(layer)
    ended = follow(undisturbed, corpus)[-1]
    assert ended.out_of_patience
    assert not ended.interrupted
    assert ended.epochs < 50
    assert len(Run.open(undisturbed.folder).metrics) == 4
    follow(run, corpus, stop_after=25)
    assert follow(Run.open(run.folder), corpus)[-1].out_of_patience
    assert kept(run) == kept(undisturbed)


def test_the_weights_with_the_lowest_validation_perplexity_stay_the_best(new_run, corpus):
    """Also where they were found before the training was stopped, and lost since."""
    layer = {"training": {"lr": 0.3, "epochs": 3, "schedule": "constant"}}
    undisturbed, run = new_run(layer), new_run(layer)
    follow(undisturbed, corpus)
    follow(run, corpus, stop_after=20)
    opened = Run.open(run.folder)
    follow(opened, corpus)
    best = min(row["valid_perplexity"] for row in opened.metrics)
    assert opened.training["position"]["best_valid"] == best
    assert best < opened.metrics[-1]["valid_perplexity"]
    ours = kept(run)
    assert ours["best.safetensors"] == kept(undisturbed)["best.safetensors"]
    assert ours["best.safetensors"] != ours["last.safetensors"]


@pytest.mark.parametrize("what", ["loss", "gradient", "state"])
def test_what_is_not_finite_stops_before_the_update(new_run, corpus, monkeypatch, what):
    """The checkpoint is that of the step before; going on meets the same, or goes past it."""
    run, undisturbed = new_run({"model": DROPOUT}), new_run({"model": DROPOUT})
    follow(undisturbed, corpus)
    calls = itertools.count(1)

    def poison(value, infinite):
        return infinite(value) if next(calls) == 12 else value

    with monkeypatch.context() as patch:
        if what == "loss":
            entropy = language_module.cross_entropy_sum
            patch.setattr(language_module, "cross_entropy_sum",
                          lambda *a: poison(entropy(*a), lambda x: x * float("nan")))  # fmt: skip
        elif what == "gradient":
            clip = trainer_module.clip_gradients
            patch.setattr(trainer_module, "clip_gradients",
                          lambda *a: poison(clip(*a), lambda norm: float("inf")))  # fmt: skip
        else:
            mapped = trainer_module.map_state
            patch.setattr(trainer_module, "map_state", lambda fn, state: poison(
                mapped(fn, state), lambda s: mapped(lambda t: t + float("inf"), s)))  # fmt: skip
        with pytest.raises(TrainingError, match=f"the {what} is not finite at step 12"):
            follow(run, corpus)
    opened = Run.open(run.folder)
    assert opened.training["position"]["step"] == 11
    follow(opened, corpus)
    assert kept(run) == kept(undisturbed)


def test_weights_that_overflow_are_not_kept(new_run, corpus):
    """A finite gradient times a huge learning rate; what was kept before stays."""
    run = new_run({"training": {"save_steps": 1}})
    follow(run, corpus, stop_after=5)
    before = kept(run)
    opened = Run.open(run.folder)
    opened.config = dataclasses.replace(
        opened.config, training=dataclasses.replace(opened.config.training, lr=1e39)
    )
    with pytest.raises(TrainingError, match="not finite"):
        follow(opened, corpus)
    assert kept(run) == before


def test_a_caller_that_walks_away_leaves_a_checkpoint(new_run, corpus):
    run, undisturbed = new_run(), new_run()
    follow(undisturbed, corpus)
    for number, _ in enumerate(events := train(run, corpus, device=CPU)):
        if number == 7:
            break
    events.close()
    assert Run.open(run.folder).training["position"]["step"] > 0
    follow(Run.open(run.folder), corpus)
    assert kept(run) == kept(undisturbed)


def test_an_update_that_is_broken_off_is_not_kept(new_run, corpus, monkeypatch):
    """In the middle of the optimiser's work the weights are neither old nor new."""
    run = new_run()
    follow(run, corpus, stop_after=5)
    before = kept(run)

    def broken(self):
        with torch.no_grad():
            self.param_groups[0]["params"][0].add_(1)
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.optim.AdamW, "step", broken)
    with pytest.raises(KeyboardInterrupt):
        follow(Run.open(run.folder), corpus)
    assert kept(run) == before


def test_another_corpus_is_refused(new_run, corpus):
    run = new_run()
    follow(run, corpus, stop_after=5)
    other = load_corpus("traveller", max_chars=2000)
    differing = "characters 2,000, not 1,050; split 1,800/100/100, not 930/120/0"
    with pytest.raises(CorpusError, match=differing):
        follow(Run.open(run.folder), other)


def test_what_differs_here_is_told(new_run, corpus):
    run = new_run()
    follow(run, corpus, stop_after=5)
    opened = Run.open(run.folder)
    opened.training["threads"], opened.training["torch"] = 64, "1.0"
    trainer = Trainer(opened, LanguageModelling(opened, corpus, CPU), CPU)
    assert trainer.notices == (
        f"trained so far with torch 1.0, here {torch.__version__}; threads 64, here 1: it goes on, "
        "but not to the last bit as it would have there",
    )


def test_what_was_computed_in_bfloat16_goes_on_so(new_run, corpus):
    run = new_run({"training": {"precision": "bfloat16"}})
    follow(run, corpus, stop_after=5)
    opened = Run.open(run.folder)
    opened.config = dataclasses.replace(
        opened.config, training=dataclasses.replace(opened.config.training, precision="auto")
    )
    assert Trainer(opened, LanguageModelling(opened, corpus, CPU), CPU).bfloat16


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("position", None), ("position", []), ("bfloat16", 1), ("bfloat16", None),
        ("device_generator", {"cuda": "no hex"}), ("device_generator", None), ("torch", ...),
        ("threads", ...), ("device", ...),
    ],
)  # fmt: skip
def test_numbers_that_cannot_be_are_refused(new_run, corpus, key, value):
    run = new_run()
    follow(run, corpus, stop_after=5)
    opened = Run.open(run.folder)
    if value is ...:
        del opened.training[key]
    else:
        opened.training[key] = value
    with pytest.raises(RunError, match=r"training\.json is damaged") as caught:
        Trainer(opened, LanguageModelling(opened, corpus, CPU), CPU)
    assert "\n" not in caught.value.message


def test_more_batches_than_an_epoch_has_are_refused(new_run, corpus):
    run = new_run()
    follow(run, corpus, stop_after=12)
    opened = Run.open(run.folder)
    opened.training["position"]["batches"] = 10
    with pytest.raises(RunError, match="an epoch has 9 batches"):
        Trainer(opened, LanguageModelling(opened, corpus, CPU), CPU)


@pytest.mark.cuda
@pytest.mark.parametrize("sampling", ["random", "consecutive"])
@pytest.mark.parametrize(("backend", "cell"), NETWORKS)
def test_on_cuda_it_goes_on_bit_for_bit_with_deterministic_algorithms(
    new_run, corpus, backend, cell, sampling
):
    layer = {
        "model": {"backend": backend, "cell": cell, **DROPOUT},
        "training": {"sampling": sampling, "deterministic": True},
    }
    device = torch.device("cuda")
    undisturbed, run = new_run(layer), new_run(layer)
    follow(undisturbed, corpus, device=device)
    follow(run, corpus, stop_after=13, device=device)
    assert follow(Run.open(run.folder), corpus, device=device)[0].notices == ()
    assert kept(run) == kept(undisturbed)
