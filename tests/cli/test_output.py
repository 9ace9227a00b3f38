"""The texts on stdout and stderr, and the characters that a terminal gets."""

from __future__ import annotations

import errno
import io
import json
import math
import re
import sys

import pytest

from charlm.cli import run
from charlm.cli.output import ClosedPipe, Output, printable, tell_error
from charlm.errors import CharlmError
from charlm.task import Metric


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b]0;title\x07", r"\x1b[31mred\x1b]0;title\x07"),
        ("a\r\nb\tc\x00\x7f", "a\\r\nb\tc\\x00\\x7f"),
        ("\x9b31m\x85", r"\x9b31m\x85"),
        ("a\u202eb\u2066c\u2069\u200f\u061c", r"a\u202eb\u2066c\u2069\u200f\u061c"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("a\U000e0001\U000e0041\U000e007fb", r"a\U000e0001\U000e0041\U000e007fb"),
        ("a\ufff9b\ufffac\ufffb\u206a\u206f", r"a\ufff9b\ufffac\ufffb\u206a\u206f"),
        ("\ud800a\udfff", r"\ud800a\udfff"),
        ("élan, 分开 – 不分开！ 👩\u200d🚀 שלום", "élan, 分开 – 不分开！ 👩\u200d🚀 שלום"),
        (
            "می\u200cخواهم क्\u200dष ❤\ufe0f 葛\U000e0100",
            "می\u200cخواهم क्\u200dष ❤\ufe0f 葛\U000e0100",
        ),
        ("co\xadop \u200b\u2060\ufeff\u180e\xa0", "co\xadop \u200b\u2060\ufeff\u180e\xa0"),
        ("a backslash \\x1b stays", "a backslash \\x1b stays"),
        ("", ""),
    ],
)
def test_controls_become_escapes_and_letters_stay(text, shown):
    assert printable(text) == shown
    assert printable(shown) == shown


@pytest.mark.parametrize(
    ("stream", "shown"), [(io.StringIO(), "a\x1b[2J\x85分\n"), (Terminal(), "a\\x1b[2J\\x85分\n")]
)
def test_only_a_terminal_gets_escapes(monkeypatch, stream, shown):
    monkeypatch.setattr(sys, "stdout", stream)
    Output().text("a\x1b[2J\x85分")
    assert stream.getvalue() == shown


def test_text_is_written_at_once_with_the_given_end(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="utf-8"))
    output = Output()
    output.text("a", end="")
    assert raw.getvalue() == b"a"
    output.text("b")
    assert raw.getvalue().splitlines() == [b"ab"]


def test_json_is_alone_on_stdout(capsys):
    output = Output(as_json=True)
    output.text("a result")
    output.table(("a", "b"), [("1", "2")])
    output.note("by the way")
    output.warn("mind this")
    output.json({"text": "分开\x1b\n", "perplexity": 1.5})
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"text": "分开\x1b\n", "perplexity": 1.5}
    assert "分开" in captured.out
    assert "\x1b" not in captured.out
    assert captured.err == "by the way\nwarning: mind this\n"


def test_json_on_a_terminal_uses_escapes_of_json(monkeypatch):
    text = '分开😀 \x1b\x7f\x9b\u202e\u2028\U000e0041 \\ " \udcff \n\t'
    shown = r"分开😀 \u001b\u007f\u009b\u202e\u2028\udb40\udc41 \\ \" \udcff \n\t"
    for stream in (Terminal(), io.StringIO()):
        monkeypatch.setattr(sys, "stdout", stream)
        Output(as_json=True).json({"text": text})
        assert json.loads(stream.getvalue()) == {"text": text}
        assert (shown in stream.getvalue()) == stream.isatty()
        assert ("\u202e" in stream.getvalue()) != stream.isatty()


def test_json_has_null_for_numbers_that_are_not_finite(capsys):
    same = {"f": None, "g": True, "h": "inf"}
    content = {"a": math.inf, "b": [-math.inf, 1.5, {"c": math.nan}], "d": (math.inf, 2), "e": same}
    Output(as_json=True).json(content)

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    found = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert found == {"a": None, "b": [None, 1.5, {"c": None}], "d": [None, 2], "e": same}
    assert content["a"] == math.inf


@pytest.mark.parametrize("encoding", ["utf-8", "UTF8", "ascii", "cp1252", "gb18030", "latin-1"])
def test_json_stays_json_whatever_stdout_can_encode(monkeypatch, encoding):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors="backslashreplace")
    monkeypatch.setattr(sys, "stdout", stream)
    content = {"text": "é 分 😀 \x85 \udcff"}
    Output(as_json=True).json(content)
    assert json.loads(raw.getvalue().decode(encoding)) == content


def test_quiet_drops_notes_and_keeps_warnings_and_results(capsys):
    output = Output(quiet=True)
    output.note("by the way")
    output.warn("mind this")
    output.text("a result")
    output.json({"a": 1})
    output.table(("a", "b"), [])
    captured = capsys.readouterr()
    assert captured.out == "a result\na  b\n"
    assert captured.err == "warning: mind this\n"


