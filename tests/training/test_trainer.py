"""One step of a training: what it computes, what it refuses, and which weights are the best."""

import itertools
import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from charlm.errors import RunError, TrainingError
from charlm.optimisation.optimisers import without_compiler
from charlm.report.averages import average_summary, average_words
from charlm.runs import Run
from charlm.tasks.language_model.corpus import load_corpus
from charlm.tasks.language_model.perplexity import evaluate
from charlm.training import Measured, Stepped
from charlm.training import gradients as gradients_module
from charlm.training import reports as reports_module
from charlm.training import trainer as trainer_module
from charlm.training.loop import open_trainer
from charlm.training.optimisation import gradient_norm, scale_gradients, snapshot
from charlm.training.saving import Saver
from charlm.training.training_state import save_state

CPU = torch.device("cpu")
DROPOUT = {"input_dropout": 0.2, "dropout": 0.2, "output_dropout": 0.2, "weight_dropout": 0.2}
language_model = pytest.mark.parametrize("small", ["language-model"], indirect=True)


def new_trainer(small, *layers):
    return open_trainer(small.new_run(*layers), small.corpus, CPU)[0]


def weights(run, which):
    return Run.open(run.folder).read_weights(which)


def same(ours, theirs):
    return sorted(ours) == sorted(theirs) and all(torch.equal(ours[k], theirs[k]) for k in ours)


# Gradients


def test_gradients_are_scaled_together():
    gradients = [torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])]
    assert float(gradient_norm(gradients)) == pytest.approx(5.0)
    scale_gradients(gradients, 0.2)
    assert torch.allclose(torch.cat(gradients), torch.tensor([0.6, 0.0, 0.0, 0.8]))


@pytest.mark.parametrize("clip_norm", [0.01, 0.0, 1000.0])
def test_gradients_above_the_norm_are_clipped(small, clip_norm):
    norms = []
    for norm in (0.0, clip_norm):
        trainer = new_trainer(small, {"training": {"clip_norm": norm}})
        trainer.update()
        norms.append(gradient_norm([each.grad for each in trainer.parameters.values()]))
    assert float(norms[1]) == pytest.approx(min(float(norms[0]), clip_norm or math.inf), rel=1e-5)


def test_gradients_with_another_number_of_threads_change_nothing(small, monkeypatch):
    used = []
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    ngrams = {"ngram_order": 3} if small.kind == "language-model" else {}
    trainers = [new_trainer(small, {"model": DROPOUT | ngrams}) for _ in range(2)]
    for count in (7, 7, 6):
        assert trainers[0].may_use(count)
        for trainer in trainers:
            trainer.update()
    assert same(*(snapshot(trainer.model) for trainer in trainers))
    assert used == [1, 7, 1, 1, 6, 1]  # asked once for each number
    loss = {"loss": torch.ones(())}
    other = iter([(loss, 1, None, [torch.full((2,), 1 + i / 1e6)]) for i in range(2)])
    monkeypatch.setattr(trainers[0]._gradients, "fill", lambda *_, **__: next(other))
    assert not trainers[0].may_use(5)
    trainers[0].share = 0.9  # by the clock
    assert trainers[0].may_use(5)


@pytest.mark.parametrize("clip_norm", ["none", 0.3, 1000.0])
def test_norms_since_the_last_report_are_recorded(make_small, clip_norm, monkeypatch):
    norms = []

    def remembered(gradients):
        norms.append(float(gradient_norm(gradients)))
        return torch.tensor(norms[-1])

    monkeypatch.setattr(trainer_module, "gradient_norm", remembered)
    trainer = new_trainer(make_small("language-model"), {"training": {"clip_norm": clip_norm}})
    for steps in (5, 3):
        norms.clear()
        for _ in range(steps):
            trainer.update()
        measured = next(trainer.reports.make(lambda: False))
        list(trainer.reports.make(lambda: False))
        row = trainer.metrics[-1]
        clipped = sum(norm > 0.3 for norm in norms) if clip_norm == 0.3 else 0
        assert row["gradient_norm"] == measured.gradient_norm == pytest.approx(sum(norms) / steps)
        assert row["largest_gradient_norm"] == measured.largest_gradient_norm == max(norms)
        assert row["clipped_share"] == measured.clipped_share == clipped / steps
        assert len(norms) == steps


