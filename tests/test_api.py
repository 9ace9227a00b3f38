"""`charlm.train` and `charlm.open`: the command's training, from Python."""

from __future__ import annotations

import asyncio
import json
import os
import pydoc
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

import charlm
from charlm import api
from charlm.cli import run as command
from charlm.errors import CharlmError, RunError, UsageError
from charlm.report import live

SMALL = {"hidden_size": 8, "seq_len": 16, "batch_size": 4, "progress": False}
OPTIONS = ["--hidden-size", "8", "--seq-len", "16", "--batch-size", "4"]
RUN = Path("checkpoints") / "a"


@pytest.fixture(autouse=True)
def book(working_folder: Path) -> Path:
    """A text in the working folder."""
    path = working_folder / "book.txt"
    path.write_text("the cat sat on the mat. the dog sat on the log.\n" * 30, encoding="utf-8")
    return path


@pytest.fixture
def weights():
    """Gives the bytes of the weights in a run's newest checkpoint."""

    def read(run):
        folder = charlm.Run.open(run.folder).checkpoint.folder
        return [(folder / f"{which}.safetensors").read_bytes() for which in ("best", "last")]

    return read


def test_train_is_the_command(weights, capsys):
    """The same weights, settings and summary, in a run that the commands list."""
    given = ["train", "--corpus", "book.txt", "--epochs", "2", *OPTIONS, "--run", str(RUN)]
    assert command([*given, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    run = charlm.train("book.txt", epochs=2, run=Path("checkpoints") / "b", **SMALL)
    by_command = charlm.open(RUN)
    assert type(run) is type(by_command) is charlm.LanguageModelRun
    assert weights(run) == weights(by_command)
    assert run.config == by_command.config
    timed = {"run", "seconds", "seconds_with_set_up", "characters_per_second"}
    summary = run.summary()
    assert summary.keys() == printed.keys()
    assert all(summary[key] == printed[key] for key in summary.keys() - timed)


def test_train_has_the_commands_defaults(capsys):
    """The snippet in the README trains with the settings of ``charlm train``."""
    given = ["train", "--dry-run", "--json", "--max-chars", "3000", "--epochs", "1"]
    assert command(given) == 0
    config = json.loads(capsys.readouterr().out)["config"]
    run = charlm.train(max_chars=3000, epochs=1, progress=False)
    assert json.loads(json.dumps(run.config.to_dict())) == config


def test_later_settings_win():
    Path("own.toml").write_text("[training]\nlr = 0.5\nseed = 5\n[model]\nhidden_size = 6\n")
    values = {"preset": "timemachine-gru", "epochs": 1, "progress": False, "cleaning": "none"}
    values["prefixes"] = ["the "]
    run = charlm.train("book.txt", settings="own.toml", seed=np.int64(7), num_steps=9, **values)
    training, model = run.config.training, run.config.model
    assert (training.lr, training.seed, training.seq_len) == (0.5, 7, 9)
    assert (model.cell, model.hidden_size) == ("gru", 6)
    run = charlm.train(settings={"corpus": {"source": Path("book.txt")}}, epochs=1, **SMALL)
    assert run.corpus["name"] == "book"


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        ({"hiden_size": 3}, "unknown key: 'hiden_size'", "did you mean hidden_size?"),
        ({"num_step": 3}, "unknown key: 'num_step'", "did you mean num_steps?"),
        ({"hidden_size": "many"}, "model.hidden_size is 'many'; it must be a whole number", None),
        ({"settings": {"modle": {}}}, "unknown section: 'modle'", "did you mean model?"),
        ({"task": "tagger"}, "unknown task: 'tagger'", "did you mean tag?"),
        ({"preset": "jaychou"}, "unknown preset", "did you mean"),
        ({"corpus": "bok.txt"}, "no corpus, file or folder is called 'bok.txt'", "did you mean"),
        ({"device": "abacus"}, "no device 'abacus' here", "cpu"),
        ({"resume": True}, "no run to resume", "train one: charlm train"),
        ({"log": "tensorbord"}, "unknown logger: 'tensorbord'", "did you mean tensorboard?"),
    ],
)
def test_a_mistake_is_one_line_and_makes_no_run(arguments, message, hint, one_line):
    with pytest.raises(CharlmError) as caught:
        charlm.train(**{"corpus": "book.txt", "epochs": 1, "progress": False, **arguments})
    assert message in one_line(caught.value)
    if hint is not None:
        assert hint in caught.value.hint
        assert caught.value.__notes__ == [f"hint: {caught.value.hint}"]  # a traceback shows it
    assert not Path("checkpoints").exists()


