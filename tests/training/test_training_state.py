"""The trainer's state in a checkpoint: what is refused, and what the user is told."""

import dataclasses

import pytest
import torch

from charlm.errors import CorpusError, RunError
from charlm.runs import Run
from charlm.tasks.language_model.corpus import load_corpus
from charlm.training import Measured
from charlm.training.loop import open_trainer

CPU = torch.device("cpu")
pytestmark = pytest.mark.parametrize("small", ["language-model"], indirect=True)


@pytest.fixture
def stopped(small, follow):
    """A function that trains for some steps and opens the run again."""

    def stop(steps=5, **training):
        run = small.new_run({"training": training})
        follow(run, small.corpus, stop_after=steps)
        return Run.open(run.folder)

    return stop


def test_other_corpus_is_refused_before_writing(stopped, follow):
    run = stopped()
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")}
    other = load_corpus("traveller", max_chars=2000)
    differing = "characters 2,000, not 1,050; split 1,800/100/100, not 930/120/0"
    with pytest.raises(CorpusError, match=differing) as caught:
        follow(run, other)
    assert caught.value.hint == "name the right data with --corpus"
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")} == before


def test_differences_of_the_machine_are_reported(stopped, small):
    run = stopped()
    run.training.update(threads=64, torch="1.0", processes=3)
    (notice,) = open_trainer(run, small.corpus, CPU)[1]
    assert f"torch 1.0, not {torch.__version__}; threads 64, not 1; processes 3, not 1" in notice


def test_bfloat16_is_kept(stopped, small):
    run = stopped(precision="bfloat16")
    training = dataclasses.replace(run.config.training, precision="auto")
    run.config = dataclasses.replace(run.config, training=training)
    assert open_trainer(run, small.corpus, CPU)[0].bfloat16


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("progress", value) for value in (None, [], {})),
        *(("bfloat16", value) for value in (1, None, True)),
        *(("parameters", value) for value in (0, "many")),
        *((key, value) for key in ("threads", "processes") for value in (0, True, 1.0)),
        *(("device", value) for value in ("", "cuda:0", 3)),
        *(("torch", value) for value in (2, "2\n", "2" * 100)),
        *((key, ...) for key in ("progress", "torch", "threads", "device")),
        ("surprise", 1),
    ],
)
def test_impossible_numbers_are_refused(stopped, small, one_line, key, value):
    run = stopped(precision="float32")
    run.training[key] = value
    if value is ...:
        del run.training[key]
    with pytest.raises(RunError, match=r"training\.json is damaged") as caught:
        open_trainer(run, small.corpus, CPU)
    one_line(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((key, -1) for key in ("step", "items", "unimproved", "whole_epochs", "batches")),
        *(("seconds", value) for value in (-1.0, float("nan"), float("inf"), 3, "1")),
        *(("nats", value) for value in (-1.0, None)),
        *(("step", value) for value in (2**63, 1.5, True)),
        *(("items", 4), ("whole_epochs", 6), ("batches", 6), ("count", 2), ("count", 10**6)),
        *(("measured_step", 6), ("measured_share", 1.1), ("next_samples", 2.1)),
        *(("norms", 6), ("clipped", 6), ("norm_sum", -1.0), ("largest_norm", "1")),
    ],
)
def test_impossible_progress_is_refused(stopped, small, one_line, key, value):
    run = stopped()
    run.training["progress"][key] = value
    with pytest.raises(RunError, match=rf"training\.json is damaged: .*the {key} ") as caught:
        open_trainer(run, small.corpus, CPU)
    one_line(caught.value)


def test_checkpoint_from_before_the_norms_were_counted(stopped, small, follow):
    run = stopped(5)
    del run.training["processes"]
    for key in ("norms", "norm_sum", "largest_norm", "clipped", "averaged", "lr_factor"):
        del run.training["progress"][key]
    row = next(event for event in follow(run, small.corpus) if isinstance(event, Measured))
    assert row.largest_gradient_norm >= row.gradient_norm > 0


def test_more_batches_than_an_epoch_has_are_refused(stopped, small):
    run = stopped(12)
    run.training["progress"]["batches"] = 10
    with pytest.raises(RunError, match="an epoch has 9 batches"):
        open_trainer(run, small.corpus, CPU)