def test_without_clipping_the_hint_is_to_clip(make_small):
    settings = {"optimiser": "sgd", "clip_norm": "none", "lr": 1e30}
    trainer = new_trainer(make_small("language-model"), {"training": settings})
    with pytest.raises(TrainingError, match="not finite at step") as caught:
        [trainer.update() for _ in range(3)]
    assert caught.value.hint == "clip the gradients: --clip-norm 1; or try a smaller --lr"


class ScalarReads(TorchDispatchMode):
    """Counts the tensors that are read as Python numbers inside the block."""

    def __init__(self, monkeypatch):
        super().__init__()
        self.count = 0
        tolist = torch.Tensor.tolist

        def counted(tensor):
            self.count += 1
            return tolist(tensor)

        monkeypatch.setattr(torch.Tensor, "tolist", counted)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


@language_model
@pytest.mark.parametrize("sampling", ["consecutive", "random"])
def test_step_waits_for_the_device_once(small, sampling, monkeypatch):
    """Reading a number from a tensor waits for the device. The optimiser's counters do not: they
    are on the CPU."""
    training = {"sampling": sampling, "clip_norm": 0.01, "averaging": 0.9}
    trainer = new_trainer(small, {"model": DROPOUT, "training": training})
    trainer.update()
    monkeypatch.setattr(trainer.optimiser, "step", lambda: None)
    with ScalarReads(monkeypatch) as reads:
        trainer.update()
    assert reads.count == 1


# Numbers that are not finite


@pytest.mark.parametrize(
    ("small", "what"),
    [
        *((task, what) for task in ("classify", "tag") for what in ("loss", "gradient")),
        *(("language-model", what) for what in ("loss", "gradient", "state")),
    ],
    indirect=["small"],
)
def test_bad_step_is_not_made(small, what, monkeypatch, follow, checkpoint_content):
    """The checkpoint is that of the step before, and a resumed training has the usual result."""
    run, undisturbed = (small.new_run({"model": DROPOUT}) for _ in range(2))
    follow(undisturbed, small.corpus)
    bad, calls = small.steps + 2, itertools.count(1)

    def poisoned(function, poison):
        def call(*arguments):
            result = function(*arguments)
            return poison(result) if next(calls) == bad else result

        return call

    with monkeypatch.context() as patch:
        if what == "loss":
            loss = poisoned(
                small.objective.loss, lambda result: (result[0] * math.nan, *result[1:])
            )
            patch.setattr(small.objective, "loss", loss)
        elif what == "gradient":
            norm = poisoned(gradient_norm, lambda result: result + math.inf)
            patch.setattr(trainer_module, "gradient_norm", norm)
        else:
            mapped = gradients_module.map_state
            infinite = poisoned(mapped, lambda state: mapped(lambda t: t + math.inf, state))
            patch.setattr(gradients_module, "map_state", infinite)
        message = rf"the {what} is not finite at step {bad}, after .+ {small.task.unit}"
        with pytest.raises(TrainingError, match=message) as caught:
            follow(run, small.corpus)
    assert "--lr" in caught.value.hint
    opened = Run.open(run.folder)
    assert opened.training["progress"]["step"] == bad - 1
    follow(opened, small.corpus)
    assert checkpoint_content(run) == checkpoint_content(undisturbed)


