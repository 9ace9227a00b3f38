"""``charlm report``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

TRAIN = ["train", "--epochs", "2", "--hidden-size", "8", "--seq-len", "20", "--device", "cpu"]


@pytest.fixture
def trained(charlm):
    Path("text.txt").write_text("the time traveller spoke of him\n" * 60)
    assert charlm(*TRAIN, "--corpus", "text.txt", "--run", "one").code == 0
    return Path("checkpoints")


def page(path: Path) -> dict:
    content = path.read_text(encoding="utf-8")
    begin = content.index('id="data">') + len('id="data">')
    return json.loads(content[begin : content.index("</script>", begin)])


def test_reports_of_runs(charlm, trained):
    """At the end of a training, on demand, and of several runs in one file."""
    assert charlm(*TRAIN, "--corpus", "text.txt", "--run", "two").code == 0
    drawn = page(trained / "two" / "report.html")["runs"][0]
    origins = {key: origin for _, rows in drawn["settings"] for key, _, origin, _ in rows}
    assert (origins["source"], origins["hidden_size"], origins["lr"], origins["cell"]) == (
        *("option", "option", "data", "default"),
    )
    for name in ("one", "two"):
        (trained / name / "report.html").unlink()
    newest = charlm("report")
    assert newest.out == f"{trained / 'two' / 'report.html'}\n"
    assert page(trained / "two" / "report.html")["runs"][0]["charts"] == drawn["charts"]
    both = charlm("report", "one", "two", "--json").json["reports"]
    assert [row["file"] for row in both] == [
        str(trained / name / "report.html") for name in ("one", "two")
    ]
    assert [row["state"] for row in both] == ["complete", "complete"]
    together = charlm("report", "one", "two", "--output", "both.html")
    assert together.out == "both.html\n"
    assert [run["name"] for run in page(Path("both.html"))["runs"]] == ["one", "two"]


def test_a_text_that_has_moved_leaves_out_what_needs_it(charlm, trained):
    Path("text.txt").unlink()
    found = charlm("report", "one")
    assert found.code == 0
    assert "the report has no baselines and no copies" in found.err
    (run,) = page(trained / "one" / "report.html")["runs"]
    assert run["notices"] == [
        "The data could not be read, so this page has no baselines and no copies."
    ]
    assert (run["copies"], run["charts"][0]["lines"]) == ([], [])
    assert run["samples"]["sets"]


def test_mistakes(charlm, trained):
    assert charlm("report", "three").error.startswith("three is not a run folder")
    assert charlm("report", "--output", "nowhere/a.html").code == 2
    (trained / "one" / "report.html").unlink()
    (trained / "one" / "report.html").mkdir()
    refused = charlm("report", "one")
    assert refused.error.startswith(f"cannot write {trained / 'one' / 'report.html'}: ")
    assert refused.hint == "check the path, or write to another folder"
    (trained / "one" / "summary.json").write_text("{")
    assert "summary.json is damaged" in charlm("report", "one").error


def test_without_a_run(charlm):
    refused = charlm("report")
    assert (refused.code, refused.hint) == (1, "train one: charlm train")
