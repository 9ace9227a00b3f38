"""A terminal gets control characters as escapes; pipes and files get every text unchanged.

A closed or full stream, or one that cannot encode a text, ends a command cleanly.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import unicodedata
from types import SimpleNamespace

import pytest

from charlm.cli import run
from charlm.cli.output import Output, printable
from charlm.cli.progress import ProgressBar
from charlm.tasks import LANGUAGE_MODEL, TASKS

posix = pytest.mark.skipif(os.name == "nt", reason="terminals and closed streams as POSIX has them")
NOTHING = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}

# Sequences that change a terminal: colours, title, clipboard, clearing the screen, C1 sequences,
# overwriting by return and backspace, reordering, and hidden tags.
HOSTILE = (
    "a\x1b[31m\x1b]0;title\x07\x1b]52;c;eA==\x1b\\\x1b[2J\x9b1m\x90q\x9c\rb\x08c\x0c\x0b\x7f"
    "\x85\u2028\u202ed\u2066e\u2069\u200f\u061c\U000e0041\ufff9"
)


def is_control(character):
    """Whether a terminal must not get the character, by its Unicode properties."""
    category = unicodedata.category(character)
    if category == "Cc":
        return character not in "\n\t"
    name = unicodedata.name(character, "")
    return (
        category in ("Zl", "Zp", "Cs")
        or unicodedata.bidirectional(character)
        in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
        or name in {"LEFT-TO-RIGHT MARK", "RIGHT-TO-LEFT MARK", "ARABIC LETTER MARK"}
        # Deprecated since Unicode 3.0; meant for programs alone; able to hide a text in a text.
        or name.startswith(("INHIBIT ", "ACTIVATE ", "NATIONAL DIGIT", "NOMINAL DIGIT"))
        or name.startswith("INTERLINEAR ANNOTATION ")
        or name.startswith(("TAG ", "LANGUAGE TAG", "CANCEL TAG"))
    )


def escape(character):
    """The escape that Python's repr uses."""
    code = ord(character)
    if character == "\r":
        return r"\r"
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def controls(text):
    """The characters of a text that a terminal must not get."""
    return {character for character in text if is_control(character)}


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    """No colours, so that every control character on a terminal is somebody else's."""
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture(scope="module")
def scalars():
    """All of Unicode's scalar values."""
    text = "".join(map(chr, [*range(0xD800), *range(0xE000, sys.maxunicode + 1)]))
    assert len(text) == 1_112_064
    return text


@pytest.fixture(scope="module")
def unsafe(scalars):
    """The scalar values that a terminal must not get."""
    return controls(scalars)


@pytest.fixture(scope="module")
def shown(scalars, unsafe):
    """All scalar values, as a terminal gets them."""
    return "".join([escape(char) if char in unsafe else char for char in scalars])


class Terminal:
    """A pseudo-terminal: ``file`` is written to, and `received` gives what came out."""

    def __init__(self):
        import termios
        import tty

        self.master, slave = os.openpty()
        termios.tcsetwinsize(slave, (24, 80))  # else there is no room for a bar
        tty.setraw(slave)  # else the terminal itself makes a return and newline of each newline
        self.file = open(slave, "w", encoding="utf-8")  # noqa: SIM115
        self.parts = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        try:
            while part := os.read(self.master, 1 << 16):
                self.parts.append(part)
        except OSError:  # Linux: the other side is closed
            pass
        os.close(self.master)

    def received(self):
        self.file.close()
        self.reader.join()
        return b"".join(self.parts).decode()