@pytest.mark.parametrize(
    ("factor", "weight_decay", "clip_norm"), [(1e40, 0.0, 1.0), (1e20, 1e20, 1.0), (1e30, 0.0, 0.0)]
)
def test_step_that_would_overflow_is_not_made(
    small, factor, weight_decay, clip_norm, monkeypatch, follow, checkpoint_content
):
    """In the last step before a report, when no checkpoint has been written."""
    training = {"weight_decay": weight_decay, "clip_norm": clip_norm, "lr": 1.0}
    layer = {"training": {**training, "optimiser": "adamw" if weight_decay else "sgd"}}
    monkeypatch.setattr(reports_module, "REPORTS", 1)
    run, stopped = small.new_run(layer), small.new_run(layer)
    if clip_norm == 0.0:
        monkeypatch.setattr(trainer_module, "gradient_norm", lambda gradients: torch.tensor(10.0))
    factors = [1e-30] * (small.steps - 1) + [factor]
    script = itertools.chain(factors[:-1], factors)
    monkeypatch.setattr(trainer_module, "learning_rate_factor", lambda *_: next(script))
    follow(stopped, small.corpus, stop_after=small.steps - 1)
    with pytest.raises(TrainingError, match="the update is not finite") as caught:
        follow(run, small.corpus)
    assert "--lr" in caught.value.hint
    assert checkpoint_content(run) == checkpoint_content(stopped)


def test_weights_that_are_not_finite_are_neither_scored_nor_saved(small):
    run = small.new_run()
    trainer = open_trainer(run, small.corpus, CPU)[0]
    trainer.update()
    with torch.no_grad():
        next(iter(trainer.parameters.values())).fill_(math.inf)
    with pytest.raises(TrainingError, match="the weights are not finite at step 1") as caught:
        list(trainer.reports.make(lambda: False))
    assert "--lr" in caught.value.hint
    Saver(run, trainer).save()
    assert run.checkpoint is None


