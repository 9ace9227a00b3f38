"""A component that is restored wrongly changes the result of a resumed training.

`test_resuming.py` compares resumed trainings with undisturbed ones. These tests show that its
comparison could fail: for each component of a checkpoint, a wrong value is given to the trainer,
and the comparison must notice.
"""

import dataclasses

import pytest
import torch

from charlm.errors import CharlmError
from charlm.optimisation.optimisers import OPTIMISERS
from charlm.recurrent.cells import CELLS
from charlm.runs import Run
from charlm.training.progress import Progress
from charlm.training.trainer import Trainer

pytestmark = pytest.mark.slow

DROPOUT = {"input_dropout": 0.2, "dropout": 0.2, "output_dropout": 0.2, "weight_dropout": 0.2}
SAMPLINGS = ("consecutive", "random")
FIELDS = [field.name for field in dataclasses.fields(Progress)]
# The training time is no part of the comparison; `test_resuming.py` has a test of its own for it.
FIELDS.remove("seconds")


@pytest.fixture
def resumed(small, follow, checkpoint_content, monkeypatch):
    """Gives the content of the newest checkpoint after a training was stopped and resumed.

    ``spoil`` changes the state that the trainer is given. The scores of the validation split get
    worse, so that the best weights are those before the stop.
    """
    scores = iter(range(50, 10_000))
    monkeypatch.setattr(small.objective, "score", lambda *arguments: float(next(scores)))
    load = Trainer.load_state_dict

    def run(layer, stop, again=None, spoil=lambda trainer, state: None):
        def load_spoiled(trainer, state):
            spoil(trainer, state)
            load(trainer, state)

        new = small.new_run(layer)
        follow(new, small.corpus, stop)
        nonlocal scores
        scores = iter(range(60, 10_000))
        monkeypatch.setattr(Trainer, "load_state_dict", load_spoiled)
        try:
            finished = follow(Run.open(new.folder), small.corpus, again)[-1]
        finally:
            monkeypatch.setattr(Trainer, "load_state_dict", load)
        scores = iter(range(50, 10_000))
        return {
            **checkpoint_content(new),
            "finished": (finished.train, finished.valid, finished.last_train, finished.scored),
        }

    return run


@pytest.fixture
def notices(resumed):
    """Says for each wrong restoration whether it is refused, or leads to another checkpoint."""

    def find(layer, stop, spoiled, again=None):
        expected = resumed(layer, stop, again)
        assert resumed(layer, stop, again) == expected
        found = {}
        for name, spoil in spoiled.items():
            try:
                found[name] = resumed(layer, stop, again, spoil) != expected
            except CharlmError:
                found[name] = True
        return found

    return find


def zeroed(part, end=""):
    """Restores zeros in place of the tensors of a part whose names have an end."""

    def spoil(trainer, state):
        names = [name for name in state[part] if name.endswith(end)]
        assert names
        for name in names:
            state[part][name] = torch.zeros_like(state[part][name])

    return spoil


def dropped(part):
    return lambda trainer, state: state.update({part: {}})


def networks():
    for backend, cell in [
        *(("torch", c) for c in ("rnn", "rnn-relu", "gru", "lstm")),
        *(("scratch", c) for c in CELLS),
    ]:
        for sampling in SAMPLINGS:
            yield pytest.param(
                {
                    "model": {"backend": backend, "cell": cell, **DROPOUT},
                    "training": {"sampling": sampling, "averaging": 0.9, "epochs": 2},
                },
                id=f"{backend}-{cell}-{sampling}",
            )


@pytest.mark.parametrize("small", ["language-model"], indirect=True)
@pytest.mark.parametrize("layer", [*networks()])
def test_tensors_of_each_network(small, notices, layer):
    spoiled = {
        **{"weights": zeroed("weights"), "best": zeroed("best"), "average": zeroed("average")},
        **{moment: zeroed("optimiser", f".{moment}") for moment in OPTIMISERS["adamw"].moments},
    }
    if layer["training"]["sampling"] == "consecutive":
        spoiled["carried"] = dropped("carried")
    found = notices(layer, small.steps + 4, spoiled)  # inside the second epoch
    assert all(found.values()), found


@pytest.mark.parametrize("small", ["language-model"], indirect=True)
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_each_moment_of_each_weight(small, resumed, notices, optimiser):
    layer = {"model": DROPOUT, "training": {"optimiser": optimiser, "epochs": 2}}
    names = []

    def look(trainer, state):
        names.extend(state["optimiser"])

    resumed(layer, small.steps + 7, None, look)
    assert {name.rpartition(".")[2] for name in names} == set(OPTIMISERS[optimiser].moments)
    found = notices(layer, small.steps + 7, {name: zeroed("optimiser", name) for name in names})
    assert all(found.values()), found


@pytest.mark.parametrize("small", ["language-model"], indirect=True)
@pytest.mark.parametrize("name", FIELDS)
def test_each_number_of_the_progress(small, notices, name):
    """In an epoch, where a report is due, and after the end; a step later or at the end."""

    def spoil(trainer, state):
        progress = state["progress"]
        value = progress.step if name == "measured_step" else getattr(progress, name)
        if name != "measured_step":
            value = 3 if value is None else type(value)(3 * value + 1)
        setattr(progress, name, value)

    training = {"epochs": 2, "sample_every": None}
    training |= {"swa": 0.3} if name == "averaged" else {}
    layer = {"model": DROPOUT, "training": training}
    steps, inside = small.steps, small.steps + small.steps // 2
    stops = ((inside, None), (steps, None), (inside, inside + 1), (None, None))
    assert any(notices(layer, stop, {name: spoil}, again)[name] for stop, again in stops)


@pytest.mark.parametrize("part", ["metrics", "samples"])
@pytest.mark.parametrize("small", ["language-model"], indirect=True)
def test_reports(small, notices, part):
    layer = {"training": {"epochs": 2}}
    spoil = lambda trainer, state: state.update({part: state[part][1:]})  # noqa: E731
    assert notices(layer, small.steps + 2, {"wrong": spoil})["wrong"]


@pytest.mark.parametrize("small", ["language-model"], indirect=True)
def test_precision(small, notices):
    layer = {"training": {"epochs": 2, "precision": "bfloat16"}}
    spoil = lambda trainer, state: state.update(bfloat16=False)  # noqa: E731
    assert notices(layer, small.steps + 2, {"wrong": spoil})["wrong"]


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("small", ["language-model"], indirect=True)
def test_the_order_of_the_batches(small, notices, sampling):
    """The generator of a resumed training that draws the first epoch's batches once more."""

    def spoil(trainer, state):
        draw, calls = trainer.objective.draw_batches, []

        def first(generator):
            calls.append(generator)
            return draw(torch.Generator().manual_seed(trainer.config.seed))

        trainer.objective.draw_batches = first

    layer = {"training": {"epochs": 3, "sampling": sampling}}
    assert notices(layer, small.steps + 2, {"wrong": spoil})["wrong"]


@pytest.mark.parametrize("small", ["language-model", "classify", "tag"], indirect=True)
def test_the_masks_of_dropout(small, resumed, monkeypatch):
    """The generator of the masks of a resumed training that stands one step behind."""
    import charlm.training.gradients as module

    seed = module.seed_step
    layer = {"model": DROPOUT, "training": {"epochs": 2}}
    stop = small.steps + 1
    expected = resumed(layer, stop)

    def spoil(trainer, state):
        monkeypatch.setattr(
            module, "seed_step", lambda s, step, *others: seed(s, step - 1, *others)
        )

    assert resumed(layer, stop, None, spoil) != expected
