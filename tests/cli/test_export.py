"""``charlm export`` on the command line, and the programs that read its files."""

from __future__ import annotations

import builtins
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from charlm.cli import run
from charlm.recurrent import plain_numpy
from charlm.tasks.language_model.config import LanguageModelSection
from charlm.tasks.language_model.model import build_language_model
from charlm.tasks.language_model.plain import plain_model

DOCS = Path(__file__).parents[2] / "docs/export.md"
FORMATS = {"html": "page.html", "onnx": "novel.onnx", "numpy": "novel.npz"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a run and its exported files, and the JSON about them."""
    folder = tmp_path_factory.mktemp("export")
    options = "--max-chars 6000 --epochs 1 --hidden-size 12 --quiet --run novel"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run(["train", *options.split(), "--set", "num_layers=2", "--set", "skip=true"]) == 0
    return folder


@pytest.fixture(autouse=True)
def folder(trained, working_folder):
    """A working folder with a copy of that run."""
    shutil.copytree(trained, working_folder, dirs_exist_ok=True)
    return working_folder


def test_all_files_at_once(charlm, folder):
    options = [word for name, file in FORMATS.items() for word in (f"--{name}", file)]
    found = charlm("export", *options, "--json").json
    assert found["run"] == "checkpoints/novel"
    for name, file in FORMATS.items():
        assert found[name]["file"] == file
        assert found[name]["bytes"] == (folder / file).stat().st_size
        assert found[name]["largest_difference"] < (1e-3 if name == "html" else 1e-5)
    assert not [*folder.glob(".*.tmp")]


def test_float32_is_more_exact(charlm, folder):
    said = charlm("export", "--html", "page.html", "--float32").out
    assert re.fullmatch(r"page.html: 0\.\d MB; .* those of the model within \d\.\de-0[678]\n", said)


def test_the_file_for_numpy_runs_without_charlm(charlm, folder):
    charlm("export", "--numpy", "novel.npz")
    program = folder / "write.py"
    shutil.copy(plain_numpy.__file__, program)
    command = [sys.executable, "-I", program, "novel.npz", "The t", "50"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("The t")
    assert len(done.stdout) == len("The t") + 50 + 1


def test_the_example_for_onnx_runs_without_torch(charlm, folder):
    charlm("export", "--onnx", "novel.onnx")
    (example,) = re.findall(r"```python\n(.*?)```", DOCS.read_text("utf-8"), flags=re.DOTALL)
    (folder / "write.py").write_text(
        "import sys\nsys.modules.update(torch=None, charlm=None)\n" + example, "utf-8"
    )
    command = [sys.executable, "-I", "write.py"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("The ")
    assert len(done.stdout) == len("The ") + 300 + 1


def test_the_page_of_the_docs_shows_the_operations_of_an_lstm():
    section = LanguageModelSection(cell="lstm", hidden_size=4, embedding_size=3)
    about = plain_model(build_language_model(section, 21), {}).about
    shown = [
        json.loads(line) for line in re.findall(r"^    (\[.*)$", DOCS.read_text("utf-8"), re.M)
    ]
    assert json.loads(json.dumps(about["operations"])) == shown
    page = DOCS.read_text("utf-8")
    assert [name for name in plain_numpy.OPERATIONS if f"`{name}`" not in page] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "no file to write is named"),
        (["--float32", "--numpy", "novel.npz"], "--float32 is for --html"),
        (["--onnx", "missing/novel.onnx"], "is in a folder that does not exist"),
        (["--html", "checkpoints"], "is a folder"),
    ],
)
def test_wrong_usage(charlm, options, message):
    found = charlm("export", *options)
    assert found.code == 2
    assert message in found.error


def test_onnx_without_its_packages(charlm, folder, monkeypatch):
    original = builtins.__import__

    def refuse(name, *arguments, **options):
        if name.startswith("onnx"):
            raise ImportError
        return original(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    found = charlm("export", "--onnx", "novel.onnx")
    assert (found.code, found.hint) == (1, 'pip install "charlm[onnx]"')
    assert not (folder / "novel.onnx").exists()


def test_a_mixtures_n_gram_is_left_out(charlm, folder):
    charlm("train", "--resume", "--mix-ngram", "--quiet")
    assert "the n-gram of --mix-ngram is left out" in charlm("export", "--numpy", "a.npz").err