def test_interrupted_update_is_not_saved(small, monkeypatch, follow, checkpoint_content):
    """In the middle of the optimiser's work the weights are neither the old nor the new ones."""
    run = small.new_run({"training": {"optimiser": "adamw"}})
    follow(run, small.corpus, stop_after=2)
    before = checkpoint_content(run)

    def interrupted(optimiser):
        with torch.no_grad():
            optimiser.param_groups[0]["params"][0].add_(1)
        raise KeyboardInterrupt

    monkeypatch.setattr(without_compiler(torch.optim.AdamW), "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        follow(Run.open(run.folder), small.corpus)
    assert checkpoint_content(run) == before


# The best weights


TASKS = ("language-model", "classify", "tag")
SCORES = [([3.0, 1.0, 2.0], 2), ([1.0, 1.0, 1.0], 1), ([3.0, 2.0, 1.0], 3)]
INFINITE = [([math.inf, 1.0, 1.0], 2), ([math.inf] * 3, None)]  # a perplexity may overflow


@pytest.mark.parametrize(
    ("small", "scores", "best"),
    [
        *((task, *case) for task in TASKS for case in SCORES),
        *(("language-model", *case) for case in INFINITE),
    ],
    indirect=["small"],
)
def test_weights_with_the_best_score_are_kept(
    small, scores, best, monkeypatch, follow, checkpoint_content
):
    """Scores at the ends of three epochs, 1 being the best; the first of equal ones counts."""
    if small.task.valid_metric.higher_is_better:
        scores = [10 - score for score in scores]
    monkeypatch.setattr(reports_module, "REPORTS", 1)
    undisturbed, run = small.new_run(), small.new_run()

    def scripted(start=0):
        script = iter(scores[start:])
        monkeypatch.setattr(small.objective, "score", lambda *arguments: next(script))

    scripted()
    finished = follow(undisturbed, small.corpus)[-1]
    assert finished.valid == (None if best is None else scores[best - 1])
    scripted()
    epoch = best or 3
    follow(run, small.corpus, stop_after=epoch * small.steps)
    at_best = checkpoint_content(run)["last.safetensors"]
    assert checkpoint_content(undisturbed)["best.safetensors"] == at_best
    scripted(epoch - 1)
    follow(Run.open(run.folder), small.corpus)
    assert checkpoint_content(run) == checkpoint_content(undisturbed)
    progress = Run.open(run.folder).training["progress"]
    assert progress["unimproved"] == 3 - epoch + (3 if best is None else 0)


# The mean of the weights

NOISY = {"schedule": "constant", "lr": 0.2}  # so that the mean is better than the last weights
MEAN = {"training": {"averaging": 0.9, **NOISY}}
UNIFORM = {"swa": {"swa": 0.5}, "nt_asgd": {"nt_asgd": 1}}


@language_model
def test_running_mean_by_its_equation(small):
    """mean += (1 - decay) (weight - mean), with a smaller decay over the first steps."""
    trainer = new_trainer(small, MEAN, {"training": {"epochs": 20}})
    mean = {name: each.detach().double() for name, each in trainer.parameters.items()}
    decays = [min(0.9, (1 + step) / (10 + step)) for step in range(100)]
    for decay in decays:
        trainer.update()
        for name, parameter in trainer.parameters.items():
            mean[name] += (1 - decay) * (parameter.detach() - mean[name])
    assert (decays[0], decays[-1]) == (0.1, 0.9)
    for name, expected in mean.items():
        torch.testing.assert_close(trainer.average[name], expected.float(), rtol=1e-4, atol=1e-5)


@language_model
@pytest.mark.parametrize("kind", UNIFORM)
def test_uniform_mean_of_the_last_part_or_after_a_plateau(small, kind, monkeypatch):
    """With nt_asgd=1, a score is compared with those before the one before it."""
    # The fourth is worse than the second.
    scores = itertools.chain([5.0, 4.0, 4.5, 4.6], itertools.repeat(1.0))
    monkeypatch.setattr(small.objective, "score", lambda *arguments: next(scores))
    trainer = new_trainer(small, {"training": {**UNIFORM[kind], "epochs": 6}})
    kept, first = [], {"swa": 3, "nt_asgd": 4}[kind] * small.steps
    for step in range(6 * small.steps):
        if step < first:
            assert not trainer.mean
        trainer.update()
        if trainer.progress.step % small.steps == 0:
            list(trainer.reports.make(lambda: False))
        if trainer.progress.step >= first + (kind == "swa"):
            kept.append(snapshot(trainer.model))
    assert trainer.progress.averaged == len(kept)
    for name, mean in trainer.mean.items():
        expected = torch.stack([each[name] for each in kept]).double().mean(0)
        torch.testing.assert_close(mean, expected.float(), rtol=1e-4, atol=1e-5)


@language_model
@pytest.mark.parametrize("training", [MEAN["training"], {"averaging": 0.999}, *UNIFORM.values()])
def test_better_of_the_weights_and_their_mean_is_kept(small, training, follow):
    run = small.new_run({"training": training})
    measured = [e for e in follow(run, small.corpus) if isinstance(e, Measured)]
    for event in measured:
        scores = [score for score in (event.raw, event.averaged) if score is not None]
        assert len(scores) in (0, 2)
        assert event.valid == min(scores, default=event.valid)
    ids = torch.from_numpy(small.corpus.split("valid").copy())
    best = min(measured, key=lambda event: event.valid)
    assert evaluate(run.load_model("best"), ids).perplexity == best.valid
    summary = average_summary(small.task, run.metrics)
    if training is MEAN["training"] or "swa" in training:
        kept = "averaged" if best.valid == best.averaged else "raw"
        assert summary["weights_kept"] == kept
        assert kept == "averaged" or "swa" in training
        assert average_words(small.task, summary)
    if training.get("averaging") == 0.999:
        assert summary["weights_kept"] == "raw"


def test_mean_does_not_change_the_weights(small, follow):
    without = small.new_run({"training": NOISY})
    follow(without, small.corpus)
    for mean in (MEAN["training"], *UNIFORM.values()):
        with_mean = small.new_run({"training": {**NOISY, **mean}})
        follow(with_mean, small.corpus)
        assert same(weights(with_mean, "last"), weights(without, "last"))


def test_running_mean_is_the_best_before_the_first_report(small):
    run = small.new_run(MEAN)
    trainer = open_trainer(run, small.corpus, CPU)[0]
    trainer.update()
    save_state(run, trainer.state_dict())
    assert same(weights(run, "best"), trainer.average)
    assert not same(weights(run, "best"), weights(run, "last"))


@language_model
def test_missing_running_mean_is_damage(small, follow, monkeypatch):
    run = small.new_run(MEAN)
    with monkeypatch.context() as patch:
        patch.setattr("charlm.training.training_state._TENSORS", ("optimiser", "carried"))
        follow(run, small.corpus, stop_after=2)
    with pytest.raises(RunError, match=r"training\.safetensors"):
        follow(Run.open(run.folder), small.corpus)


# Plateaus


@language_model
@pytest.mark.parametrize(
    ("patience", "factors"), [(1, [1, 0.5, 0.5, 0.25, 0.125]), (2, [1, 1, 1, 1, 0.5])]
)
def test_learning_rate_falls_after_scores_without_an_improvement(
    small, patience, factors, monkeypatch
):
    scores = iter([5.0, 6.0, 4.0, 5.0, 6.0])
    monkeypatch.setattr(small.objective, "score", lambda *arguments: next(scores))
    schedule = {"schedule": "plateau", "plateau_patience": patience, "warmup": 0.0, "epochs": 9}
    trainer = new_trainer(small, {"training": {**schedule, "lr": 0.08}})
    for factor in factors:
        list(trainer.reports.make(lambda: False))
        trainer.update()
        assert trainer.progress.learning_rate == pytest.approx(0.08 * factor)


@language_model
def test_without_a_validation_split_what_needs_it_is_named(small):
    run = small.new_run({"training": {"schedule": "plateau", "nt_asgd": 2}})
    corpus = load_corpus("traveller", max_chars=1050, split=(1050, 0, 0))
    run = Run.create(run.folder.with_name("no-valid"), run.config, corpus)
    notices = open_trainer(run, corpus, CPU)[1]
    ending = "has no effect: there is no validation split"
    assert notices == (f"schedule=plateau {ending}", f"nt_asgd {ending}")


# Independence from scores and checkpoints


def test_reports_and_checkpoints_change_no_weight(small, follow, checkpoint_content, monkeypatch):
    """With dropout, so that a stray draw from the global generator would show."""
    found = []
    for reports, save_steps, least in ((1, None, 3), (5, 1, 5), (1000, 3, 3 * small.steps)):
        monkeypatch.setattr(reports_module, "REPORTS", reports)
        run = small.new_run({"model": DROPOUT, "training": {"save_steps": save_steps}})
        measured = [e for e in follow(run, small.corpus) if isinstance(e, Measured)]
        assert len(measured) >= least
        found.append(checkpoint_content(run))
    for name in ("last.safetensors", "training.safetensors"):
        assert found[0][name] == found[1][name] == found[2][name]


def test_seed_decides_on_the_weights(small, follow, checkpoint_content):
    runs = [small.new_run({"model": DROPOUT, "training": {"seed": seed}}) for seed in (1, 1, 2)]
    for run in runs:
        assert any(isinstance(event, Stepped) for event in follow(run, small.corpus))
    first, second, third = map(checkpoint_content, runs)
    assert first == second
    assert first["last.safetensors"] != third["last.safetensors"]


def test_snapshot_does_not_change_with_the_weights():
    model = torch.nn.Linear(1, 1)
    taken = snapshot(model)
    model.weight.data.add_(1)
    assert not torch.equal(taken["weight"], model.weight)
