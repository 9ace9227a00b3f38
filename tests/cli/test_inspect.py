"""``charlm inspect`` on the command line."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch

from charlm.cli import run
from charlm.cli.inspect import _rows
from charlm.evaluation.memory import Memory

CELLS = ("rnn", "gru", "lstm")
ALL = [word for cell in CELLS for word in ("--run", f"checkpoints/{cell}")]
LSTM = ["--memory", "--run", "checkpoints/lstm"]


def train(folder: str, *options: str) -> None:
    settings = "--corpus traveller --max-chars 6000 --batch-size 8 --seq-len 20 --epochs 1 --quiet"
    sizes = "--set sample_length=5 --device cpu --hidden-size 8"
    assert run(["train", *settings.split(), *sizes.split(), *options, "--run", folder]) == 0


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a run of each cell."""
    folder = tmp_path_factory.mktemp("inspect")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for cell in CELLS:
            train(f"checkpoints/{cell}", "--cell", cell)
    return folder


@pytest.fixture
def folder(trained, tmp_path, monkeypatch):
    """A working folder with a copy of those runs."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CHARLM_CORPORA", raising=False)
    return tmp_path


@pytest.fixture
def charlm(folder, capsys):
    """Runs ``charlm inspect`` and returns its exit code, stdout and stderr."""

    def command(*arguments):
        capsys.readouterr()
        code = run(["inspect", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def error_of(outcome):
    """The exit code, error and hint of a command that printed one error and no result."""
    code, out, err = outcome
    lines = [line for line in err.splitlines() if not line.startswith(("run: ", "lstm, on"))]
    assert out == ""
    assert [line.partition(": ")[0] for line in lines] == ["error", "hint"]
    return code, *(line.partition(": ")[2] for line in lines)


def test_three_cells_side_by_side(charlm, folder):
    before = contents(folder)
    code, out, err = charlm("--memory", *ALL, "--distances", 60)
    assert code == 0, err
    title, header, *lines = out.splitlines()
    rows = [line.split() for line in lines]
    assert "d h_t / d x_(t-k)" in title
    assert header.split() == ["k", *CELLS]
    assert [row[0] for row in rows] == [
        *map(str, [0, 1, 2, 5, 10, 20, 50, 60]),
        "norm",
        "below",
        "split",
    ]
    assert rows[0] == ["0", *["1", "#" * 12] * 3]
    assert rows[-1] == ["split", *["test"] * 3]
    assert all(len(line) <= 80 for line in out.splitlines())
    assert err.splitlines() == [f"{cell}, on the test split of traveller" for cell in CELLS]
    assert contents(folder) == before


def test_json_has_everything(charlm):
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


def test_the_newest_run_is_the_default(charlm):
    for number, cell in enumerate(("gru", "rnn", "lstm")):
        os.utime(f"checkpoints/{cell}/run.json", (number, number))
    code, out, err = charlm("--memory", "--distances", 5)
    assert code == 0
    assert err.splitlines()[0] == f"run: {Path('checkpoints') / 'lstm'}"
    assert out.splitlines()[1].split() == ["k", "lstm"]
    assert charlm("--memory", "--distances", 5, "--quiet") == (0, out, "")


def test_runs_with_the_same_name_are_labelled_by_path(charlm):
    shutil.copytree("checkpoints/gru", "other/gru")
    code, out, _ = charlm(
        "--memory", "--run", "checkpoints/gru", "--run", "other/gru", "--distances", 3
    )
    assert code == 0
    names = [str(Path("checkpoints/gru")), str(Path("other/gru"))]
    assert out.splitlines()[1].split() == ["k", *names]
    os.chdir("other/gru")
    assert charlm("--memory", "--run", ".", "--distances", 3)[1].splitlines()[1].split()[1] == "gru"


@pytest.mark.parametrize(
    ("name", "beginning"), [("a.png", b"\x89PNG"), ("b.svg", b"<?xml"), ("c.PDF", b"%PDF")]
)
def test_a_picture(charlm, folder, name, beginning):
    shutil.move("checkpoints/rnn", "分开 $x_1")
    code, out, err = charlm(*LSTM, "--run", "分开 $x_1", "--plot", name, "--distances", 10)
    assert code == 0, err
    assert err.splitlines()[-1] == f"picture: {name}"
    assert "Glyph" not in err
    assert Path(name).read_bytes().startswith(beginning)
    assert {path.name for path in folder.iterdir()} == {"checkpoints", name, "分开 $x_1"}
    assert "分开 $x_1" in out


@pytest.mark.parametrize("plot", ["a.jpg", "png", "none/a.png", "is.png", "a\n\x1b[0m" * 500])
def test_a_bad_picture_name_is_refused_first(charlm, plot):
    Path("is.png").mkdir()
    shutil.rmtree("checkpoints")  # this would be the next error
    code, message, _ = error_of(charlm("--memory", "--plot", plot))
    assert code == 2
    assert message.startswith("--plot ")
    assert len(message) < 200
    assert message.isprintable()


def test_a_full_disk_leaves_the_old_picture_and_the_numbers(charlm, folder, monkeypatch):
    Path("a.png").write_bytes(b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    code, out, err = charlm("--memory", "--distances", 3, "--plot", "a.png", "--quiet")
    assert code == 1
    assert err.startswith("error: cannot write a.png: No space left on device\nhint: ")
    assert "below 1% from" in out
    assert Path("a.png").read_bytes() == b"old"
    assert {path.name for path in folder.iterdir()} == {"checkpoints", "a.png"}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], 2),
        ([*LSTM, "--split", "some"], 2),
        ([*LSTM, "--distances", "0"], 2),
        ([*LSTM, "--distances", "2001"], 2),
        (["--memory", "--run", "nowhere"], 1),
        ([*LSTM, "--run", "checkpoints/gru"], 1),
    ],
)
def test_bad_input_is_one_error_with_a_hint(charlm, arguments, code):
    shutil.rmtree(next(Path("checkpoints/gru").glob("checkpoint-*")))
    assert error_of(charlm(*arguments))[0] == code


def test_a_short_split_has_fewer_distances(charlm):
    """The test split of 6,000 characters has 300."""
    code, out, err = charlm(*LSTM, "--distances", 200, "--json", "--quiet")
    assert code == 0
    assert json.loads(out)["runs"][0]["distances"] == 149
    assert err.startswith("warning: the test split of traveller has 300 characters")


@pytest.mark.parametrize(
    ("shares", "default", "short"),
    [("0.9,0.0997,0.0003", "valid", "test"), ("0.9997,0.0003,0", "train", "valid")],
)
def test_the_default_is_a_split_of_at_least_three_characters(charlm, shares, default, short):
    train("other", "--set", f"split={shares}")
    command = ("--memory", "--run", "other", "--distances", 3, "--json")
    code, out, err = charlm(*command)
    assert (code, json.loads(out)["runs"][0]["split"]) == (0, default), err
    code, message, _ = error_of(charlm(*command, "--split", short))
    assert code == 1
    assert f"the {short} split of traveller has 2 characters" in message


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_derivatives_that_cannot_be_compared(charlm, monkeypatch, value):
    found = Memory([3], torch.full((2, 1), value, dtype=torch.float64))
    monkeypatch.setattr("charlm.evaluation.memory.memory", lambda *_, **__: found)
    code, message, _ = error_of(charlm(*LSTM, "--distances", 1))
    assert code == 1
    assert message.endswith("the derivatives of the hidden state are zero or not finite")


def test_rows_of_the_table():
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


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_command_quietly(charlm, folder, monkeypatch, number, code):
    """The signal arrives during the third step."""
    before, grad, steps = contents(folder), torch.autograd.grad, []

    def counted(*arguments, **options):
        steps.append(1)
        if len(steps) == 3:
            os.kill(os.getpid(), number)
        return grad(*arguments, **options)

    monkeypatch.setattr(torch.autograd, "grad", counted)
    handlers = [signal.signal(each, signal.default_int_handler) for each in (2, 15)]
    try:
        outcome = charlm(*LSTM, "--plot", "a.png", "--quiet")
    finally:
        for each, handler in zip((2, 15), handlers, strict=True):
            signal.signal(each, handler)
    assert outcome == (code, "", "")
    assert len(steps) == 3
    assert contents(folder) == before
