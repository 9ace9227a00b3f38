"""A worker: trainings that are interrupted, stopped early, or fail."""

from __future__ import annotations

import itertools

import numpy
import pytest

from charlm.errors import TrainingError
from charlm.jobs import Job
from charlm.runs import Run
from charlm.sweeps import worker
from charlm.sweeps.results import best_of, results
from charlm.sweeps.study import open_study
from charlm.sweeps.worker import work

pytest.importorskip("optuna", reason="needs optuna: pip install -e '.[sweep]'")


def never() -> bool:
    return False


def after(steps):
    """A job that is asked to stop at that look."""
    counter = itertools.count()
    return lambda: next(counter) >= steps


def found(sweep):
    return results(open_study(sweep), sweep)


def scores(sweep):
    return {each.number: (each.value, each.scores, each.settings) for each in found(sweep)}


def test_an_interrupted_sweep_ends_as_an_undisturbed_one(tiny):
    whole, parts = tiny(2, name="whole"), tiny(2, name="parts")
    notes: list[str] = []
    work(whole, None, Job(never, notes.append))
    assert [each.state for each in found(whole)] == 2 * ["complete"]
    assert notes[1].startswith("trial 0: valid perplexity ")
    notes.clear()
    stops = 0
    while len(found(parts)) < 2 or any(each.state == "unfinished" for each in found(parts)):
        work(parts, None, Job(after(260), notes.append))
        stops += 1
        assert stops < 20
    assert stops > 2
    assert any("interrupted after" in note for note in notes)
    assert scores(parts) == scores(whole)
    for number in range(2):
        runs = [Run.open(sweep.run_folder(number)) for sweep in (whole, parts)]
        assert runs[0].read_weights("best").keys() == runs[1].read_weights("best").keys()
        for name, tensor in runs[0].read_weights("best").items():
            assert tensor.equal(runs[1].read_weights("best")[name])
        assert runs[1].summary()["interrupted"] is False
    best = best_of(found(whole))
    assert best.value == min(each.value for each in found(whole))
    assert best.run == whole.run_folder(best.number)


def test_a_trial_that_is_worse_than_the_others_is_stopped_early(tiny, monkeypatch):
    sweep = tiny(1)
    monkeypatch.setattr("optuna.Trial.should_prune", lambda self: numpy.True_)  # as the pruner's
    notes: list[str] = []
    work(sweep, None, Job(never, notes.append))
    (result,) = found(sweep)
    assert result.state == "pruned"
    assert "the others are better" in notes[-1]
    run = Run.open(result.run)
    # The report after which it was stopped is in the run, and --resume can go on.
    assert [row["valid_perplexity"] for row in run.metrics] == [value for _, value in result.scores]
    assert len(result.scores) == 1
    assert run.summary()["interrupted"] is True


def test_pruning_can_be_off(tiny):
    kinds = [
        type(open_study(tiny(1, f"pruning = {on}")).pruner).__name__ for on in ("true", "false")
    ]
    assert kinds == ["MedianPruner", "NopPruner"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TrainingError("the loss is not finite"), "the loss is not finite"),
        (RuntimeError("CUDA out of memory"), "there is not enough memory for this"),
    ],
)
def test_settings_that_fail(tiny, monkeypatch, error, reason):
    train_whole = worker.train_whole

    def fails_once(task, given, folder, **options):
        if folder.name == "trial-0000":
            raise error
        return train_whole(task, given, folder, **options)

    monkeypatch.setattr(worker, "train_whole", fails_once)
    notes: list[str] = []
    sweep = tiny(2)
    work(sweep, None, Job(never, notes.append))
    good, bad = found(sweep)
    assert (good.state, bad.state, bad.reason) == ("complete", "failed", reason)
    assert f"trial 0: failed: {reason}" in notes
    assert best_of(found(sweep)) == good


def test_other_errors_end_the_worker_and_leave_the_trial(tiny, monkeypatch):
    sweep = tiny(1)
    with monkeypatch.context() as patch:
        patch.setattr(worker, "train_whole", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            work(sweep, None, Job(never, print))
    assert [each.state for each in found(sweep)] == ["unfinished"]
    work(sweep, None, Job(never, print))
    assert [each.state for each in found(sweep)] == ["complete"]
