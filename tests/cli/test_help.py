"""Help comes at once: no torch, whatever command it is asked of."""

import re
import subprocess
import sys

import pytest

from charlm.cli import run

COMMANDS = [
    "", "train", "generate", "eval", "verify",
    "corpus", "corpus list", "corpus show", "corpus fetch", "corpus add",
    "runs", "runs list", "runs show", "runs compare",
]  # fmt: skip


PROBE = """
import sys
from charlm.cli import run
code = run({arguments!r})
print("torch" in sys.modules, "numpy" in sys.modules, code)
"""


@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_no_torch(command):
    arguments = [*command.split(), "--help"]
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(arguments=arguments)], capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "False False 0", done.stderr
    assert f"charlm {command}".strip() in done.stdout or "Usage" in done.stdout


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


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in ("", "corpus", "runs")])
def test_every_command_takes_the_common_options(command, capsys):
    assert run([*command.split(), "--help"]) == 0
    helped = capsys.readouterr().out
    for option in ("--corpora-dir", "--json", "--quiet", "--help", "--version"):
        assert option in helped
    assert run([*command.split(), "--version"]) == 0
    assert re.fullmatch(r"charlm \d+\.\d+\.\d+", capsys.readouterr().out.strip())