def charlm(*arguments, streams="", env=None, **options):
    """Run the command in a separate process, with a shell's redirections in ``streams``."""
    # A buffered write fails later than an unbuffered one.
    env = {**os.environ, "PYTHONUNBUFFERED": "", **(env or {})}
    command = [sys.executable, "-m", "charlm", *arguments]
    if streams:
        command = ["sh", "-c", f'exec "$@" {streams}', "sh", *command]
    return subprocess.run(command, env=env, **{**NOTHING, **options})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a hostile text, and a corpus with a hostile name."""
    corpora = tmp_path / "corpora"
    corpora.mkdir()
    (tmp_path / "hostile.txt").write_text(f"{HOSTILE}\n" * 300, encoding="utf-8", newline="")
    if os.name != "nt":
        (corpora / "\x1b[31m\u202ename\x9b.txt").write_text("some text " * 300)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHARLM_CORPORA", "corpora")
    return tmp_path


def test_the_number_of_escaped_characters(unsafe):
    """Two of C0 stay; 65 controls, 2 separators, 12 marks, 6 deprecated, 3 annotations, 97 tags."""
    assert len(unsafe) == 65 - 2 + 2 + 12 + 6 + 3 + 97


def test_every_scalar_value_is_made_printable(scalars, shown):
    assert printable(scalars) == shown
    assert printable(shown) == shown


@posix
def test_every_scalar_value_on_a_terminal(monkeypatch, scalars, shown):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal.file)
    for start in range(0, len(scalars), 100_000):
        Output().text(scalars[start : start + 100_000], end="")
    assert terminal.received() == shown


def test_every_scalar_value_in_a_file(monkeypatch, tmp_path, scalars):
    with open(tmp_path / "file", "w", encoding="utf-8", newline="") as file:
        monkeypatch.setattr(sys, "stdout", file)
        Output().text(scalars)
    assert (tmp_path / "file").read_bytes() == f"{scalars}\n".encode()


@posix
def test_every_scalar_value_in_json_on_a_terminal(monkeypatch, scalars, unsafe):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal.file)
    Output(as_json=True).json({"text": scalars})
    received = terminal.received()
    assert unsafe.isdisjoint(received)
    assert json.loads(received) == {"text": scalars}
    assert {"分", "😀", "\u200d"} <= set(received)


@posix
def test_lone_surrogates_are_escapes_on_a_terminal(monkeypatch):
    surrogates = "".join(map(chr, range(0xD800, 0xE000)))
    for as_json in (False, True):
        terminal = Terminal()
        monkeypatch.setattr(sys, "stdout", terminal.file)
        output = Output(as_json=as_json)
        output.text(surrogates, end="")
        output.json({"text": list(surrogates)})
        received = terminal.received()
        if as_json:
            assert json.loads(received) == {"text": list(surrogates)}
        else:
            assert received == "".join(map(escape, surrogates))


PROBE = """
import sys
from charlm.cli.output import Output, standard_streams, tell
with standard_streams():
    Output().text("分\\x1b\\x85\\u202e\\udcff")
    Output(as_json=True).json({"text": "分\\x1b\\x85\\u202e\\udcff\\x7f"})
    tell("分\\x1b\\udcff")
"""


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "cp1252:strict", "gb18030"])
def test_a_pipe_gets_utf_8_whatever_the_encoding_of_the_system(encoding):
    """Only half a character, which UTF-8 lacks, becomes an escape."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        **NOTHING,
    )
    assert done.returncode == 0, done.stderr
    text, rest = done.stdout.decode().split(os.linesep, 1)
    assert text == "分\x1b\x85\u202e\\udcff"
    assert json.loads(rest) == {"text": "分\x1b\x85\u202e\udcff\x7f"}
    assert done.stderr.decode().strip() == r"分\x1b\udcff"


def test_a_pipe_is_read_as_utf_8_whatever_the_encoding_of_the_system():
    probe = "from charlm.cli.output import *\nwith standard_streams(): print(ascii(input()))"
    done = subprocess.run(
        [sys.executable, "-c", probe],
        env={**os.environ, "PYTHONIOENCODING": "cp1252:strict"},
        input="分\ud800\n".encode("utf-8", "surrogatepass"),
        stdout=subprocess.PIPE,
    )
    assert done.stdout.split() == [rb"'\u5206\ufffd\ufffd\ufffd'"]


