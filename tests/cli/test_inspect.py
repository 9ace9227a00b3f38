"""``charlm inspect`` on the command line."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import signal
import sys
import threading
from pathlib import Path

import pytest
import torch

from charlm.cli import run
from charlm.cli.inspect import _rows
from charlm.tasks.language_model.memory import Memory

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


@pytest.fixture(autouse=True)
def folder(trained, working_folder):
    """A working folder with a copy of those runs."""
    shutil.copytree(trained, working_folder, dirs_exist_ok=True)
    return working_folder


@pytest.fixture
def inspect(folder, charlm):
    """Runs ``charlm inspect``."""
    return lambda *arguments: charlm("inspect", *arguments)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_three_cells_side_by_side(inspect, folder):
    before = contents(folder)
    code, out, err = inspect("--memory", *ALL, "--distances", 60)
    assert code == 0, err
    title, _, *lines = out.splitlines()
    rows = [line.split() for line in lines]
    assert "d h_t / d x_(t-k)" in title
    assert rows[:5] == [*([str(n), cell] for n, cell in enumerate(CELLS, 1)), [], ["k", *"123"]]
    del rows[:5]
    distances = ["0", "1", "2", "5", "10", "20", "50", "60"]
    assert [row[0] for row in rows] == [*distances, "norm", "below", "split"]
    assert rows[0] == ["0", *["1", "#" * 12] * 3]
    assert rows[-1] == ["split", *["test"] * 3]
    assert all(len(line) <= 80 for line in out.splitlines())
    assert err.splitlines() == [f"{cell}, on the test split of traveller" for cell in CELLS]
    assert contents(folder) == before


def test_json_has_everything(inspect):
    found = inspect("--memory", *ALL, "--distances", 30, "--split", "train", "--json").json
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


def test_the_newest_run_is_the_default(inspect):
    for number, cell in enumerate(("gru", "rnn", "lstm")):
        os.utime(f"checkpoints/{cell}/run.json", (number, number))
    code, out, err = inspect("--memory", "--distances", 5)
    assert code == 0
    assert err.splitlines()[0] == f"run: {Path('checkpoints') / 'lstm'}"
    assert out.splitlines()[1].split() == ["k", "lstm"]
    assert inspect("--memory", "--distances", 5, "--quiet") == (0, out, "")


def test_runs_with_the_same_name_are_labelled_by_path(inspect):
    shutil.copytree("checkpoints/gru", "other/gru")
    runs = ("--run", "checkpoints/gru", "--run", "other/gru")
    code, out, _ = inspect("--memory", *runs, "--distances", 3)
    assert code == 0
    names = [str(Path("checkpoints/gru")), str(Path("other/gru"))]
    assert [line.split() for line in out.splitlines()[2:4]] == [["1", names[0]], ["2", names[1]]]
    os.chdir("other/gru")
    assert (
        inspect("--memory", "--run", ".", "--distances", 3)[1].splitlines()[1].split()[1] == "gru"
    )


@pytest.mark.parametrize(
    ("name", "beginning"), [("a.png", b"\x89PNG"), ("b.svg", b"<?xml"), ("c.PDF", b"%PDF")]
)
def test_a_picture(inspect, folder, name, beginning):
    shutil.move("checkpoints/rnn", "分开 $x_1")
    code, out, err = inspect(*LSTM, "--run", "分开 $x_1", "--plot", name, "--distances", 10)
    assert code == 0, err
    assert err.splitlines()[-1] == f"picture: {name}"
    assert "Glyph" not in err
    assert Path(name).read_bytes().startswith(beginning)
    assert {path.name for path in folder.iterdir()} == {"checkpoints", name, "分开 $x_1"}
    assert "分开 $x_1" in out


@pytest.mark.parametrize("plot", ["a.jpg", "png", "none/a.png", "is.png", "a\n\x1b[0m" * 500])
def test_a_bad_picture_name_is_refused_first(inspect, plot):
    Path("is.png").mkdir()
    shutil.rmtree("checkpoints")  # this would be the next error
    refused = inspect("--memory", "--plot", plot)
    assert refused.code == 2
    assert refused.error.startswith("--plot ")
    assert len(refused.error) < 200


def test_a_full_disk_leaves_the_old_picture_and_the_numbers(inspect, folder, monkeypatch):
    Path("a.png").write_bytes(b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    code, out, err = inspect("--memory", "--distances", 3, "--plot", "a.png", "--quiet")
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
def test_bad_input_is_one_error_with_a_hint(inspect, arguments, code):
    shutil.rmtree(next(Path("checkpoints/gru").glob("checkpoint-*")))
    refused = inspect(*arguments)
    assert (refused.code, bool(refused.hint)) == (code, True)


def test_a_short_split_has_fewer_distances(inspect):
    """The test split of 6,000 characters has 300."""
    found = inspect(*LSTM, "--distances", 200, "--json", "--quiet")
    assert found.json["runs"][0]["distances"] == 149
    assert found.err.startswith("warning: the test split of traveller has 300 characters")


@pytest.mark.parametrize(
    ("shares", "default", "short"),
    [("0.9,0.0997,0.0003", "valid", "test"), ("0.9997,0.0003,0", "train", "valid")],
)
def test_the_default_is_a_split_of_at_least_three_characters(inspect, shares, default, short):
    train("./other", "--set", f"split={shares}")
    command = ("--memory", "--run", "other", "--distances", 3, "--json")
    assert inspect(*command).json["runs"][0]["split"] == default
    refused = inspect(*command, "--split", short)
    assert refused.code == 2
    assert refused.error == f"the {short} split is too small: 2, not 3 or more"
    assert refused.hint.endswith(default)


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_derivatives_that_cannot_be_compared(inspect, monkeypatch, value):
    found = Memory([3], torch.full((2, 1), value, dtype=torch.float64))
    monkeypatch.setattr("charlm.tasks.language_model.memory.memory", lambda *_, **__: found)
    refused = inspect(*LSTM, "--distances", 1)
    assert refused.code == 1
    assert refused.error.endswith("the derivatives of the hidden state are zero or not finite")


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


@pytest.mark.usefixtures("handled")
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_command_quietly(inspect, folder, monkeypatch, number, code):
    """The signal arrives during the third step."""
    before, grad, steps = contents(folder), torch.autograd.grad, []

    def counted(*arguments, **options):
        steps.append(1)
        if len(steps) == 3:
            os.kill(os.getpid(), number)
        return grad(*arguments, **options)

    monkeypatch.setattr(torch.autograd, "grad", counted)
    assert inspect(*LSTM, "--plot", "a.png", "--quiet") == (code, "", "")
    assert len(steps) == 3
    assert contents(folder) == before


def test_surprisal_of_a_split_and_of_a_text(inspect, folder):
    code, out, err = inspect("--surprisal", "--run", "checkpoints/lstm", "--length", 200)
    assert code == 0, err
    assert out.startswith("traveller, test split: ")
    assert ", the n-gram " in out
    for title in ("the most surprising characters", "where the n-gram would save most"):
        assert title in out
    found = inspect("--surprisal", "--run", "checkpoints/lstm", "--length", 200, "--json").json
    assert [len(found[key]) for key in ("text", "bits", "ngram_bits", "expected")] == [200] * 4
    assert found["bits"][0] is found["expected"][0] is None
    assert found["bits_per_char"] == pytest.approx(sum(found["bits"][1:]) / 199)
    assert all(sum(share for _, share in each) <= 1.001 for each in found["expected"][1:])
    (folder / "own.txt").write_text("a b\u00e9<script>\n" * 3, encoding="utf-8")
    own = inspect("--surprisal", "--run", "checkpoints/lstm", "--text", "own.txt", "--json").json
    assert own["text"].count("\u00e9") == 3
    words = ("--text", "own.txt", "--html", "page.html")
    marked = inspect("--surprisal", "--run", "checkpoints/lstm", *words)
    assert "'\u00e9'" in marked.out
    assert "page: page.html" in marked.err
    content = (folder / "page.html").read_text(encoding="utf-8")
    assert r"\u003cscript\u003e" in content  # the text is data, not markup
    train = inspect("--surprisal", "--run", "checkpoints/lstm", "--split", "train", "--json").json
    assert train["ngram_bits"] is None
    (folder / "one.txt").write_text("a", encoding="utf-8")
    for words, code, wrong in (
        (("--text", "one.txt"), 1, "one character"),
        (("--text", "none.txt"), 1, "no file"),
        (("--text", "own.txt", "--split", "test"), 2, "--text and --split"),
        (("--memory",), 2, "one thing at a time"),
        (("--run", "checkpoints/gru"), 2, "does not use more than one --run"),
    ):
        refused = inspect("--surprisal", "--run", "checkpoints/lstm", *words)
        assert refused.code == code
        assert wrong in refused.error
    assert inspect(*LSTM, "--text", "own.txt").code == 2


def test_colours_and_brackets_keep_the_text():
    import numpy as np

    from charlm.cli import surprisal as module
    from charlm.tasks.language_model.surprisal import Surprisal

    text = "abc\ndef\n\ng"
    bits = np.array([np.nan, 0.1, 1.5, 5.0, 9.0, 3.0, 0.2, 4.0, 8.0, 0.0])
    found = Surprisal(text, bits, None, np.zeros((10, 1), int), np.ones((10, 1)))
    plain = [*module._marked(found, False)]
    assert "".join(piece for piece, _ in plain) == "abc[\u21b5\nd]ef[\u21b5\n\u21b5\n]g"
    assert not any(style for _, style in plain)
    coloured = [*module._marked(found, True)]
    assert "".join(piece for piece, _ in coloured).replace("\u21b5", "") == text
    assert all(not style for piece, style in coloured if "\n" in piece)
    levels = [style for _, style in module.LEVELS]
    styled = [(piece, levels.index(style)) for piece, style in coloured if style]
    assert styled == [("c", 1), ("\u21b5", 3), ("d", 4), ("e", 2), ("\u21b5", 3), ("\u21b5", 4)]
    assert [piece for piece, _ in module._legend(True)][1:3] == [" 0-1 ", " 1-2 "]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal of Unix")
@pytest.mark.parametrize("no_color", ["", "1"])
def test_a_terminal_shows_colours_unless_told_not_to(folder, no_color, monkeypatch):
    words = ["inspect", "--surprisal", "--run", "checkpoints/lstm", "--length", "40", "--quiet"]
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", no_color)
    controller, terminal = os.openpty()
    printed = bytearray()

    def read() -> None:
        with contextlib.suppress(OSError):  # the end
            while part := os.read(controller, 4096):
                printed.extend(part)
        os.close(controller)

    reader = threading.Thread(target=read)
    reader.start()
    with open(terminal, "w", encoding="utf-8") as file, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", file)
        code = run(words)
    reader.join()
    assert code == 0
    assert (b"\x1b[30;48;5;" in printed) == (no_color == "")
    assert b"x1b" not in printed
    assert (b"[in brackets]" in printed) == (no_color == "1")


def test_context_of_several_runs(inspect):
    code, out, err = inspect("--context", "--run", "checkpoints/rnn", "--run", "checkpoints/lstm")
    assert code == 0, err
    assert out.count("the rest shuffled") == 2
    assert out.count("of the whole with the last") == 2
    found = inspect("--context", "--run", "checkpoints/lstm", "--split", "train", "--json").json
    (each,) = found["runs"]
    assert each["distances"] == [1, 2, 3, 5, 10, 20, 50, 100]
    assert len(each["cut"]) == len(each["shuffled"]) == 8
    assert each["whole"] > 0
    assert inspect("--context", "--plot", "a.png").code == 2
    assert inspect("--context", "--memory").code == 2


@pytest.mark.parametrize(
    ("arguments", "wrong", "uses"),
    [
        (("--memory", "--length", "50"), "--length", "--surprisal or --units"),
        (("--memory", "--html", "a.html"), "--html", "--surprisal, --units or --attribution"),
        (("--context", "--text", "a.txt"), "--text", "--surprisal, --units or --attribution"),
        (("--context", "--distances", "100"), "--distances", "--memory"),
        (("--surprisal", "--distances", "100"), "--distances", "--memory"),
        (("--surprisal", "--plot", "a.png"), "--plot", "--memory"),
        (("--units", "--plot", "a.png"), "--plot", "--memory"),
        (("--surprisal", "--unit", "3"), "--unit", "--units"),
        (("--memory", "--clamp", "0"), "--clamp", "--units"),
        (("--units", "--run", "a", "--run", "b"), "more than one --run", "--memory or --context"),
    ],
)
def test_an_option_that_a_measurement_does_not_use(inspect, arguments, wrong, uses):
    refused = inspect(*arguments)
    assert (refused.code, refused.error) == (2, f"{arguments[0]} does not use {wrong}")
    assert refused.hint == f"it is for {uses}"


@pytest.fixture
def long_text(folder):
    (folder / "long.txt").write_text("It is <b>late</b>.\nWe (you and I) go.\n" * 70)
    return ("--units", "--run", "checkpoints/lstm", "--text", "long.txt")


def test_units_of_a_text(inspect, long_text, folder, monkeypatch):
    code, out, err = inspect(*long_text)
    assert code == 0, err
    assert out.startswith("'long.txt', 2,")
    for title in ("the best units of the other features", "features of the shuffled text: "):
        assert title in out
    found = inspect(*long_text, "--json", "--html", "units.html")
    content = found.json
    assert content["units"] == 16
    assert {"inside brackets", "place in the line", "after ' '"} <= {
        each["feature"] for each in content["features"]
    }
    assert all(0 <= each["knows"] <= 1 for each in content["features"])
    assert content["shuffled"] < 0.25
    assert "page: units.html" in found.err
    assert (folder / "units.html").stat().st_size > 10_000
    monkeypatch.setattr("charlm.cli.units.LARGEST", 16 * 2100)
    refused = inspect(*long_text)
    assert (refused.code, refused.hint) == (2, "give --length 2100 or less")


def test_one_unit_of_a_text(inspect, long_text, folder):
    for name in ("5", "1.5", "1.hidden.5"):
        found = inspect(*long_text, "--unit", name, "--json", "--quiet").json
        assert found["unit"] == "1.hidden.5"
        assert len(found["values"]) == len(found["text"]) == found["characters"]
    code, out, _ = inspect(*long_text, "--unit", "1.cell.2", "--clamp", "0.25", "--html", "u.html")
    assert code == 0
    assert "unit 1.cell.2" in out
    assert "held at 0.250, the next character costs " in out
    assert "[in brackets]: " in out
    assert r"\u003cb\u003elate" in (folder / "u.html").read_text()  # the text is data
    for given in ("9", "2.5", "1.state.5", "1.cell.8", "a", "-1", "1.cell.2.3", "", "9" * 5000):
        refused = inspect(*long_text, f"--unit={given}")
        assert refused.code == 2
        assert "this model has no unit" in refused.error
        assert "parts hidden and cell, N from 0 to 7" in refused.hint
    for words, code, wrong in (
        (("--clamp", "1"), 2, "--clamp holds one unit"),
        (("--unit", "5", "--clamp", "nan"), 2, "--clamp is nan; it must be from -1000 to 1000"),
        (("--unit", "5", "--clamp", "1e38"), 2, "--clamp is 1e+38; it must be from"),
        (("--length", "100"), 1, "has 100 characters; --units needs at least 2,000"),
        (("--split", "test"), 2, "--text and --split"),
    ):
        refused = inspect(*long_text, *words)
        assert refused.code == code
        assert wrong in refused.error


def test_units_in_colours_and_in_brackets(monkeypatch, capsys):
    from charlm.cli import units as module
    from charlm.cli.output import Output

    drawn = {"text": "ab\ncd", "levels": [-1, -0.2, 0.7, 0.1, 1], "side": 1}
    module._draw("1.cell.3, digit", drawn, Output())
    out = capsys.readouterr().out
    assert out == "\n1.cell.3, digit    [in brackets]: high values\n\nab[\u21b5\n]c[d]\n"
    module._draw("1.cell.3, digit", {**drawn, "side": -1}, Output())
    assert "low values\n\n[a]b\ncd\n" in capsys.readouterr().out
    pieces = []
    monkeypatch.setattr(module, "has_colours", lambda stream: True)
    monkeypatch.setattr(Output, "coloured", lambda self, given: pieces.extend(given))
    module._draw("1.cell.3, digit", drawn, Output())
    styles = {text: module.STYLES.index(style) for text, style in pieces if style and text != " "}
    assert styles == {"a": 0, "b": 2, "\u21b5": 5, "d": 6}


def test_attribution_of_a_character_of_a_text_and_of_a_prefix(inspect, folder):
    command = ("--attribution", "--run", "checkpoints/lstm")
    code, out, err = inspect(*command, "--place", 150)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("traveller, test split, character 150: ")
    assert lines[1].endswith(" after 100 average characters")
    header = lines.index("what a character adds to log2 of the probability, in bits") + 1
    rows = [line.rsplit(maxsplit=1) for line in lines[header + 1 :]]
    assert [name for name, _ in rows[10:12]] == ["90 others", "together"]
    bits = [float(number) for _, number in rows[:11]]
    assert sum(bits) == pytest.approx(float(rows[11][1]), abs=0.006)
    assert [abs(each) for each in bits[:10]] == sorted(map(abs, bits[:10]), reverse=True)
    assert lines[-1].startswith("log2 of the probability changes by ")
    found = inspect(*command, "--json", "--html", "page.html").json  # the test split has 300
    assert (folder / "page.html").stat().st_size > 5_000
    assert (found["split"], found["place"], len(found["bits"])) == ("test", 300, 100)
    ratio = found["probability"] / found["probability_without_text"]
    assert found["difference"] == pytest.approx(math.log2(ratio))
    assert sum(found["bits"]) == pytest.approx(found["together"])
    assert found["together"] == pytest.approx(found["difference"], abs=0.01)
    (folder / "own.txt").write_text("The \u00e9 traveller\n", encoding="utf-8")
    own = inspect(*command, "--text", "own.txt", "--place", 6, "--json").json
    assert (own["text"], own["character"], len(own["bits"])) == ("The \u00e9", " ", 5)
    prefix = inspect(*command, "--prefix", "The \u00e9\n", "--json")
    assert (prefix.json["text"], prefix.json["place"]) == ("The \u00e9\n", None)
    assert prefix.err.startswith("warning: not in the vocabulary")
    assert "\n\u2192 '" in inspect(*command, "--prefix", "The\n").out
    (folder / "one.txt").write_text("a", encoding="utf-8")
    for words, code, wrong in (
        (("--text", "own.txt", "--place", 17), 2, "'own.txt' has no character 17"),
        (("--text", "one.txt"), 1, "one character"),
        (("--prefix", ""), 2, "the prefix '' is empty"),
        (("--prefix", "a", "--place", 3), 2, "--prefix is given with another text"),
        (("--length", 9), 2, "--attribution does not use --length"),
    ):
        refused = inspect(*command, *words)
        assert refused.code == code
        assert wrong in refused.error
    assert inspect(*LSTM, "--prefix", "a").error == "--memory does not use --prefix"


def test_attribution_in_colours(monkeypatch):
    from charlm.cli import attribution as module
    from charlm.cli.output import Output

    monkeypatch.setattr(module, "has_colours", lambda stream: True)
    pieces = []
    monkeypatch.setattr(Output, "coloured", lambda self, found: pieces.extend(found))
    module._draw("abc\n", module._levels([0.0, 4.0, -1.0, 0.2]), "\x1b", Output())
    *_, b, c, end, _, target = [piece for piece in pieces if piece[0]]
    assert b == ("b", module.STYLES[-1])
    assert c[0] == "c"
    assert module.STYLES.index(c[1]) == 1
    assert end[0] == "\u21b5"
    assert target == ("\n\u2192 '\\x1b'\n\n", "")
