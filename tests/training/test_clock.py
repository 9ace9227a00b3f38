"""Trainings on a clock of their own: their whole wait keeps to the budget of minutes.

The clock moves only while a step, a score, a sample or a checkpoint is made, by a time that the
test chooses, so the course of each training is certain.
"""

import dataclasses
import itertools
from typing import Any

import pytest
import torch

from charlm.errors import Stopped
from charlm.runs import Run
from charlm.task import Task
from charlm.training import Measured, Noticed, Sampled, Stepped, train
from charlm.training.clock import Clock
from charlm.training.objective import Objective
from charlm.training.trainer import Trainer

CPU = torch.device("cpu")


class Costs:
    """A clock, and what its pieces of work cost, in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.set_up, self.step, self.save, self.conclusion = 3.0, 0.5, 1.0, 2.0
        self.score = 0.001  # of an item
        self.character = 0.01  # of a sample
        self.scored: list[int] = []  # the sizes of the scores
        self.starts_trained = False  # whether the first score comes before the first step
        self.forward = 0.1  # of a batch without gradients
        self.stopped = 0  # the size of a score that is interrupted

    def taking(self, function: Any, seconds: Any) -> Any:
        """The function, which then takes some seconds on this clock."""

        def call(*arguments: Any, **keywords: Any) -> Any:
            result = function(*arguments, **keywords)
            self.now += seconds(*arguments) if callable(seconds) else seconds
            return result

        return call


@pytest.fixture
def costs(monkeypatch):
    costs = Costs()
    monkeypatch.setattr("time.monotonic", lambda: costs.now)
    update, save = Trainer._differentiate, Run.save
    step = costs.taking(update, lambda *_: costs.step)
    monkeypatch.setattr(Trainer, "_differentiate", step)
    monkeypatch.setattr(Run, "save", costs.taking(save, lambda *_: costs.save))
    prepared = costs.taking(lambda *_: (), lambda *_: costs.conclusion)
    monkeypatch.setattr(Task, "prepare_conclusion", prepared)
    return costs


@pytest.fixture
def timed(make_small, costs, monkeypatch):
    """Trains on the clock; returns the run, the events, and the time until the command's end."""

    def follow(kind: str, *layers: Any, valid: int | None = None, run: Run | None = None) -> Any:
        small = make_small(kind)
        objective = small.objective

        def score(self: Objective, model: Any, size: int, should_stop: Any) -> float:
            if size == costs.stopped:
                raise Stopped
            costs.scored.append(size)
            costs.now += costs.score * size
            return 50.0 - len(costs.scored)

        def sample(self: Objective, model: Any, epoch: float, should_stop: Any, enough: Any) -> Any:
            text = ""
            while len(text) < 100 and not enough():
                costs.now += costs.character
                text += "a"
            yield Sampled(epoch=epoch, prefix="", text=text)

        monkeypatch.setattr(objective, "score", score)
        if kind == "language-model":
            monkeypatch.setattr(type(small.task), "prepare_conclusion", Task.prepare_conclusion)
            monkeypatch.setattr(objective, "sample", sample)
            loss = costs.taking(
                objective.loss, lambda *_: 0.0 if torch.is_grad_enabled() else costs.forward
            )
            monkeypatch.setattr(objective, "loss", loss)
            monkeypatch.setattr(objective, "has_valid", True)
            begin = objective.__init__

            def started(self: Objective, *arguments: Any) -> None:
                begin(self, *arguments)
                self.valid_size = self.valid_size if valid is None else valid
                self.starts_trained = costs.starts_trained

            monkeypatch.setattr(objective, "__init__", started)
        begun = costs.now
        costs.now += costs.set_up
        run = run or small.new_run(*layers)
        events = list(train(run, small.corpus, device=CPU, begun=begun))
        return run, events, costs.now - begun

    return follow


def budget(minutes: float | None, **training: Any) -> dict[str, Any]:
    return {"training": {"epochs": None, "minutes": minutes, **training}}


