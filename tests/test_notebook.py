"""A notebook of someone who reads the book: train, watch the curve, generate, score, plot."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest

CELLS = [
    "import asyncio\nawait asyncio.sleep(0)\nimport charlm, IPython, torch",
    'run = charlm.train("book.txt", run="novel", epochs=4, hidden_size=16, batch_size=4)',
    'run.generate("the ", length=30, seed=1)',
    'score = run.score("the dog sat on the mat")\nscore.perplexity, score.surprisal.shape',
    "run",
    "run.plot()",
    "# what a click on 'interrupt' does, once the training has reported\n"
    "import os, pathlib, signal, threading, time\n"
    "def interrupt():\n"
    "    while not list(pathlib.Path().glob('**/second/metrics.jsonl')):\n"
    "        time.sleep(0.1)\n"
    "    os.kill(os.getpid(), signal.SIGINT)\n"
    "threading.Thread(target=interrupt, daemon=True).start()\n"
    'charlm.train("book.txt", run="second", minutes=5, hidden_size=16, batch_size=4)',
    'charlm.open("second")',
]


def figures(cell):
    return [output for output in cell.outputs if "image/png" in output.get("data", {})]


def text(cell):
    return "".join(output.data["text/plain"] for output in cell.outputs if "data" in output)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="os.kill ends the process on Windows")
def test_a_notebook_from_training_to_plot(tmp_path, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries that only this test uses
        nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
        pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    book = "the cat sat on the mat. the dog sat on the log.\n" * 60
    (tmp_path / "book.txt").write_text(book, encoding="utf-8")
    notebook = nbformat.v4.new_notebook(cells=[*map(nbformat.v4.new_code_cell, CELLS)])
    client = nbclient.NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        allow_errors=True,
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()
    start, train, generate, score, run, plot, interrupted, opened = notebook.cells
    assert not start.outputs
    assert len(figures(train)) == 1  # the live curve: one picture, replaced again and again
    assert not [output for output in train.outputs if output.output_type == "error"]
    assert any("%|" in output.get("data", {}).get("text/plain", "") for output in train.outputs)
    assert "stderr" not in {output.get("name") for output in train.outputs}
    assert text(generate).startswith("'the ")
    assert text(score).endswith("(22,))")
    assert "<table><tr><th" in run.outputs[0].data["text/html"]
    assert "LanguageModelRun" in text(run)
    assert len(figures(plot)) == 1
    (error,) = [each for each in interrupted.outputs if each.output_type == "error"]
    assert error.ename == "KeyboardInterrupt"
    assert "the run is saved: charlm.open(" in error.evalue
    assert "cell lstm" in text(opened)
