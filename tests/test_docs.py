"""The commands, options, settings and files that the documentation names exist."""

import json
import re
from pathlib import Path

import pytest

import charlm
from charlm.cli import run
from charlm.cli.api_page import api_page
from charlm.recurrent.cells import CELLS
from charlm.task import preset_names
from charlm.tasks.language_model.config import LanguageModelConfig

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md"]


def commands():
    """Every charlm command in the README, without the explanation after it."""
    lines = [line for line in README.splitlines() if re.match(r"(cat .*\| )?charlm ", line)]
    return sorted({re.split(r"\s{3,}", line)[0].rpartition("| ")[2] for line in lines})


@pytest.mark.parametrize("command", commands())
def test_the_options_of_readmes_commands_exist(command, capsys):
    words = command.split()[1:]
    depth = 2 if words[0] in ("runs", "corpus", "classify", "tag") else 1
    assert run([*words[:depth], "--help"]) == 0
    helped = capsys.readouterr().out
    for option in re.findall(r"--[a-z-]+", command):
        assert option in helped


def test_presets_and_settings_named_in_readme_exist():
    named = re.findall(r"charlm (?:(classify|tag) )?train.* --preset (\S+)", README)
    assert {task for task, _ in named} == {"", "classify", "tag"}
    assert all(name in preset_names(task or "language-model") for task, name in named)
    settings = {
        key
        for section in LanguageModelConfig.sections().values()
        for key in section.__dataclass_fields__
    }
    assert {key.rpartition(".")[2] for key in re.findall(r"--set (\S+)=", README)} <= settings


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_files_named_in_the_pages_exist(page):
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    files = re.findall(r"`((?:tests|docs|benchmarks)/[\w./-]+)`", text)
    missing = [link for link in links if not (page.parent / link).exists()]
    missing += [file for file in files if not (ROOT / file).exists()]
    assert not missing


def test_the_page_of_cells_has_every_cell():
    page = (ROOT / "docs/cells.md").read_text(encoding="utf-8")
    assert [cell for cell in CELLS if f"`{cell}`" not in page] == []


def test_the_api_page_is_made_from_the_docstrings():
    """``make docs`` writes it."""
    assert (ROOT / "docs/api.md").read_text(encoding="utf-8") == api_page()


def test_ci_runs_readmes_own_commands():
    """.ci/run runs the first two blocks of the README."""
    blocks = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    assert blocks[0].strip() == "pip install . && charlm train"
    assert blocks[1].strip() == 'pip install -e ".[dev]" && pytest -n auto'
    assert "README.md" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_readmes_python_trains_as_the_command(tmp_path, monkeypatch, capsys):
    """The settings that the snippet does not give are those of ``charlm train``."""
    monkeypatch.chdir(tmp_path)
    assert run(["train", "--epochs", "2", "--dry-run", "--json"]) == 0
    config = json.loads(capsys.readouterr().out)["config"]
    (block,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    exec(compile(block, "README.md", "exec"), {})
    assert json.loads(json.dumps(charlm.open().config.to_dict())) == config