def only(kind: type, events: list[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"set_up": 20.0},
        {"step": 0.1, "score": 0.0},
        {"step": 7.0, "character": 1.0},  # a model with slow steps
        {"save": 5.0},
        {"score": 0.01},  # scores that are slower than training
        {"conclusion": 10.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("valid", [100, pytest.param(10_000, marks=pytest.mark.slow), 10**8])
def test_whole_wait_keeps_to_the_budget(timed, costs, changed, valid):
    vars(costs).update(changed)
    _, events, waited = timed("language-model", budget(1.0, save_minutes=0.2), valid=valid)
    assert waited <= 60 * 1.05 + 2
    # Most of the time is used: what is kept free for the end can be larger than the end.
    assert waited >= 60 - 2 * costs.step - 12
    assert only(Stepped, events)[-1].progress == 1
    assert events[-1].waited == pytest.approx(waited)


def test_learning_rate_falls_to_zero_with_the_last_step(timed, costs):
    _, events, _ = timed("language-model", budget(1.0), valid=10_000)
    shares = [event.progress for event in only(Stepped, events)]
    assert shares == sorted(shares)
    assert max(b - a for a, b in itertools.pairwise(shares)) < 0.15
    measured = only(Measured, events)
    assert measured[-1].learning_rate < 0.01 * 0.02
    assert [round(event.left) for event in only(Stepped, events)][::-1] == sorted(
        round(event.left) for event in only(Stepped, events)
    )


def test_first_score_before_any_step_is_bounded_by_a_forward_pass(timed, costs):
    costs.starts_trained = True
    _, events, waited = timed("language-model", budget(1.0), valid=10**7)
    assert only(Measured, events)[0].step == 0
    assert costs.scored[0] == 0.025 * 60 * 100 / costs.forward // 93 * 93
    assert waited <= 60 * 1.05 + 2


def test_budget_that_the_set_up_uses_up_leaves_one_step(timed, costs):
    costs.set_up = 100.0
    _, events, _ = timed("language-model", budget(1.0))
    assert len(only(Stepped, events)) == 1
    assert len(only(Measured, events)) == 1
    assert not events[-1].interrupted


def test_scores_before_the_end_take_a_tenth_of_the_budget(timed, costs):
    """One size for all, since the best weights are those with the best score."""
    _, events, _ = timed("language-model", budget(1.0, batch_size=2, seq_len=10), valid=10**7)
    *before, last = costs.scored
    assert len(before) >= 4
    assert len(set(before)) == 1
    assert sum(before[:-1]) * costs.score <= 0.1 * 60 + before[0] * costs.score
    assert last > 2 * before[0]  # the best weights are scored on more
    assert (events[-1].scored, events[-1].valid) == (last, 50 - len(costs.scored))
    (notice,) = only(Noticed, events)
    assert f"{before[0]:,} of the 10,000,000 valid characters" in notice.text


@pytest.mark.parametrize("score", [0.0001, 10.0])
def test_with_epochs_alone_the_sample_is_fixed_and_the_end_is_whole(timed, costs, score):
    """Whatever the speed: the result depends on no clock."""
    costs.score = score
    _, events, _ = timed("language-model", {"training": {"minutes": None}}, valid=10**7)
    assert set(costs.scored[:-1]) == {198_656}
    assert costs.scored[-1] == events[-1].scored == 10**7


def test_small_split_is_scored_whole(timed, costs):
    _, events, _ = timed("language-model", {"training": {"minutes": None}}, valid=200_000)
    assert set(costs.scored) == {200_000}
    assert events[-1].scored == 200_000
    assert only(Noticed, events) == []


def test_finished_by_the_clock_is_finished(timed, costs):
    """Whatever the set-up of the next command takes; a larger budget trains longer."""
    run, events, _ = timed("language-model", budget(1.0), valid=10**7)
    costs.set_up, costs.scored = 0.0, []
    _, again, _ = timed("language-model", valid=10**7, run=Run.open(run.folder))
    assert only(Stepped, again) == costs.scored == []
    assert (again[-1].valid, again[-1].scored) == (events[-1].valid, events[-1].scored)
    longer = Run.open(run.folder)
    training = dataclasses.replace(longer.config.training, minutes=2.0)
    longer.change(dataclasses.replace(longer.config, training=training))
    _, more, waited = timed("language-model", valid=10**7, run=longer)
    assert set(costs.scored[:-1]) == {Run.open(run.folder).training["progress"]["scored"]}
    assert 105 < events[-1].seconds + waited <= 120 * 1.05 + 2
    assert len(only(Stepped, more)) > 50


@pytest.mark.parametrize("minutes", [None, 1.0])
def test_last_score_that_was_interrupted_is_repeated(timed, costs, minutes):
    costs.stopped, costs.score = 10**7, 1e-8
    run, events, _ = timed("language-model", budget(minutes, epochs=2), valid=10**7)
    assert events[-1].interrupted
    assert events[-1].scored == costs.scored[0] < 10**7
    costs.stopped, costs.scored = 0, []
    _, again, _ = timed("language-model", valid=10**7, run=Run.open(run.folder))
    assert costs.scored == [10**7] == [again[-1].scored]
    assert only(Stepped, again) == []
    assert not again[-1].interrupted


@pytest.mark.parametrize(("score", "fits"), [(0.5, True), (10.0, False)])
def test_test_split_is_scored_where_there_is_time(timed, costs, score, fits):
    costs.score = score
    _, events, waited = timed("classify", budget(1.0))
    assert events[-1].tests == fits
    if fits:
        assert waited + 10 * score <= 60 * 1.05 + 2  # as many texts as in the validation split
    words = [event.text for event in only(Noticed, events) if "test" in event.text]
    assert bool(words) != fits


@pytest.mark.parametrize(("epochs", "words"), [(40, False), (10**6, True)])
def test_long_training_by_epochs_is_announced(timed, costs, epochs, words, monkeypatch):
    monkeypatch.setattr(Trainer, "over", property(lambda self: self.progress.step > 30))
    layer = {"training": {"epochs": epochs, "minutes": None}}
    _, events, _ = timed("language-model", layer)
    texts = [event.text for event in only(Noticed, events)]
    expected = [
        "999,999 epochs of 930 characters take about 54 days at 200 characters/s; "
        "--minutes 30 would stop sooner"
    ]
    assert texts == (expected if words else [])


def test_slow_first_step_does_not_count_for_the_speed(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    clock = Clock(None)
    for seconds in (30.0, 2.0, 2.0):
        assert not clock.measured
        now[0] += seconds
        clock.step_done(100)
    assert clock.speed == 50
    with clock.timing("score"):
        now[0] += 9
    now[0] += 2
    clock.step_done(100)
    assert (clock.speed, clock.seconds, clock.measured) == (50, 45, True)
