"""Loggers write each report when it is made, no step twice, and never end a training."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from charlm.errors import CharlmError, UsageError
from charlm.runs import Run
from charlm.training import Finished, Measured, Noticed, Sampled, train
from charlm.training.loggers import METRICS_FILE, find_loggers

PAGE = (Path(__file__).parents[2] / "docs/logs.md").read_text("utf-8")
CPU = torch.device("cpu")


def rows_of(run):
    """The lines of metrics.jsonl in the run folder, and those of the newest checkpoint."""
    lines = (run.folder / METRICS_FILE).read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines], Run.open(run.folder).metrics


def with_tensorboard(run, corpus, stop_after=None):
    """Trains with event files; returns the events."""
    events = []
    (kind,) = find_loggers(["tensorboard"])
    steps = run.training["progress"]["step"] if run.training else 0

    def should_stop():
        done = steps + sum(type(event).__name__ == "Stepped" for event in events)
        return stop_after is not None and done >= stop_after

    loggers = [kind(run)]
    for event in train(run, corpus, device=CPU, should_stop=should_stop, loggers=loggers):
        events.append(event)  # noqa: PERF402 - should_stop reads the list
    return events


def event_files(run):
    """The scalars and the samples by tag, as (step, value), as TensorBoard itself reads them."""
    name = "tensorboard.backend.event_processing.plugin_event_accumulator"
    read = pytest.importorskip(name).EventAccumulator(str(run.folder / "tensorboard")).Reload()
    scalars, texts = {}, {}
    for tag in read.Tags()["tensors"]:
        events = [(event.step, event.tensor_proto) for event in read.Tensors(tag)]
        if read.SummaryMetadata(tag).plugin_data.plugin_name == "scalars":
            scalars[tag] = [(step, each.float_val[0]) for step, each in events]
        else:
            texts[tag] = [(step, each.string_val[0].decode()) for step, each in events]
    return scalars, texts


def check_event_files(run):
    """The event files have exactly what the checkpoint has."""
    scalars, texts = event_files(run)
    opened = Run.open(run.folder)
    assert len({row["step"] for row in opened.metrics}) == len(opened.metrics)
    left_out = {"step", "seconds", run.task.unit}
    for key in opened.metrics[0].keys() - left_out:
        expected = [(row["step"], row[key]) for row in opened.metrics if row[key] is not None]
        found = scalars.pop(key, [])
        assert [step for step, _ in found] == [step for step, _ in expected], key
        values = [value for _, value in expected]
        assert [value for _, value in found] == pytest.approx(values, rel=1e-6)
    speeds = scalars.pop(f"{run.task.unit}_per_second")
    assert [step for step, _ in speeds] == [row["step"] for row in opened.metrics]
    assert all(speed > 0 for _, speed in speeds)
    assert scalars == {}
    steps = {row["epoch"]: row["step"] for row in opened.metrics}
    samples = [(steps[each["epoch"]], f"    {each['text']}") for each in opened.samples]
    found = texts.get("sample/1/text_summary", [])
    assert [(step, text.replace("\n    ", "\n")) for step, text in found] == samples
    assert bool(samples) == run.task.has_samples
    assert len(texts) == run.task.has_samples


def test_a_line_is_there_as_soon_as_the_report(small):
    run, reports = small.new_run(), []
    for event in train(run, small.corpus, device=CPU):
        reports += [event] if isinstance(event, Measured) else []
        assert len(rows_of(run)[0]) == len(reports) if run.checkpoint else True
        assert (run.folder / METRICS_FILE).read_bytes().count(b"\n") == len(reports)
    written, kept = rows_of(run)
    assert [key for key in written[0] if f"`{key}`" not in PAGE] == []
    assert written == kept
    assert written == [event.row(run.task) for event in reports]


@pytest.mark.parametrize("left", ["more lines", "half a line", "a link"])
def test_a_resumed_training_has_no_line_twice(make_small, follow, checkpoint_content, left):
    small = make_small("language-model")
    undisturbed, run = small.new_run(), small.new_run()
    follow(undisturbed, small.corpus)
    follow(run, small.corpus, stop_after=small.steps + 2)
    path, outside = run.folder / METRICS_FILE, small.folder / "outside"
    lines = path.read_bytes().splitlines(keepends=True)
    if left == "more lines":  # of a process that was killed after its checkpoint
        path.write_bytes(b"".join([*lines, lines[-1], lines[-1]]))
    elif left == "half a line":
        path.write_bytes(b"".join([*lines, lines[-1][:10]]))
    else:
        path.unlink()
    if left == "a link":
        outside.write_text("outside")
        path.symlink_to(outside)
    follow(Run.open(run.folder), small.corpus)
    written, kept = rows_of(run)
    assert written == kept
    for row in written:
        del row["seconds"]
    assert written == checkpoint_content(undisturbed)["metrics"]
    assert not outside.exists() or outside.read_text() == "outside"


@pytest.mark.parametrize("name", [METRICS_FILE, "tensorboard"])
def test_a_log_that_cannot_be_written_is_one_warning(make_small, checkpoint_content, name):
    small = make_small("language-model")
    undisturbed, run = small.new_run(), small.new_run()
    assert not any(
        isinstance(each, Noticed) for each in with_tensorboard(undisturbed, small.corpus)
    )
    if name == METRICS_FILE:
        (run.folder / name).mkdir()
    else:
        (run.folder / name).write_text("a file")
    events = with_tensorboard(run, small.corpus)
    (notice,) = [event for event in events if isinstance(event, Noticed)]
    assert notice.warning
    assert notice.text.startswith(f"{name} is no longer written: ")
    assert isinstance(events[-1], Finished)
    assert checkpoint_content(run) == checkpoint_content(undisturbed)


def test_event_files_of_each_task(small, checkpoint_content):
    run, without = small.new_run(), small.new_run()
    with_tensorboard(run, small.corpus)
    list(train(without, small.corpus, device=CPU))
    check_event_files(run)
    assert checkpoint_content(run) == checkpoint_content(without)


@pytest.mark.parametrize("first", [True, False])
def test_event_files_of_a_resumed_training(make_small, follow, first):
    """Also where the first part did not log, or a process was killed after its checkpoint."""
    small = make_small("language-model")
    run = small.new_run()
    trained = with_tensorboard if first else follow
    trained(run, small.corpus, stop_after=small.steps + 2)
    if first:
        shutil.copytree(run.folder, small.folder / "killed")
        trained(Run.open(run.folder), small.corpus, stop_after=2 * small.steps + 2)
        shutil.rmtree(run.folder / Run.open(run.folder).checkpoint.folder.name)
        for path in run.folder.glob("checkpoint-*"):
            shutil.rmtree(path)
        for path in (small.folder / "killed").glob("checkpoint-*"):
            shutil.copytree(path, run.folder / path.name)
    with_tensorboard(Run.open(run.folder), small.corpus)
    check_event_files(run)


def test_samples_are_text_and_not_markdown(make_small):
    small = make_small("language-model")
    run = small.new_run()
    (kind,) = find_loggers(["tensorboard"])
    logger = kind(run)
    events = train(run, small.corpus, device=CPU)
    logger.log(next(events))
    for text in ("<script>\n\r\n# [a](b)\r*c*", "\ud800"):
        logger.log(Sampled(epoch=1, prefix="", text=text))
    logger.close()
    events.close()
    _, texts = event_files(run)
    assert texts == {
        "sample/1/text_summary": [(0, "    <script>\n    \n    # [a](b)\n    *c*")],
        "sample/2/text_summary": [(0, "    \\ud800")],
    }


def test_a_logger_that_is_unknown_or_not_installed(monkeypatch):
    with pytest.raises(UsageError, match="unknown logger: 'tensorbord'") as unknown:
        find_loggers(["tensorbord"])
    assert unknown.value.hint == "did you mean tensorboard?"
    assert len(find_loggers(["tensorboard", "tensorboard"])) == 1
    monkeypatch.delitem(sys.modules, "charlm.training.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(CharlmError, match="needs the package tensorboard") as missing:
        find_loggers(["tensorboard"])
    assert missing.value.hint == 'pip install "charlm[tensorboard]"'
