"""The one sink: what reaches stdout and stderr, and what a terminal may be sent."""

from __future__ import annotations

import io
import json
import math
import sys
import unicodedata

import pytest

from charlm.cli.output import Output, clock, figure, printable

BIDI_CONTROLS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
MARKS = "\u200e\u200f\u061c"  # have the direction of a letter, and no shape


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def is_dangerous(character: str) -> bool:
    """By what Unicode says of the character."""
    return (
        (unicodedata.category(character) == "Cc" and character not in "\n\t")
        or unicodedata.category(character) in ("Zl", "Zp")
        or unicodedata.bidirectional(character) in BIDI_CONTROLS
        or character in MARKS
    )


def escape(character: str) -> str:
    short = {"\r": r"\r"}
    code = ord(character)
    return short.get(character) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")


def test_every_unicode_scalar_value():
    for start in range(0, sys.maxunicode + 1, 0x1000):
        block = [chr(code) for code in range(start, start + 0x1000) if not 0xD800 <= code < 0xE000]
        wanted = [
            escape(character) if is_dangerous(character) else character for character in block
        ]
        assert printable("".join(block)) == "".join(wanted), hex(start)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b]0;title\x07", r"\x1b[31mred\x1b]0;title\x07"),
        ("a\r\nb\tc\x00\x7f", "a\\r\nb\tc\\x00\\x7f"),
        ("\x9b31m\x85", r"\x9b31m\x85"),
        ("a\u202eb\u2066c\u2069\u200f\u061c", r"a\u202eb\u2066c\u2069\u200f\u061c"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("élan, 分开 – 不分开！ 👩\u200d🚀 שלום", "élan, 分开 – 不分开！ 👩\u200d🚀 שלום"),
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
def test_a_pipe_gets_the_text_as_it_is_and_a_terminal_no_control(monkeypatch, stream, shown):
    monkeypatch.setattr(sys, "stdout", stream)
    Output().text("a\x1b[2J\x85分")
    assert stream.getvalue() == shown


def test_text_has_the_end_that_is_asked_for_and_comes_at_once(monkeypatch):
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


def test_without_json_there_is_none(capsys):
    Output().json({"a": 1})
    assert capsys.readouterr() == ("", "")


def test_json_has_null_for_what_json_does_not_know(capsys):
    content = {
        "a": math.inf,
        "b": [-math.inf, 1.5, {"c": math.nan}],
        "d": (math.inf, 2),
        "e": {"f": None, "g": True, "h": "inf"},
    }
    Output(as_json=True).json(content)

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    assert json.loads(capsys.readouterr().out, parse_constant=refuse) == {
        "a": None,
        "b": [None, 1.5, {"c": None}],
        "d": [None, 2],
        "e": {"f": None, "g": True, "h": "inf"},
    }
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
    captured = capsys.readouterr()
    assert captured.out == "a result\n"
    assert captured.err == "warning: mind this\n"


def test_notes_and_warnings_have_no_controls_wherever_they_go(capsys):
    output = Output()
    output.note("a\x1b[2J")
    output.warn("b\x9b\n分")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "a\\x1b[2J\nwarning: b\\x9b\n分\n"


def test_messages_can_be_shown_elsewhere(capsys):
    shown = []
    output = Output()
    output.show = shown.append
    output.note("one")
    output.warn("two")
    assert shown == ["one", "warning: two"]
    assert capsys.readouterr().err == ""


def test_a_table_is_aligned_left_then_right(capsys):
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


def test_a_chinese_character_takes_two_columns_of_a_table(capsys):
    Output().table(
        ("text", "n", "what"), [("分开", "1", "歌"), ("abcde", "22", "b"), ("é", "3", "x")]
    )
    assert capsys.readouterr().out.splitlines() == [
        "text    n  what",
        "分开    1    歌",
        "abcde  22     b",
        "é       3     x",
    ]


def test_a_table_without_rows_is_its_header(capsys):
    Output().table(("a", "b"), [])
    assert capsys.readouterr().out == "a  b\n"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0:00"), (0.4, "0:00"), (7, "0:07"), (59.4, "0:59"), (59.6, "1:00"), (60, "1:00"),
        (754, "12:34"), (3599.9, "1:00:00"), (3723, "1:02:03"), (360_000, "100:00:00"),
    ],
)  # fmt: skip
def test_clock(seconds, shown):
    assert clock(seconds) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"), (1.0, "1.000"), (2.34567, "2.346"), (99.5, "99.500"), (100.0, "100"),
        (12345.6, "12,346"), (math.inf, "inf"), (math.nan, "nan"),
    ],
)  # fmt: skip
def test_figure(value, shown):
    assert figure(value) == shown