def test_resuming_continues_the_run():
    run = charlm.train("book.txt", epochs=1, run=RUN, **SMALL)
    again = charlm.train(run=RUN, resume=True, epochs=2, progress=False, log="tensorboard")
    assert [*(RUN / "tensorboard").iterdir()]
    assert again.folder == run.folder
    assert [row["epoch"] for row in again.metrics][-1] == 2
    with pytest.warns(UserWarning, match="already complete"):
        charlm.train(run=RUN, resume=True, progress=False)
    with pytest.raises(UsageError, match="hidden_size is 8 in the run, not 9"):
        charlm.train(run=RUN, resume=True, hidden_size=9)


@pytest.fixture
def press(monkeypatch):
    """A function: press Ctrl-C when the training has made so many steps."""

    def at(step):
        show, steps = live.TrainingDisplay.stepped, []

        def pressing(self, event):
            show(self, event)
            steps.append(event)
            if len(steps) == step:
                signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(live.TrainingDisplay, "stepped", pressing)

    return at


def test_ctrl_c_saves_and_raises(press, weights):
    before = signal.getsignal(signal.SIGINT)
    press(3)
    with pytest.raises(KeyboardInterrupt, match=r"saved: charlm.open\('.*a'\)"):
        charlm.train("book.txt", epochs=2, run=RUN, **SMALL)
    assert signal.getsignal(signal.SIGINT) is before
    run = charlm.open(RUN)
    assert run.training["progress"]["step"] == 3
    assert run.summary()["interrupted"] is True
    again = charlm.train(run=RUN.resolve(), resume=True, progress=False)
    assert weights(again) == weights(charlm.train("book.txt", epochs=2, **SMALL))


def test_a_second_ctrl_c_raises_at_once():
    with api.interruptible() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_an_ignored_ctrl_c_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with api.interruptible() as stop:
            signal.raise_signal(signal.SIGINT)
        assert not stop()
    finally:
        signal.signal(signal.SIGINT, before)


def test_training_in_another_thread_and_in_a_running_event_loop():
    runs = []
    thread = threading.Thread(
        target=lambda: runs.append(charlm.train("book.txt", epochs=1, **SMALL))
    )
    thread.start()
    thread.join()

    async def main():
        await asyncio.sleep(0)
        run = charlm.train("book.txt", epochs=1, **SMALL)
        assert run.generate("the ", 5, seed=1)
        runs.append(run)

    asyncio.run(main())
    assert runs[0].metrics[-1]["valid_perplexity"] == runs[1].metrics[-1]["valid_perplexity"]


def test_open_finds_runs_by_name_path_and_age():
    run = charlm.train("book.txt", epochs=1, run=RUN, **SMALL)
    for name in ("a", str(RUN), RUN, RUN.resolve(), str(RUN.resolve()), None):
        assert charlm.open(name).folder.resolve() == run.folder.resolve()
    with pytest.raises(RunError, match="is a run of charlm train, not of charlm classify train"):
        charlm.open(RUN, task="classify")
    with pytest.raises(RunError, match="no trained run"):
        charlm.open(task="tag")
    with pytest.raises(RunError, match="not a run folder"):
        charlm.open("other")


