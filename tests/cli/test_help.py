"""The help of every command is fast: it imports nothing large."""

import re
import subprocess
import sys

import pytest

from charlm.cli import build_app, run

GROUPS = ("", "classify", "tag", "corpus", "runs", "explain")
COMMANDS = [
    "", "train", "generate", "eval", "inspect", "report", "serve", "export", "sweep", "verify",
    "classify", "classify train", "classify predict", "classify eval",
    "tag", "tag train", "tag predict", "tag eval",
    "corpus", "corpus list", "corpus show", "corpus fetch", "corpus add",
    "explain", "explain memory", "explain lstm", "explain gradients", "explain parameters",
    "explain clipping", "explain gru", "explain perplexity", "explain sampling",
    "runs", "runs list", "runs show", "runs compare",
]  # fmt: skip


PROBE = """
import sys
from charlm.cli import run
for command in sys.argv[1:]:
    code = run([*command.split(), "--help"])
    large = [name for name in ("torch", "numpy", "matplotlib") if name in sys.modules]
    print(command, code, *large, sep="|", end="\\0", flush=True)
"""


def test_help_imports_nothing_large():
    """All in one process: the first command that imports something is seen."""
    words = [sys.executable, "-c", PROBE, *COMMANDS]
    done = subprocess.run(words, capture_output=True, text=True)
    *helped, rest = done.stdout.split("\0")
    assert (len(helped), rest) == (len(COMMANDS), ""), done.stderr
    for command, shown in zip(COMMANDS, helped, strict=True):
        assert shown.splitlines()[-1] == f"{command}|0"
        assert "Usage: " in shown


def test_every_command_is_tried():
    app = build_app()
    known = {each.name for each in app.registered_commands}
    for group in app.registered_groups:
        commands = group.typer_instance.registered_commands
        known |= {f"{group.name} {each.name or each.callback.__name__}" for each in commands}
    assert known == {*COMMANDS} - {*GROUPS}


def test_the_version_is_told():
    done = subprocess.run([sys.executable, "-m", "charlm", "--version"], capture_output=True)
    assert re.fullmatch(r"charlm \d+\.\d+\.\d+", done.stdout.decode().strip())


def test_importing_the_package_imports_no_torch_and_its_names_are_there():
    probe = (
        "import sys, charlm; before = 'torch' in sys.modules; "
        "names = [getattr(charlm, name) for name in charlm.__all__]; "
        "print(before, len(names) == len(set(charlm.__all__)) > 10)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert done.stdout.strip() == "False True", done.stderr


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in GROUPS])
def test_every_command_takes_the_common_options(command, capsys):
    assert run([*command.split(), "--help"]) == 0
    helped = capsys.readouterr().out
    for option in ("--corpora-dir", "--json", "--quiet", "--help", "--version"):
        assert option in helped
    assert run([*command.split(), "--version"]) == 0
    assert re.fullmatch(r"charlm \d+\.\d+\.\d+", capsys.readouterr().out.strip())
