"""The running mean of the weights: what it is, that it is what is scored, and that it is kept."""

from __future__ import annotations

import pytest
import torch

from charlm.config import LanguageModelConfig
from charlm.errors import RunError
from charlm.evaluation.perplexity import evaluate
from charlm.runs import Run
from charlm.training import Measured, Stepped, train
from charlm.training.language import LanguageModelling
from charlm.training.trainer import Trainer

CPU = torch.device("cpu")
SETTINGS = {
    "model": {"hidden_size": 8, "embedding": "tied"},
    "training": {
        "epochs": 2, "batch_size": 8, "seq_len": 20, "prefixes": ["The "], "averaging": 0.9,
    },
}  # fmt: skip


@pytest.fixture
def new_run(tmp_path, corpus):
    def make(name, **training):
        config = LanguageModelConfig.from_settings([SETTINGS, {"training": training}])
        return Run.create(tmp_path / name, config, corpus)

    return make


def weights(run, which):
    return Run.open(run.folder).read_weights(which)


def same(ours, theirs):
    return sorted(ours) == sorted(theirs) and all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_it_is_the_mean_by_its_equation(new_run, corpus):
    """mean += (1 - decay) (weight - mean), with a smaller decay over the first steps."""
    run = new_run("run")
    trainer = Trainer(run, LanguageModelling(run, corpus, CPU), CPU)
    mean = [each.detach().double() for each in trainer.parameters]
    decays = []
    for step in range(150):
        trainer.update()
        decays.append(min(0.9, (1 + step) / (10 + step)))
        for each, parameter in zip(mean, trainer.parameters, strict=True):
            each += (1 - decays[-1]) * (parameter.detach() - each)
        if trainer.epoch_over and trainer.over:
            break
    assert decays[0] == 0.1
    assert len(decays) < 150 or decays[-1] == 0.9
    for ours, expected in zip(trainer.average, mean, strict=True):
        torch.testing.assert_close(ours, expected.float(), rtol=1e-4, atol=1e-5)


def test_the_mean_is_scored_and_kept_as_the_best(new_run, corpus):
    run = new_run("run")
    measured = [e for e in train(run, corpus, device=CPU) if isinstance(e, Measured)]
    ids = torch.from_numpy(corpus.split("valid").copy())
    best = min(event.valid for event in measured)
    assert evaluate(run.load_model("best"), ids).perplexity == best
    last = evaluate(run.load_model("last"), ids).perplexity
    assert last != pytest.approx(measured[-1].valid, rel=1e-6)


def test_the_weights_themselves_are_those_of_a_training_without_it(new_run, corpus):
    with_mean, without = new_run("with"), new_run("without", averaging=0.0)
    for run in (with_mean, without):
        assert list(train(run, corpus, device=CPU))
    assert same(weights(with_mean, "last"), weights(without, "last"))
    assert not same(weights(with_mean, "best"), weights(without, "best"))


@pytest.mark.parametrize("stop_after", [1, 7, 22, 30])
def test_it_goes_on_bit_for_bit(new_run, corpus, stop_after):
    undisturbed, run = new_run("undisturbed"), new_run("run")
    assert list(train(undisturbed, corpus, device=CPU))
    steps = []

    def should_stop():
        return len(steps) >= stop_after

    for event in train(run, corpus, device=CPU, should_stop=should_stop):
        steps += [event] * isinstance(event, Stepped)
    assert len(steps) == stop_after
    assert list(train(Run.open(run.folder), corpus, device=CPU))
    for which in ("best", "last"):
        assert same(weights(run, which), weights(undisturbed, which))


def test_a_stop_before_the_first_measure_keeps_the_mean_as_the_best(new_run, corpus):
    run = new_run("run")
    for event in train(run, corpus, device=CPU, should_stop=lambda: True):
        assert not isinstance(event, Stepped)
    trainer = Trainer(run, LanguageModelling(run, corpus, CPU), CPU)
    for _ in range(3):
        trainer.update()
    trainer.save()
    names = [name for name, _ in trainer.model.named_parameters()]
    means = dict(sorted(zip(names, trainer.average, strict=True)))
    assert same(weights(run, "best"), means)
    assert not same(weights(run, "best"), weights(run, "last"))


def test_another_decay_cannot_go_on(new_run, corpus):
    run = new_run("run", epochs=1)
    assert list(train(run, corpus, device=CPU))
    opened = Run.open(run.folder)
    layers = [opened.config.to_dict(), {"training": {"averaging": 0.5}}]
    with pytest.raises(Exception, match=r"training\.averaging is 0\.9 in the run, not 0\.5"):
        opened.change(LanguageModelConfig.from_settings(layers))


def test_a_mean_that_is_missing_is_damage(new_run, corpus, monkeypatch):
    run = new_run("run", epochs=1)
    with monkeypatch.context() as patch:
        patch.setattr("charlm.training.keeping._average", lambda trainer: {})
        assert list(train(run, corpus, device=CPU))
    with pytest.raises(RunError, match=r"training\.safetensors"):
        list(train(Run.open(run.folder), corpus, device=CPU))