@posix
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_terminal_gets_escapes_for_what_its_encoding_lacks(encoding):
    terminal = Terminal()
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-c", PROBE]
    streams = {"stdin": subprocess.DEVNULL, "stdout": terminal.file, "stderr": terminal.file}
    assert subprocess.run(command, env=environment, **streams).returncode == 0
    text, *rest, message = terminal.received().splitlines()
    assert text == r"\u5206\x1b\x85\u202e\udcff"
    assert json.loads("".join(rest)) == {"text": "分\x1b\x85\u202e\udcff\x7f"}
    assert message == r"\u5206\x1b\udcff"


@posix
def test_in_the_c_locale_chinese_raises_nothing():
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = charlm("corpus", "show", "分开", env=environment)
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: no corpus, file or folder is called ")
    assert done.stderr.isascii()


@posix
@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (["corpus", "show", "hostile.txt"], 0, "a\\x1b[31m\\x1b]0;title\\x07"),
        (["corpus", "show", "hostile.txt", "--json"], 0, '"name": "hostile"'),
        (["corpus", "list"], 0, "\\x1b[31m\\u202ename\\x9b"),
        (["corpus", "list", "--json"], 0, '"\\u001b[31m\\u202ename\\u009b"'),
        (["corpus", "show", HOSTILE], 1, "error: no corpus, file or folder"),
        (["corpus", "add", "\x1b\x9b\n\udcff"], 1, "\\x1b\\x9b\\n\\udcff"),
        ([f"--no{HOSTILE[:20]}"], 2, "error: no such option: --noa\\x1b[31m"),
    ],
)
def test_commands_on_a_terminal(folder, command, code, said):
    terminal = Terminal()
    done = charlm(*command, stdout=terminal.file, stderr=terminal.file)
    received = terminal.received()
    assert done.returncode == code, received
    assert said in received
    assert not controls(received)


@posix
def test_training_and_generating_on_a_terminal(folder, monkeypatch):
    """A model of a hostile text generates control characters."""
    tiny = ["--hidden-size", "8", "--batch-size", "4", "--seq-len", "16", "--epochs", "1"]
    texts = [["--corpus", "hostile.txt", "--prefix", HOSTILE[:6]], ["--corpus", f"{HOSTILE}.txt"]]
    commands = [
        ["train", *tiny, *texts[0], "--run", "\u202erun", "--device", "cpu"],
        ["train", *tiny, *texts[0], "--run", "\u202erun"],  # there is one
        ["train", *tiny, *texts[1]],
        ["train", "--cell", HOSTILE],
        ["train", *tiny, *texts[0], "--run", "\x1b[2Jrun"],  # no name of a run
        ["generate", "--run", "\u202erun", "--temperature", "9", "--num-samples", "2"],
        ["generate", "--run", "\u202erun", "--prefix", "\u2066\x1b", "--json", "-q"],
        ["eval", "--run", "\u202erun", "--text", "hostile.txt"],
        ["runs", "show", "\u202erun"],
        ["runs", "compare", "\u202erun", "\u202erun"],
    ]
    codes, received = [], []
    for command in commands:
        terminal = Terminal()
        monkeypatch.setattr(sys, "stdout", terminal.file)
        monkeypatch.setattr(sys, "stderr", terminal.file)
        codes.append(run(command))
        received.append(terminal.received())
        assert controls(received[-1]) <= {"\r"}, command
    assert 3 not in codes
    assert [code == 0 for code in codes] == [True, *[False] * 4, *[True] * 5]
    assert "\nrun checkpoints/\\u202erun\n" in received[0]
    assert json.loads(received[6])["prefix"] == "\u2066\x1b"


@posix
def test_a_pipe_gets_a_corpus_and_names_as_they_are(folder):
    done = charlm("corpus", "show", "hostile.txt")
    assert HOSTILE.replace("\r", "\n") in done.stdout.decode()
    done = charlm("corpus", "list", "--json")
    names = [corpus["name"] for corpus in json.loads(done.stdout)["corpora"]]
    assert "\x1b[31m\u202ename\x9b" in names