def test_progress_goes_to_stderr_and_can_be_silenced(capfd):
    charlm.train("book.txt", epochs=1, run=RUN, **{**SMALL, "progress": True})
    out, err = capfd.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0] == f"run: '{RUN}'"
    metrics = r"0:0\d  epoch 1: train perplexity [\d.]+, valid perplexity [\d.]+"
    assert any(re.match(metrics, line) for line in lines)
    assert "n-gram" in lines[-1]  # the conclusion of the command
    charlm.train("book.txt", epochs=1, **SMALL)
    assert capfd.readouterr() == ("", "")


class Kernel:
    """Stands for IPython in a notebook: it records what is displayed."""

    kernel = True

    def __init__(self):
        self.shown, self.updated = [], []

    def get_ipython(self):
        return self

    def display(self, figure, display_id):
        self.shown.append(figure)
        return self

    def update(self, figure):
        self.updated.append(figure)


def test_a_notebook_shows_a_curve_that_grows(monkeypatch):
    import IPython.display
    import tqdm.auto

    notebook = Kernel()
    monkeypatch.setattr(IPython, "get_ipython", notebook.get_ipython)
    monkeypatch.setattr(IPython.display, "display", notebook.display)
    monkeypatch.setattr(live, "_DRAWING", 100.0)  # draw at every report
    bars = []
    tqdm_of = tqdm.auto.tqdm
    monkeypatch.setattr(tqdm.auto, "tqdm", lambda **to: bars.append(tqdm_of(**to)) or bars[-1])
    run = charlm.train("book.txt", epochs=3, run=RUN, **{**SMALL, "progress": True})
    assert len(notebook.shown) == 1  # one picture, which is replaced
    first, last = notebook.shown[0], notebook.updated[-1]
    assert len(first.axes[0].get_lines()[0].get_xdata()) == 1
    lines = {line.get_label(): [*line.get_ydata()] for line in last.axes[0].get_lines()}
    assert lines["valid perplexity"] == [row["valid_perplexity"] for row in run.metrics]
    assert last._repr_png_().startswith(b"\x89PNG")
    assert bars[0].n == 1
    charlm.train("book.txt", epochs=1, **SMALL)
    assert len(notebook.shown) == len(bars) == 1


def test_runs_and_data_have_short_names(book):
    run = charlm.train("book.txt", epochs=1, run=RUN, **SMALL)
    corpus = run.load_corpus()
    score = run.score("the cat")
    for each in (run, corpus, run.vocabulary, score):
        assert len(repr(each)) < 200
        assert "\n" not in repr(each)
    assert f"{RUN}': cell lstm, parameters" in repr(run)
    long = charlm.train("book.txt", epochs=1, run=Path("x" * 200) / "ab\ncd", **SMALL)
    assert len(repr(long)) < 200
    assert repr(long).isprintable()
    new = charlm.Run.create(Path("new"), run.config, corpus)
    assert repr(new) == "<LanguageModelRun 'new': cell lstm, epochs 0>"
    html = run._repr_html_()
    assert "color" not in html  # the notebook's own colours, light or dark
    assert f'<td style="text-align:left">{run.metrics[-1]["valid_perplexity"]:.3f}</td>' in html
    run.corpus["name"] = "<b>"
    assert "<b>" not in run._repr_html_()


def test_strings_and_paths_name_files_and_folders(book):
    folder = Path("corpora")
    folder.mkdir()
    book.rename(folder / "mine.txt")
    for source in ("mine", str(folder / "mine.txt"), folder / "mine.txt"):
        for where in (str(folder), folder):
            assert charlm.load_corpus(source, corpora_dir=where).characters == 1440
    run = charlm.train("mine", corpora_dir="corpora", epochs=1, run=str(RUN), **SMALL)
    assert run.load_corpus("corpora").characters == 1440
    assert charlm.Run.open(str(RUN)).folder == charlm.Run.open(RUN).folder


