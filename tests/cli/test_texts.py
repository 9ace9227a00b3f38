"""Texts that people have: folders, files of other types, addresses."""

import json
import shlex
from pathlib import Path

import pytest

TINY = shlex.split("--hidden-size 8 --batch-size 4 --seq-len 10 --device cpu --set sample_length=5")
PDF = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n1 0 obj\n"
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"


@pytest.fixture
def project(folder):
    """Code in two folders, beside notes and a picture."""
    for name in ("src/a.py", "src/deep/b.py", "old/c.py"):
        path = Path("project", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"def {path.stem}(x):\n    return x + 1\n" * 20)
    Path("project/notes.md").write_text("# Notes\n")
    Path("project/logo.png").write_bytes(PNG)
    return Path("project")


def test_a_run_keeps_the_globs_of_its_folder(project, charlm):
    globs = ("--include", "*.py", "--exclude", "old")
    result = charlm(
        "train",
        "--corpus",
        project,
        *globs,
        *TINY,
        "--epochs",
        2,
        "--run",
        "checkpoints/a",
        "--json",
    )
    assert "read 2 files of folder" in result.err
    assert "left out 3 files by --include or --exclude" in result.err
    about = json.loads(Path("checkpoints/a/run.json").read_text())
    assert about["config"]["corpus"]["include"] == ["*.py"]
    assert about["config"]["corpus"]["exclude"] == ["old"]
    assert about["corpus"]["characters"] == 2 * 20 * 27
    # Later commands read the same files, whatever else comes into the folder.
    (project / "src/new.txt").write_text("new")
    assert charlm("eval", "--run", result.json["run"], "--json").json["characters"] == 53
    again = charlm("train", "--resume", "--run", "checkpoints/a", "--epochs", 3, "--json")
    assert again.json["epochs"] == 3
    changed = charlm("train", "--resume", "--run", "checkpoints/a", "--include", "*.md")
    assert "include" in changed.error


def test_mistakes_with_globs(project, charlm):
    none = charlm("train", "--corpus", project, "--include", "*.js")
    assert none.error == f"no file in folder {project} is left after --include"
    assert none.hint.startswith("the folder has 5 files: 3 with .py, 1 with .")
    one = charlm("train", "--corpus", project / "notes.md", "--exclude", "*.js")
    assert one.code == 2
    assert "--include and --exclude choose files of a folder" in one.error
    assert charlm("train", "--include", "*.js").code == 2
    typo = charlm(
        "train", "--corpus", project, "--include", "*.py", "--exclude", "x", "--dry-run", "-q"
    )
    assert f"warning: no file in folder {project} matches --exclude 'x'" in typo.err


def test_a_folder_of_which_most_is_skipped_is_a_warning(project, charlm):
    for number in range(5):
        (project / f"{number}.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    said = "warning: read 4 files of folder project, skipped 6: 5 JPEG images (0.jpg, 1.jpg, 2.jpg"
    for command in (
        ("train", "--corpus", project, "--dry-run"),
        ("corpus", "show", "./project"),
        ("corpus", "add", project),
    ):
        assert said in charlm(*command, "--quiet").err
    assert charlm("train", *TINY, "--max-chars", 2000, "--epochs", 1).code == 0
    assert "skipped 6: 5 JPEG images" in charlm("eval", "--text", project, "--quiet").err


def test_a_file_of_another_type_is_refused_by_every_reader(charlm):
    assert charlm("train", *TINY, "--max-chars", 2000, "--epochs", 1).code == 0
    for raw in (PDF, PNG, rb"{\rtf1 text}", b"\xff\xd8\xff\xe0 \xff"):
        Path("a.txt").write_bytes(raw)
        for command in (
            ("train", "--corpus", "a.txt"),
            ("train", "--corpus", "a.txt", "--encoding", "latin-1"),
            ("train", "--corpus", "-"),
            ("eval", "--text", "a.txt"),
            ("eval", "--text", "-"),
            ("corpus", "add", "a.txt"),
            ("corpus", "show", "./a.txt"),
        ):
            refused = charlm(*command, stdin=raw)
            assert refused.code == 1
            assert "is not plain text but a" in refused.error
            assert refused.hint
    assert "is a web address" in charlm("eval", "--text", "https://a.org/b.txt").error


@pytest.mark.parametrize("address", ["https://www.gutenberg.org/ebooks/11", "github.com/ann/poems"])
@pytest.mark.parametrize(
    "command",
    [
        "train --corpus",
        "corpus show",
        "corpus add",
        "corpus fetch",
        "classify train --data",
        "tag train --data",
    ],
)
def test_an_address_says_what_to_do(charlm, command, address):
    refused = charlm(*command.split(), address)
    assert refused.code == 1
    assert refused.error == f"{address!r} is a web address; charlm reads files"
    assert refused.hint.startswith("download it first: ")
