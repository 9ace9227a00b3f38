"""What ``charlm explain`` prints: tables for a person, the same numbers for a program."""

from __future__ import annotations

import json

import pytest

from charlm.cli import run

EXAMPLES = [
    *("memory", "lstm", "gru", "gradients", "parameters"),
    *("perplexity", "clipping", "sampling"),
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_example_is_a_table_and_json(capsys, example):
    assert run(["explain", example]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert len(lines) > 4
    assert err == ""
    assert all(len(line) <= 80 for line in lines)
    assert lines[0].endswith((".", ","))  # words come before the table
    assert run(["explain", example, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)
    assert err == ""


def test_memory(capsys):
    run(["explain", "memory"])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    start = rows.index(["step", "input", "memory", "output"])
    assert rows[start + 1 : start + 4] == [
        ["1", "1", "1", "0", "0", "4", "4"],
        ["2", "1", "1", "2", "2", "12", "12"],
        ["3", "2", "2", "6", "6", "32", "32"],
    ]


def test_lstm(capsys):
    run(["explain", "lstm"])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[-5:]]
    assert [row[6] for row in rows] == ["3.00", "7.00", "7.00", "7.00", "0.00"]
    assert [row[8] for row in rows] == ["0.00", "0.00", "0.00", "7.00", "0.00"]


def test_gru(capsys):
    run(["explain", "gru"])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[-6:]]
    assert [row[4:6] for row in rows[2:4]] == [["1.0000", "1.0000"], ["0.0000", "0.0000"]]
    assert rows[1][7] == rows[2][7] != rows[3][7] == rows[4][7]


def test_perplexity(capsys):
    run(["explain", "perplexity"])
    out = capsys.readouterr().out
    assert "'a'     'n'        (2 + 1) / (2 + 3)       0.6000  0.5108  0.7370" in out
    assert "perplexity exp(0.5473) = 2 ^ 0.7896 = 1.7286" in out
    assert out.endswith("27                           0.0370  3.2958  4.7549       27.00\n")


def test_sampling(capsys):
    run(["explain", "sampling"])
    random, consecutive = capsys.readouterr().out.split("consecutive sampling\n")
    assert random.count("nothing: zeros") == 6
    assert consecutive.count("nothing: zeros") == 2
    assert consecutive.splitlines()[-1].split("  ")[-1].strip() == "'veller s'"


def test_gradients(capsys):
    run(["explain", "gradients", "--json"])
    norms = json.loads(capsys.readouterr().out)["norms"]
    assert norms.keys() == {"0.9", "1.2"}
    assert [len(rows) for rows in norms.values()] == [100, 100]


def test_clipping(capsys):
    """The network blows up without clipping and learns with it."""
    run(["explain", "clipping", "--json"])
    found = json.loads(capsys.readouterr().out)
    without, clipped = found["without_clipping"], found["with_clipping"]
    assert without[0] == clipped[0]
    assert max(row["norm"] for row in without[:-1]) > 1e6
    assert None in without[-1].values()
    assert len(without) == 6
    losses = [row["loss"] for row in clipped]
    assert [row["step"] for row in clipped] == [*range(1, 61)]
    assert max(losses) < 5
    assert losses[-1] < losses[0] - 1
    run(["explain", "clipping"])
    out = capsys.readouterr().out
    assert "Without clipping, the numbers are not finite at step 6" in out


def test_parameters(capsys):
    run(["explain", "parameters"])
    out = capsys.readouterr().out
    assert "2,080" in out
    assert "377,985" in out
