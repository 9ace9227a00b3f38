"""Commands import nothing large that they do not use."""

import subprocess
import sys

import pytest

PROBE = """
import sys
from charlm.cli import run

large = ("torch", "torch._dynamo", "sympy", "scipy", "pandas", "matplotlib", "PIL", "requests",
         "IPython", "safetensors", "numpy")
for line in sys.stdin.read().splitlines():
    code = run(line.split())
    found = [name for name in large if name in sys.modules]
    print("imported:", code, line.split("--")[0].strip(), *found, sep="|", file=sys.stderr)
"""
TINY = "--hidden-size 8 --batch-size 4 --seq-len 20 --max-chars 3000 --epochs 1 --device cpu"


def imported(*commands):
    """What of the large packages is imported after each command, all in one process."""
    lines = "\n".join(commands)
    words = [sys.executable, "-c", PROBE]
    done = subprocess.run(words, input=lines, capture_output=True, text=True, check=True)
    rows = [line.split("|")[1:] for line in done.stderr.splitlines() if line[:9] == "imported:"]
    assert [row[0] for row in rows] == ["0"] * len(commands), done.stderr
    return {command: {*found} for _, command, *found in rows}


@pytest.fixture
def trained(charlm):
    assert charlm("train", *TINY.split(), "--set", "sample_length=5", "--run", "small").code == 0


@pytest.mark.usefixtures("trained")
def test_what_is_imported_after_each_command(folder):
    (folder / "mine.txt").write_text("a text of mine\n" * 20)
    found = imported(
        "runs list", "runs show small", "runs compare small small",
        "corpus list", "corpus fetch traveller", "corpus add mine.txt", "corpus show traveller",
    )  # fmt: skip
    assert set().union(*found.values()) <= {"numpy"}
    assert not found["runs compare small small"]
    used = {"torch", "numpy", "safetensors"}
    found = imported(f"train {TINY}", "generate --length 3", "eval", "explain lstm")
    assert [*found.values()] == [used] * 4
