"""The wheel has every file that the program needs, and works in an empty folder."""

import json
import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build(ROOT, tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def wheel(built):
    return next(built.glob("*.whl"))


def build(source, folder, **environment):
    """The folder, with the sdist and the wheel of a source tree."""
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)]
    environment = {**os.environ, **environment}
    environment.pop("SOURCE_DATE_EPOCH", None)
    done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_has_the_package_as_it_is_here_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    package = {name: files.pop(name) for name in list(files) if name.startswith("charlm/")}
    assert package == {f"charlm/{name}": data for name, data in contents(ROOT / "charlm").items()}
    licences = ("licenses/LICENSE", "licenses/charlm/pages/web/uplot/LICENSE")
    about = {name.split(".dist-info/")[1]: data for name, data in files.items()}
    assert set(about) == {"METADATA", "RECORD", "WHEEL", "entry_points.txt", *licences}
    metadata = about["METADATA"].decode()
    assert "License-Expression: MIT" in metadata
    assert "Requires-Python: >=3.11" in metadata
    runtime = [line for line in metadata.splitlines() if line.startswith("Requires-Dist")]
    assert not [line for line in runtime if "d2l" in line and "extra" not in line]


def test_the_sdist_builds_the_same_bytes_elsewhere(built, tmp_path):
    """In another folder with caches, with other modes and times of files, zone and language."""
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    assert {path.name for path in source.iterdir()} == {
        *("charlm", "tests", "docs", "README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE"),
        *("pyproject.toml", "PKG-INFO", ".gitignore"),
    }
    for folder in (source / "charlm" / "__pycache__", source / ".pytest_cache"):
        folder.mkdir()
        (folder / "stray.pyc").touch()
    for path in source.rglob("*.*"):
        path.chmod(0o600)
    again = build(source, tmp_path / "again", TZ="Asia/Tokyo", LC_ALL="C")
    assert contents(again) == contents(built)


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
