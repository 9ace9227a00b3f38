"""Tables fit the terminal: wrapped, with the first cell above the others, or on their side."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from charlm.cli.tables import table_lines

RUN = "20261126-174622-timemachine-gru-reset-before"
RUNS = [(RUN, "gru-reset-before", "1,234,567", "12.5", "4.123", "4.512", "1:36")] * 2
HEADER = ("run", "cell", "parameters", "epochs", "train", "valid", "time")


def test_a_table_that_fits_is_aligned():
    rows = [("a", "1"), ("bcd", "10")]
    assert [*table_lines(("n", "x"), rows, left=1, width=7)] == ["n     x", "a     1", "bcd  10"]


def test_prose_is_wrapped_between_words():
    rows = [("imdb", "classify", "50,000 film reviews, half of them positive and half negative")]
    assert [*table_lines(("name", "task", "about"), rows, left=3, width=50)] == [
        "name  task      about",
        "imdb  classify  50,000 film reviews, half of them",
        "                positive and half negative",
    ]


def test_chinese_prose_is_wrapped_by_its_width():
    lines = [*table_lines(("name", "about"), [("a", "分开 " * 20)], left=2, width=40)]
    assert len(lines) == 4
    assert all(cell_len(line) <= 40 for line in lines)
    assert "".join(lines[1:]).count("分开") == 20


def test_the_first_cell_gets_a_line_of_its_own():
    assert [*table_lines(HEADER, RUNS[:1], left=1, width=80)] == [
        "run",
        "                cell  parameters  epochs  train  valid  time",
        RUN,
        "    gru-reset-before   1,234,567    12.5  4.123  4.512  1:36",
    ]


def test_a_table_with_many_columns_is_turned_on_its_side():
    on_its_side = [
        f"run         {RUN[:36]}",
        f"            {RUN[36:]}",
        "cell        gru-reset-before",
        "parameters  1,234,567",
        "epochs      12.5",
        "train       4.123",
        "valid       4.512",
        "time        1:36",
    ]
    lines = [*table_lines(HEADER, RUNS, left=1, width=48)]
    assert lines == [*on_its_side, "", *on_its_side]


@pytest.mark.parametrize("width", [1, 20, 40, 79, 80, 120, None])
@pytest.mark.parametrize("rows", [[], RUNS])
def test_nothing_is_lost_at_any_width(width, rows):
    text = "".join(table_lines(HEADER, rows, left=1, width=width)).replace(" ", "")
    assert all(cell.replace(" ", "") in text for row in rows for cell in row)
