"""The benchmarks: every row runs, and the results have their fields. No time is asserted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


@pytest.mark.slow
def test_every_row_runs_and_has_its_fields(d2l, tmp_path: Path):
    names = [line.partition(":")[0] for line in benchmarks("--list").stdout.splitlines()]
    done = benchmarks("--quick", "--threads", "1", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "speed-cpu.json").read_text("utf-8"))["rows"]
    assert [row["name"] for row in rows] == names
    page = (tmp_path / "speed-cpu.md").read_text("utf-8")
    for row in rows:
        assert f"| {row['name']}" in page
        for figures in (*row["measured"].values(), *row["ratios"].values()):
            assert 0 < figures["low"] <= figures["median"] <= figures["high"]
        assert {len(each["values"]) for each in row["measured"].values()} == {row["rounds"]}
        where = row["where"]
        assert where["processor"]
        assert where["threads"] == 1
        assert where["versions"].keys() >= {"python", "torch", "numpy", "numba", "d2l", "commit"}
        if row["name"].startswith(("training/", "generation/")):
            assert row["share_of_floor"]["median"] > 0


def test_the_texts_are_like_text_and_the_same_each_time(tmp_path: Path):
    from benchmarks import texts

    for make, size in ((texts.english, 0.2), (texts.chinese, 0.1)):
        (tmp_path / "again").mkdir(exist_ok=True)
        path = make(tmp_path, size)
        data = path.read_bytes()
        assert data == make(tmp_path / "again", size).read_bytes()
        assert abs(len(data) - size * 1e6) < 4
        assert len(set(data.decode())) > 50
        texts.renew(path)
        assert path.read_bytes()[:-9] == data[:-9]
        assert path.read_bytes() != data


def test_medians_quartiles_and_ratios_are_over_the_rounds():
    from benchmarks.harness import FLOOR, Row, summarise

    row = Row(name="a/b", about="", unit="characters/s", prepare=lambda *_: {})
    values = {"charlm": [2.0, 4.0, 6.0], "other": [1.0, 1.0, 2.0], FLOOR: [4.0, 8.0, 12.0]}
    result = summarise(row, values)
    assert result["measured"]["charlm"]["median"] == 4
    assert result["ratios"] == {"other": {"median": 3, "low": 2.5, "high": 3.5}}
    assert result["share_of_floor"]["median"] == 0.5


def test_a_row_is_replaced_and_the_others_stay(tmp_path: Path):
    from benchmarks import results
    from benchmarks.harness import Row, summarise

    where = {"date": "today", "processor": "P", "system": "S", "cores": 1, "features": []}
    where |= {"device": "cpu", "card": None, "threads": 1, "versions": {"torch": "2"}}

    def result(name: str, value: float) -> dict:
        row = Row(name=name, about="what", unit="seconds", prepare=lambda *_: {})
        return summarise(row, {"charlm": [value]}) | {"where": where}

    order = ["first", "second"]
    results.write(tmp_path, "speed", [result("second", 1), result("first", 2)], order)
    page = results.write(tmp_path, "speed", [result("second", 3)], order)
    rows = results.read(tmp_path / "speed.json")
    assert [row["measured"]["charlm"]["median"] for row in rows] == [2, 3]
    assert page.read_text("utf-8").count("today: P, S, 1 cores") == 1


@pytest.mark.parametrize(
    "arguments",
    [["no-such-row"], ["--rounds", "0"], ["--device", "none"], ["tables", "no-such-table"]],
)
def test_mistakes_are_usage_errors(arguments, capsys: pytest.CaptureFixture):
    from benchmarks.__main__ import main

    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 2
    assert "error: " in capsys.readouterr().err