def test_notes_and_warnings_have_no_control_characters(capsys):
    output = Output()
    output.note("a\x1b[2J")
    output.warn("b\x9b\n分")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "a\\x1b[2J\nwarning: b\\x9b\n分\n"


def test_show_can_be_replaced(capsys):
    shown = []
    output = Output()
    output.show = shown.append
    output.note("one")
    output.warn("two")
    assert shown == ["one", "warning: two"]
    assert capsys.readouterr().err == ""


class Broken(io.StringIO):
    """A stream whose writes raise an error."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def write(self, text):
        raise self.error


def test_an_unwritable_stdout_is_an_error(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Broken(OSError(errno.ENOSPC, "No space left on device")))
    for output in (Output(), Output(as_json=True)):
        with pytest.raises(CharlmError, match="cannot write to standard output: No space left"):
            output.text("a") if not output.as_json else output.json({})


def test_a_closed_stdout_ends_the_command(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Broken(BrokenPipeError()))
    with pytest.raises(ClosedPipe):
        Output().text("a")


def test_help_to_a_closed_stdout_restores_the_streams(monkeypatch):
    stream = Broken(BrokenPipeError(errno.EPIPE, "Broken pipe"))
    monkeypatch.setattr(sys, "stdout", stream)
    assert run(["--help"]) == 0
    assert sys.stdout is stream


def test_an_unwritable_stderr_is_ignored(monkeypatch):
    for error in (BrokenPipeError(), OSError(errno.ENOSPC, "No space left on device")):
        monkeypatch.setattr(sys, "stderr", Broken(error))
        Output().note("a")
        Output().warn("b")
        tell_error("c", "d")


def test_an_error_and_its_hint_are_one_safe_line_each(capsys):
    tell_error("no file a\x1b[2J\nhint: type rm", "b\x9b\nc")
    tell_error("no hint")
    assert capsys.readouterr().err == (
        "error: no file a\\x1b[2J\\nhint: type rm\nhint: b\\x9b\\nc\nerror: no hint\n"
    )


def test_the_first_column_is_left_aligned(capsys):
    Output().table(
        ("name", "characters", "kind"),
        [("traveller", "37,000", "own"), ("a", "5", ""), ("jaychou", "63,282", "catalogue")],
    )
    assert capsys.readouterr().out.splitlines() == [
        "name       characters       kind",
        "traveller      37,000        own",
        "a                   5",
        "jaychou        63,282  catalogue",
    ]


def test_a_chinese_character_is_two_columns_wide(capsys):
    Output().table(
        ("text", "n", "what"), [("分开", "1", "歌"), ("abcde", "22", "b"), ("é", "3", "x")]
    )
    assert capsys.readouterr().out.splitlines() == [
        "text    n  what",
        "分开    1    歌",
        "abcde  22     b",
        "é       3     x",
    ]


def test_a_table_on_a_terminal_is_aligned_with_its_escapes(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    Output().table(("run", "n"), [("\x1b[2J", "1"), ("a\u202eb", "22")])
    assert sys.stdout.getvalue().splitlines() == [
        "run        n",
        r"\x1b[2J    1",
        r"a\u202eb  22",
    ]


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({"NO_COLOR": ""}, True)],
)
def test_a_terminal_gets_colours_unless_they_are_turned_off(monkeypatch, environment, coloured):
    for name, value in ({"TERM": "xterm"} | environment).items():
        monkeypatch.setenv(name, value)
    for stream, colours in ((Terminal(), coloured), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "stderr", stream)
        Output().table(("a", "b"), [("1", "2")])
        Output().warn("mind\x1b[2J")
        tell_error("wrong", "right")
        shown = stream.getvalue()
        assert ("\x1b[1m" in shown, "\x1b[33mwarning:\x1b[0m" in shown) == (colours, colours)
        plain = re.sub(r"\x1b\[[\d;]*m", "", shown)
        assert plain == "a  b\n1  2\nwarning: mind\\x1b[2J\nerror: wrong\nhint: right\n"


def test_a_pipe_gets_one_line_for_each_row_unless_columns_is_set(monkeypatch, capsys):
    header, rows = ("name", "about"), [("a", "word " * 30 + "end")]
    Output().table(header, rows, left=2)
    assert len(capsys.readouterr().out.splitlines()) == 2
    monkeypatch.setenv("COLUMNS", "80")
    Output().table(header, rows, left=2)
    assert len(capsys.readouterr().out.splitlines()) == 4
    Output().blocks(["word " * 20 + "a" * 90, ""])
    assert [*map(len, capsys.readouterr().out.splitlines())] == [79, 19, 90, 0]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "-"), (99.5, "99.500"), (100.0, "100"), (12345.6, "12,346"), (math.inf, "inf")],
)
def test_a_metric_as_text(value, shown):
    assert Metric(name="perplexity").text(value) == shown
