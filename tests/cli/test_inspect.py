"""``charlm inspect`` as a user types it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from charlm.cli import run
from charlm.cli.inspect import _rows
from charlm.evaluation.memory import Memory

TINY = [
    "--corpus", "traveller", "--max-chars", "6000", "--batch-size", "8", "--seq-len", "20",
    "--set", "sample_length=5", "--epochs", "1", "--device", "cpu", "--hidden-size", "8", "--quiet",
]  # fmt: skip
CELLS = ("rnn", "gru", "lstm")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of each cell, and the folder that they are in."""
    folder = tmp_path_factory.mktemp("inspect")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for cell in CELLS:
            assert run(["train", *TINY, "--cell", cell, "--run", f"checkpoints/{cell}"]) == 0
    return folder


@pytest.fixture
def folder(trained, tmp_path, monkeypatch):
    """A working folder with those runs."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CHARLM_CORPORA", raising=False)
    return tmp_path


@pytest.fixture
def charlm(folder, capsys):
    """Runs ``charlm inspect`` and gives its exit code, stdout and stderr."""
    capsys.readouterr()

    def command(*arguments):
        code = run(["inspect", *(str(argument) for argument in arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


ALL = [word for cell in CELLS for word in ("--run", f"checkpoints/{cell}")]


def test_three_cells_side_by_side(charlm, folder):
    before = contents(folder)
    code, out, err = charlm("--memory", *ALL, "--distances", 60)
    assert code == 0, err
    title, header, *lines = out.splitlines()
    rows = [line.split() for line in lines]
    assert "d h_t / d x_(t-k)" in title
    assert header.split() == ["k", *CELLS]
    assert [row[0] for row in rows] == ["0", "1", "2", "5", "10", "20", "50", "60", "norm", "below"]
    assert rows[0] == ["0", *["1", "#" * 12] * 3]
    assert all(len(line) <= 80 for line in out.splitlines())
    assert err.splitlines() == [
        f"{cell}, on the valid split of traveller" for cell in CELLS
    ]  # fmt: skip
    assert contents(folder) == before


def test_json_has_everything_and_nothing_else_is_on_stdout(charlm):
    code, out, err = charlm("--memory", *ALL, "--distances", 30, "--split", "train", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["threshold"] == 0.01
    assert [run["cell"] for run in found["runs"]] == list(CELLS)
    for each in found["runs"]:
        assert each["run"] == str(Path("checkpoints") / each["cell"])
        assert (each["split"], each["distances"], each["hidden_size"]) == ("train", 30, 8)
        assert len(each["positions"]) == 16
        norms = each["norms"]
        assert [len(norms[name]) for name in ("lower", "median", "upper")] == [31] * 3
        for low, middle, high in zip(*norms.values(), strict=True):
            assert 0 < low <= middle <= high
        assert each["relative"] == [norm / norms["median"][0] for norm in norms["median"]]
        assert each["forgotten_from"] is None or each["relative"][each["forgotten_from"]] < 0.01


def test_without_a_run_it_is_the_newest_and_is_named(charlm):
    for number, cell in enumerate(("gru", "rnn", "lstm")):
        os.utime(f"checkpoints/{cell}/run.json", (number, number))
    code, out, err = charlm("--memory", "--distances", 5)
    assert code == 0
    assert err.splitlines()[0] == f"run: {Path('checkpoints') / 'lstm'}"
    assert out.splitlines()[1].split() == ["k", "lstm"]
    code, again, err = charlm("--memory", "--distances", 5, "--quiet")
    assert (code, again, err) == (0, out, "")


def test_runs_of_the_same_name_are_told_apart(charlm, folder):
    shutil.copytree("checkpoints/gru", "other/gru")
    code, out, _ = charlm("--memory", "--run", "checkpoints/gru", "--run", "other/gru",
                          "--distances", 3)  # fmt: skip
    assert code == 0
    names = [str(Path("checkpoints/gru")), str(Path("other/gru"))]
    assert out.splitlines()[1].split() == ["k", *names]
    os.chdir("other/gru")
    code, out, _ = charlm("--memory", "--run", ".", "--distances", 3)
    assert code == 0
    assert out.splitlines()[1].split() == ["k", "gru"]


@pytest.mark.parametrize(
    ("name", "beginning"), [("a.png", b"\x89PNG"), ("b.svg", b"<?xml"), ("c.PDF", b"%PDF")]
)
def test_a_picture(charlm, folder, name, beginning):
    shutil.move("checkpoints/rnn", "分开 $x_1")
    code, out, err = charlm("--memory", "--run", "分开 $x_1", "--run", "checkpoints/lstm",
                            "--plot", name, "--distances", 10)  # fmt: skip
    assert code == 0, err
    assert err.splitlines()[-1] == f"picture: {name}"
    assert "Glyph" not in err
    assert Path(name).read_bytes().startswith(beginning)
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["checkpoints", name, "分开 $x_1"]
    )
    assert "分开 $x_1" in out


def error_of(outcome):
    """The error and the hint, each a line, of a command that said nothing else."""
    code, out, err = outcome
    lines = [line for line in err.splitlines() if not line.startswith(("run: ", "lstm, on"))]
    assert out == ""
    assert lines[0].startswith("error: ")
    assert len(lines) == 2
    assert lines[1].startswith("hint: ")
    return code, lines[0].removeprefix("error: "), lines[1].removeprefix("hint: ")


def test_what_can_be_inspected_is_said(charlm):
    assert error_of(charlm()) == (
        2, "nothing to inspect was named", "charlm inspect --memory: how far back it remembers"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("plot", "message", "hint"),
    [
        ("a.jpg", "--plot 'a.jpg' is no kind of picture", "known: .png, .svg, .pdf"),
        ("png", "--plot 'png' is no kind of picture", "known: .png, .svg, .pdf"),
        ("none/a.png", f"--plot {str(Path('none/a.png'))!r} is in a folder that is not there",
         "name a file to write"),
        ("is.png", "--plot 'is.png' is a folder", "name a file to write"),
    ],
)  # fmt: skip
def test_a_picture_that_cannot_be_is_refused_at_once(charlm, folder, plot, message, hint):
    Path("is.png").mkdir()
    shutil.rmtree("checkpoints")  # which would be the next thing to be said
    assert error_of(charlm("--memory", "--plot", plot)) == (2, message, hint)


def test_a_hostile_name_of_a_picture_is_cut(charlm):
    code, message, _ = error_of(charlm("--memory", "--plot", "a\n\x1b[0m" * 500))
    assert code == 2
    assert len(message) < 200
    assert message.isprintable()


def test_a_full_disk_leaves_the_old_picture_and_the_numbers(charlm, folder, monkeypatch):
    Path("a.png").write_bytes(b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    code, out, err = charlm("--memory", "--distances", 3, "--plot", "a.png", "--quiet")
    assert code == 1
    assert err.splitlines() == [
        "error: cannot write a.png: No space left on device",
        "hint: make room, or write to another place",
    ]
    assert "below 1% from" in out
    assert Path("a.png").read_bytes() == b"old"
    assert {path.name for path in folder.iterdir()} == {"checkpoints", "a.png"}


def test_a_folder_that_is_no_run(charlm):
    code, message, _ = error_of(charlm("--memory", "--run", "nowhere"))
    assert code == 1
    assert message == "nowhere is not a run folder: it has no run.json"


def test_no_run_at_all(charlm):
    shutil.rmtree("checkpoints")
    code, _, hint = error_of(charlm("--memory"))
    assert (code, hint) == (1, "train one: charlm train")


def test_a_run_without_a_checkpoint(charlm):
    for path in Path("checkpoints/gru").glob("checkpoint-*"):
        shutil.rmtree(path)
    code, message, _ = error_of(charlm("--memory", "--run", "checkpoints/gru"))
    assert code == 1
    assert "has no checkpoint" in message


def test_a_damaged_run(charlm):
    for path in Path("checkpoints/gru").glob("checkpoint-*/best.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    code, _, err = charlm("--memory", "--run", "checkpoints/lstm", "--run", "checkpoints/gru")
    assert code == 1
    assert "best.safetensors" in err.splitlines()[0]
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "arguments",
    [["--split", "some"], ["--distances", "0"], ["--distances", "2001"], ["--distances", "x"]],
)
def test_values_that_cannot_be(charlm, arguments):
    code, _, _ = error_of(charlm("--memory", "--run", "checkpoints/lstm", *arguments))
    assert code == 2


def test_a_short_split_has_fewer_distances(charlm):
    """The valid split of 6,000 characters has 300."""
    code, out, err = charlm("--memory", "--run", "checkpoints/lstm", "--distances", 200, "--json",
                            "--quiet")  # fmt: skip
    assert code == 0
    (found,) = json.loads(out)["runs"]
    assert found["distances"] == 149
    assert err == (
        "warning: the valid split of traveller has 300 characters: 149 distances, not 200\n"
    )


def test_nothing_held_out_and_a_split_too_short(charlm):
    assert run(["train", *TINY, "--set", "split=1,0,0", "--run", "whole"]) == 0
    code, out, _ = charlm("--memory", "--run", "whole", "--distances", 3, "--json")
    assert code == 0
    assert json.loads(out[out.index("{") :])["runs"][0]["split"] == "train"
    code, _, err = charlm("--memory", "--run", "whole", "--split", "test")
    assert code == 1
    assert err.splitlines() == [
        "error: the test split of traveller has 0 characters; this takes three at least",
        "hint: take another --split",
    ]


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_weights_that_remember_nothing_at_all(charlm, monkeypatch, value):
    import torch

    found = Memory([3], torch.full((2, 1), value, dtype=torch.float64))
    monkeypatch.setattr("charlm.evaluation.memory.memory", lambda *_, **__: found)
    code, message, _ = error_of(
        charlm("--memory", "--run", "checkpoints/lstm", "--distances", 1)
    )  # fmt: skip
    assert code == 1
    assert "the hidden state does not depend on what is read" in message


def test_what_is_still_remembered_at_the_end_is_beyond():
    import torch

    short = Memory([3], torch.tensor([[2.0], [3.0], [0.0], [1e-20]]))
    long = Memory([9], 3 * 0.5 ** torch.arange(8.0).unsqueeze(1))
    near = Memory([9], 0.99 ** torch.arange(6.0).unsqueeze(1))
    rows = [[cell.strip() for cell in row] for row in _rows([short, long, near])]
    assert rows == [
        ["0", "1 ############", "1 ############", "1 ############"],
        ["1", "1.5 ############", "0.5 ############", "0.99 ############"],
        ["2", "0", "0.25 ###########", "0.98 ############"],
        ["5", "", "0.031 ##########", "0.95 ############"],
        ["7", "", "0.0078 ##########", ""],
        ["norm at 0", "2", "3", "1"],
        ["below 1% from", "2", "7", "beyond 5"],
    ]


@pytest.mark.skipif(os.name == "nt", reason="signals as POSIX has them")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_quietly_and_writes_nothing(charlm, folder, monkeypatch, number, code):
    """It comes while the third step is computed."""
    import torch

    before, grad, steps = contents(folder), torch.autograd.grad, []

    def counted(*arguments, **options):
        steps.append(threading.current_thread())
        if len(steps) == 3:
            os.kill(os.getpid(), number)
        return grad(*arguments, **options)

    monkeypatch.setattr(torch.autograd, "grad", counted)
    handlers = [signal.signal(each, signal.default_int_handler) for each in (2, 15)]
    try:
        outcome = charlm("--memory", "--run", "checkpoints/lstm", "--plot", "a.png", "--quiet")
    finally:
        for each, handler in zip((2, 15), handlers, strict=True):
            signal.signal(each, handler)
    assert outcome == (code, "", "")
    assert len(steps) == 3
    assert contents(folder) == before


def test_help_imports_neither_torch_nor_matplotlib():
    probe = (
        "import sys; from charlm.cli import run; code = run(['inspect', '--help']); "
        "print(code, *(name in sys.modules for name in ('torch', 'numpy', 'matplotlib')))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "0 False False False", done.stderr
    for option in ("--memory", "--run", "--distances", "--split", "--plot", "--corpora-dir",
                   "--json", "--quiet", "--help", "--version"):  # fmt: skip
        assert option in done.stdout