@pytest.mark.parametrize(
    "arguments",
    [
        [HOSTILE],
        [f"--no{HOSTILE}"],
        [f"-{HOSTILE}"],
        ["corpus", HOSTILE],
        ["corpus", "show"],
        ["corpus", "list", HOSTILE],
        ["train", "--epochs", HOSTILE],
        ["train", "--minutes", HOSTILE],
        ["train", "--run"],
        ["train", f"--quiet={HOSTILE}"],
        ["train", f"--lr{HOSTILE}=1"],
        ["train", "--preset", HOSTILE],
        ["train", "--set", HOSTILE],
        ["generate", "--length", "0"],
        ["runs", "compare", f"{HOSTILE}\nhint: believe me"],
    ],
    ids=lambda arguments: " ".join(arguments).replace(HOSTILE, "X").replace("\n", " "),
)
def test_wrong_usage_is_an_error_line_and_a_hint_and_both_are_safe(capsys, arguments):
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert not controls(captured.err)
    error, *hint = captured.err.splitlines()
    assert error.startswith("error: ")
    assert error[len("error: ")].islower() or error.startswith("error: -")
    assert [line[:6] for line in hint] == ["hint: "] * len(hint)
    assert len(hint) == 1 or "; it must be " in error


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["trian"], "no such command 'trian'", " --help"),
        (["train", "--runn"], "no such option: --runn", " train --help"),
        (["verify", "--seed", "x"], "invalid value for '--seed'", " verify --help"),
    ],
)
def test_wrong_usage_says_what_is_wrong_and_where_help_is(capsys, arguments, error, hint):
    run(arguments)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(f"error: {error}")
    assert lines[1].startswith("hint: see ")
    assert lines[1].endswith(hint)


@pytest.mark.parametrize("arguments", [[], ["corpus"], ["runs"]])
def test_without_a_command_there_is_help(capsys, arguments):
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("Usage: ")
    assert "list" in captured.err or "train" in captured.err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ValueError(HOSTILE), 3, "error: this is a bug in charlm; please report the lines above"),
        (
            OSError(errno.ENOSPC, "No space left on device", HOSTILE),
            1,
            "error: No space left on device",
        ),
        (RuntimeError(f"out of memory {HOSTILE}"), 1, "error: there is not enough memory"),
    ],
)
def test_unexpected_errors_are_printed_safely(capsys, monkeypatch, error, code, said):
    def fail():
        raise error

    monkeypatch.setattr("charlm.corpus.catalogue", fail)
    assert run(["corpus", "list"]) == code
    captured = capsys.readouterr()
    assert said in captured.err
    assert not controls(captured.err)
    assert ("Traceback" in captured.err) == (code == 3)


@posix
def test_a_hostile_sample_is_printed_above_the_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal.file)
    step = SimpleNamespace(
        epoch=1, progress=0.5, metric=9.0, seconds=1.0, items=100, valid=8.0, train=9.0,
        text=f"one\n{HOSTILE}\n\nlast", left=1.0,
    )  # fmt: skip
    output = Output()
    with ProgressBar(output, LANGUAGE_MODEL) as bar:
        bar.update(step)
        bar.measured(step)
        bar.sampled(step)
        output.warn(HOSTILE)
        output.note(f"a file called {HOSTILE}")
    received = terminal.received()
    assert controls(received) == {"\r"}  # by which the bar draws over itself
    lines = received.split("\n")
    shown = "".join(escape(char) if is_control(char) else char for char in HOSTILE)
    ends = [line.rsplit("\r", 1)[-1] for line in lines]
    assert ends[1:7] == [
        "    one", f"    {shown}", "    ", "    last", f"warning: {shown}",
        f"a file called {shown}",
    ]  # fmt: skip
    assert ends[0] == "0:01  epoch 1: train perplexity 9.000, valid perplexity 8.000"
    assert "50%|" in ends[7]