def test_other_tasks_train_and_predict():
    rows = [
        {"text": f"a {word} film", "label": word} for word in ("good", "bad") for _ in range(30)
    ]
    Path("reviews.jsonl").write_text("\n".join(map(json.dumps, rows)))
    settings = {"epochs": 8, "hidden_size": 8, "lr": 0.05, "progress": False}
    run = charlm.train("reviews.jsonl", task="classify", **settings)
    assert type(run) is charlm.ClassifierRun
    assert run.summary()["test_accuracy"] == 100
    assert [each["label"] for each in run.predict(["a good film", "a bad film"])] == ["good", "bad"]
    assert run.predict("a good film")[0]["text"] == "a good film"
    assert charlm.open(task="classify").folder == run.folder
    Path("tags").mkdir()
    Path("tags/train.txt").write_text("to O\nboston B-city\n\n" * 30)
    tagger = charlm.train(Path("tags"), task="tag", epochs=3, lr=0.05, progress=False)
    assert type(tagger) is charlm.TaggerRun
    assert tagger.predict("to boston")[0]["tags"] == ["O", "B-city"]


def test_functions_take_what_encode_gives(recwarn):
    """An array, also a read-only one, gives the same as a tensor."""
    run = charlm.train("book.txt", epochs=1, **SMALL)
    model, array = run.load_model(), run.vocabulary.encode("the dog sat on the mat")
    array.setflags(write=False)
    tensor = torch.tensor(array)
    assert charlm.evaluate(model, array) == charlm.evaluate(model, tensor)
    for batches, generator in ((charlm.consecutive_batches, None), (charlm.random_batches, 1)):
        sizes = {"batch_size": 2, "seq_len": 3}
        first, second = (
            batches(ids, **sizes, **({"generator": torch.Generator()} if generator else {}))[0]
            for ids in (array, tensor)
        )
        assert all(map(torch.equal, first, second))
    texts = [[*map(int, charlm.generate(model, ids, length=5))] for ids in (array, array.tolist())]
    assert texts[0] == texts[1]
    assert not recwarn


def test_dir_and_help_list_every_public_name():
    assert {*charlm.__all__} <= {*dir(charlm)}
    lines = [line for line in charlm.__doc__.splitlines() if line.startswith("- ``")]
    listed = [name for line in lines for name in line.partition(": ")[0].split("``")[1::2]]
    assert sorted(listed) == sorted(charlm.__all__)
    helped = pydoc.render_doc(charlm, renderer=pydoc.plaintext)
    assert all(line in helped for line in lines)
    for name in charlm.__all__:
        assert getattr(charlm, name).__doc__, name


TYPED = """
import typing
import matplotlib.figure
import numpy as np
import charlm
from charlm.tasks.tagging.model import Tagger

run = charlm.open("novel")
typing.assert_type(run, charlm.LanguageModelRun)
typing.assert_type(charlm.train("book.txt", minutes=2), charlm.LanguageModelRun)
typing.assert_type(charlm.train("reviews", task="classify", minutes=2), charlm.ClassifierRun)
typing.assert_type(charlm.open(task="tag").load_model(), Tagger)
typing.assert_type(run.load_model(), charlm.LanguageModel)
typing.assert_type(run.generate("The "), str)
typing.assert_type(run.generate("The ", num_samples=2), list[str])
typing.assert_type(run.score("The ").perplexity, float)
typing.assert_type(run.logits("The ").dtype, np.dtype[np.float32])
typing.assert_type(run.config.model.hidden_size, int)
typing.assert_type(run.plot(), matplotlib.figure.Figure)
charlm.open(3)  # type: ignore[call-overload]
"""


@pytest.mark.slow
def test_a_type_checker_knows_the_results(tmp_path):
    """mypy in strict mode, which also complains of a comment that ignores nothing."""
    (tmp_path / "typed.py").write_text(TYPED)
    root = Path(charlm.__file__).parents[1]
    given = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache")]
    done = subprocess.run(
        [*given, "typed.py"],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
