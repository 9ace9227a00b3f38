"""The wheel has every file that the program needs, and works in an empty folder."""

import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    done = subprocess.run([*build, str(ROOT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_has_the_package_and_its_data_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(n for n in names if n.endswith("/METADATA"))).decode()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"charlm"}
    for needed in (
        "charlm/py.typed",
        "charlm/corpus/catalogue.toml",
        "charlm/corpus/bundled/traveller.txt",
        "charlm/corpus/bundled/night_train.txt",
        "charlm/tasks/language_model/presets/jaychou-random.toml",
    ):
        assert needed in names
    assert "License-Expression: MIT" in metadata
    assert "Requires-Python: >=3.11" in metadata
    runtime = [line for line in metadata.splitlines() if line.startswith("Requires-Dist")]
    assert not [line for line in runtime if "d2l" in line and "extra" not in line]


@pytest.mark.slow
def test_the_wheel_trains_generates_and_evaluates_in_an_empty_folder(wheel, tmp_path):
    """The wheel is installed in front of the checkout, with the libraries of this environment."""
    site, folder = tmp_path / "site", tmp_path / "empty"
    folder.mkdir()
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
    subprocess.run([*install, "--target", str(site), str(wheel)], check=True)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    environment.pop("CHARLM_CORPORA", None)

    def charlm(*arguments):
        command = [sys.executable, "-m", "charlm", *arguments, "--json", "--quiet"]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    where = [sys.executable, "-c", "import charlm; print(charlm.__file__)"]
    found = subprocess.run(where, cwd=folder, env=environment, capture_output=True, text=True)
    assert Path(found.stdout.strip()).is_relative_to(site)
    trained = charlm("train", "--epochs", "1", "--hidden-size", "32")
    assert trained["corpus"] == "traveller"
    assert (folder / trained["run"]).is_dir()
    text = charlm("generate", "--prefix", "time", "--length", "20", "--exact-length")["text"]
    assert len(text) == len("time") + 20
    assert charlm("eval")["perplexity"] < 60
    assert [path.name for path in folder.iterdir()] == ["checkpoints"]


def test_the_citation_names_this_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (ROOT / "CITATION.cff").read_text(encoding="utf-8").splitlines()
    assert f"version: {project['version']}" in lines
    assert f"license: {project['license']}" in lines