@posix
@pytest.mark.parametrize(
    ("task", "valid", "words"),
    [
        (LANGUAGE_MODEL, 8.0, "epoch 40: train 99.999, valid 8.000, 1:40 left, 41,000 chars/s"),
        (LANGUAGE_MODEL, 9.0, "epoch 40: train 99.999, valid 9.000, best 8.500, 1:40 left"),
        (TASKS["classify"], 8.0, "epoch 40: loss 99.999, valid accuracy 8.00%, best 8.50%, 1:40 "),
    ],
)
def test_the_bar_says_the_words_of_the_summary_and_fits(monkeypatch, task, valid, words):
    """The last validation metric, and the best one if it is another."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal.file)
    step = SimpleNamespace(
        epoch=40, progress=1.0, metric=99.999, seconds=100.0, items=4_100_000, valid=valid,
        train=99.999, left=100.0,
    )  # fmt: skip
    half = SimpleNamespace(**vars(step) | {"progress": 0.5})
    with ProgressBar(Output(), task) as bar:
        bar.words.best = 8.5
        bar.measured(step)
        bar.update(half)
    lines = [line for part in terminal.received().split("\n") for line in part.split("\r")]
    shown = [line for line in lines if "epoch 40" in line and "|" in line][-1]
    assert words in shown
    assert len(shown) <= 80


@posix
def test_training_continues_without_its_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal.file)
    output = Output()
    with ProgressBar(output, LANGUAGE_MODEL):

        def fail(*arguments, **options):
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr("tqdm.tqdm.write", fail)
        output.note("nobody reads this")
    terminal.received()


COMMANDS = [
    ["corpus", "list"], ["corpus", "list", "--json"], ["corpus", "show", "traveller"], ["--help"],
    ["--version"],
]  # fmt: skip


# Each command with one of the two, and the shortest and the longest output with both.
BUFFERED = [
    *zip(COMMANDS, ("", "1", "", "1", ""), strict=True), (COMMANDS[2], "1"), (COMMANDS[4], "1")
]  # fmt: skip
buffered = pytest.mark.parametrize(("command", "unbuffered"), BUFFERED)


@posix
@buffered
def test_a_full_disk_is_one_line(command, unbuffered):
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    done = charlm(*command, streams=">/dev/full", env={"PYTHONUNBUFFERED": unbuffered})
    assert done.returncode == 1
    error, *hint = done.stderr.decode().splitlines()
    assert error.startswith("error: ")
    assert error.endswith("No space left on device")
    assert all(line.startswith("hint: ") for line in hint)


@posix
@pytest.mark.parametrize("command", COMMANDS[2:4], ids=" ".join)
def test_closed_streams_behave_like_the_null_device(command):
    for streams in (">&-", "<&-", "2>&-", "<&- >&- 2>&-"):
        done = charlm(*command, streams=streams)
        assert (done.returncode, done.stderr) == (0, b""), streams
        assert bool(done.stdout) == (">&-" not in streams.replace("2>&-", "")), streams


@posix
def test_messages_never_go_to_stdout():
    done = charlm("corpus", "show", "no-such-corpus", "--json", streams="2>&-")
    assert (done.returncode, done.stdout) == (1, b"")


@posix
@buffered
def test_a_closed_pipe_ends_the_command_quietly(command, unbuffered):
    """As with `| head`; here the pipe is closed before the first write."""
    reader, writer = os.pipe()
    os.close(reader)
    done = charlm(*command, stdout=writer, env={"PYTHONUNBUFFERED": unbuffered})
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@posix
def test_a_command_works_without_stderr(folder):
    reader, writer = os.pipe()
    os.close(reader)
    with open("/dev/full" if os.path.exists("/dev/full") else os.devnull, "w") as full:
        for stderr in (writer, full):
            done = charlm("corpus", "show", "hostile.txt", "--json", stderr=stderr)
            assert done.returncode == 0
            assert json.loads(done.stdout)["name"] == "hostile"
            assert charlm("corpus", "show", "no-such-corpus", stderr=stderr).returncode == 1
            assert charlm("corpus", stderr=stderr).returncode == 2
    os.close(writer)
