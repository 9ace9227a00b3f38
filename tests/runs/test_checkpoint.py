"""Checkpoints: a checkpoint is complete or does not count, and every damage is noticed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil

import pytest

from charlm.errors import RunError
from charlm.runs import Run
from charlm.runs.checkpoint import (
    FILES,
    FORMAT,
    MANIFEST,
    RUN_FILES,
    Checkpoint,
    checkpoint_folders,
    clean_up,
    complete_checkpoints,
    decode_manifest,
    is_checkpoint,
    record,
    write_checkpoint,
)

ABOUT = {name: record(name.encode()) for name in RUN_FILES}
MASKS = (0x01, 0x20, 0x80, 0xFF)


def files_of(number):
    """Contents that differ from those of other checkpoints."""
    return {name: f"{name} of {number}".encode() * number for name in FILES}


def write(folder, number, last=None):
    return write_checkpoint(folder, files_of(number), ABOUT, last)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def with_byte_changed(data, position, mask):
    return data[:position] + bytes([data[position] ^ mask]) + data[position + 1 :]


@pytest.fixture
def written(tmp_path):
    return write(tmp_path, 1)


@pytest.fixture
def manifest(written):
    return written.folder / MANIFEST


@pytest.fixture
def refused(manifest, one_line):
    """A function that checks that a manifest is refused, and returns the message."""

    def check(data):
        with pytest.raises(RunError) as caught:
            decode_manifest(data, manifest)
        assert str(manifest) in caught.value.message
        assert len(caught.value.message) < len(str(manifest)) + 300
        return one_line(caught.value)

    return check


# Writing


def test_checkpoint_has_its_files_and_a_manifest(tmp_path):
    checkpoint = write(tmp_path, 1)
    assert checkpoint.folder == tmp_path / "checkpoint-000001"
    assert names(tmp_path) == ["checkpoint-000001"]
    assert names(checkpoint.folder) == sorted([*FILES, MANIFEST])
    for name, data in files_of(1).items():
        assert (checkpoint.folder / name).read_bytes() == data
        assert checkpoint.read(name, len(data)) == data
    assert Checkpoint.open(checkpoint.folder) == checkpoint


def test_manifest_has_size_and_hash_of_each_file(written, manifest):
    expected = {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in {**files_of(1), **{name: name.encode() for name in RUN_FILES}}.items()
    }
    assert json.loads(manifest.read_text()) == {"format": 4, "files": expected}
    assert written.records == {
        name: (row["bytes"], row["sha256"]) for name, row in expected.items()
    }


def test_manifest_is_written_last(tmp_path, monkeypatch):
    order = []

    def replace(old, new, original=os.replace):
        order.append(os.path.basename(new))
        original(old, new)

    monkeypatch.setattr(os, "replace", replace)
    write(tmp_path, 1)
    assert order == [*FILES, MANIFEST]


@pytest.mark.skipif(os.name == "nt", reason="folders are synced on POSIX only")
def test_folders_are_synced_after_mkdir_and_after_a_manifest_is_deleted(tmp_path, monkeypatch):
    first = write(tmp_path, 1)
    second = write(tmp_path, 2, first.folder)
    order = []
    opened = {}

    def follow(name, label):
        original = getattr(os, name)

        def call(first, *rest, **options):
            result = original(first, *rest, **options)
            if name == "open":
                opened[result] = os.path.basename(first)
            elif path := label(first):
                order.append((name, path))
            return result

        monkeypatch.setattr(os, name, call)

    follow("open", None)
    follow("fsync", opened.get)
    for name in ("mkdir", "unlink", "rmdir"):
        follow(name, os.path.basename)
    third = write(tmp_path, 3, second.folder)
    assert order[:2] == [("mkdir", third.folder.name), ("fsync", tmp_path.name)]
    end = order[order.index(("unlink", MANIFEST)) :]
    assert end[1] == ("fsync", first.folder.name)
    assert sorted(end[2:-1]) == [("unlink", name) for name in sorted(FILES)]
    assert end[-1] == ("rmdir", first.folder.name)
    assert order[-len(end) - 1] == ("fsync", third.folder.name)


def test_new_checkpoint_and_last_one_are_kept(tmp_path, contents):
    last = None
    for number in range(1, 13):
        checkpoint = write(tmp_path, number, last)
        assert checkpoint.folder.name == f"checkpoint-{number:06}"
        assert checkpoint_folders(tmp_path) == [checkpoint.folder, last][: 1 + (number > 1)]
        last = checkpoint.folder
    assert {**contents(last), MANIFEST: b""} == {**files_of(12), MANIFEST: b""}
    assert write(tmp_path, 13).folder.name == "checkpoint-000013"
    assert names(tmp_path) == ["checkpoint-000013"]  # without a last one, all others go


def test_resuming_from_previous_checkpoint_deletes_newer_one(tmp_path):
    first = write(tmp_path, 1).folder
    write(tmp_path, 2, first)
    third = write(tmp_path, 3, first)
    assert third.folder.name == "checkpoint-000003"
    assert checkpoint_folders(tmp_path) == [third.folder, first]


def test_numbers_continue_after_incomplete_checkpoint_and_beyond_six_digits(tmp_path):
    (tmp_path / "checkpoint-000007").mkdir()
    assert write(tmp_path, 1).folder.name == "checkpoint-000008"
    (tmp_path / "checkpoint-999999").mkdir()
    last = write(tmp_path, 1).folder
    assert last.name == "checkpoint-1000000"
    assert write(tmp_path, 2, last).folder.name == "checkpoint-1000001"
    assert checkpoint_folders(tmp_path) == [tmp_path / "checkpoint-1000001", last]


# Manifests


def test_manifest_with_a_changed_byte_is_refused(written, manifest, refused):
    data = manifest.read_bytes()
    assert decode_manifest(data, manifest)
    for position in range(len(data)):
        for mask in MASKS:
            changed = with_byte_changed(data, position, mask)
            # A digit may have become another one. Then the file of that record is refused.
            try:
                records = decode_manifest(changed, manifest)
            except RunError:
                refused(changed)
            else:
                assert len([n for n in records if records[n] != written.records[n]]) == 1, position


def test_manifest_that_is_cut_off_or_too_long_is_refused(manifest, refused):
    data = manifest.read_bytes()
    for changed in (
        *(data[:size] for size in range(len(data))),
        *(data + more for more in (b"\n", b" ", b"\0", b"{}", data)),
    ):
        refused(changed)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: data.replace(b"  ", b" "),
        lambda data: json.dumps(json.loads(data)).encode(),
        lambda data: data.replace(b'"bytes": 8', b'"bytes": 8.0'),
        lambda data: data.replace(b'"bytes": 8', b'"bytes": true'),
        lambda data: data.replace(b'"bytes": 8', b'"bytes": -8'),
        lambda data: data.replace(b'"bytes": 8', b'"bytes": 08'),
        lambda data: data.replace(b'"run.json"', b'"run\\u002ejson"'),
        lambda data: data.replace(b'"run.json"', b'"../run.json"'),
        lambda data: data.replace(b'"sha256": "', b'"sha256": "0'),
        lambda data: data.upper(),
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: data.replace(b'"format": 4', b'"format": 4, "format": 4'),
        lambda data: data.replace(b'"files"', b'"more": 1, "files"'),
        lambda data: data.decode().encode("utf-16"),
    ],
)
def test_manifest_with_same_meaning_in_other_bytes_is_refused(manifest, refused, change):
    data = manifest.read_bytes()
    assert change(data) != data
    refused(change(data))


@pytest.mark.parametrize("name", [*FILES, *RUN_FILES])
def test_manifest_that_lacks_a_file_is_refused(manifest, refused, name):
    content = json.loads(manifest.read_text())
    del content["files"][name]
    refused((json.dumps(content, indent=2) + "\n").encode())


@pytest.mark.parametrize("number", [1, 3, 0, -2, 10**30])
def test_manifest_of_another_format_is_refused(manifest, refused, number):
    message = refused(manifest.read_bytes().replace(b'"format": 4', f'"format": {number}'.encode()))
    if abs(number) < 2**63:
        assert message == f"{manifest} has the format {number}; this version reads {FORMAT}"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"5",
        b'{"format": 4}',
        b'{"format": 4, "files": []}',
        b'{"format": 4, "files": {}}',
        b'{"format": "4", "files": {"run.json": 5}}',
    ],
)
def test_other_json_is_not_a_manifest(refused, data):
    assert "damaged" in refused(data)


def test_missing_or_huge_manifest_is_refused(written, manifest, one_line):
    manifest.unlink()
    with pytest.raises(RunError) as caught:
        Checkpoint.open(written.folder)
    assert one_line(caught.value) == f"cannot read {manifest}: No such file or directory"
    with manifest.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(RunError, match="is damaged: it has"):
        Checkpoint.open(written.folder)


# Files


@pytest.mark.parametrize("name", FILES)
def test_damaged_file_is_refused(written, one_line, name):
    path = written.folder / name
    data = path.read_bytes()
    changed = [with_byte_changed(data, place, mask) for place in range(len(data)) for mask in MASKS]
    for wrong in (*changed, *(data[:size] for size in range(len(data))), data + b"\n", data * 2):
        path.write_bytes(wrong)
        with pytest.raises(RunError) as caught:
            written.read(name, 1000)
        message = one_line(caught.value)
        reason = "its SHA-256 is not " if len(wrong) <= len(data) else "it has "
        assert message.startswith(f"{path} is damaged: {reason}")
    path.write_bytes(data)
    assert written.read(name, 1000) == data
    path.unlink()
    with pytest.raises(RunError, match="cannot read"):
        written.read(name, 1000)


def test_file_of_previous_checkpoint_is_refused(tmp_path):
    first = write(tmp_path, 1).folder
    second = write(tmp_path, 2, first)
    for name in FILES:
        shutil.copy(first / name, second.folder / name)
        with pytest.raises(RunError, match="is damaged"):
            second.read(name, 1000)


def test_file_larger_than_the_limit_is_not_read(written, one_line):
    name = FILES[0]
    size = len(files_of(1)[name])
    with pytest.raises(RunError) as caught:
        written.read(name, size - 1)
    path = written.folder / name
    assert one_line(caught.value) == f"{path} is damaged: it has {size} bytes, more than {size - 1}"


def test_run_with_a_changed_byte_does_not_open_from_a_named_checkpoint(trained, one_line):
    folder = trained.checkpoint.folder
    draw = random.Random(0)
    for path in [*folder.iterdir(), *(trained.folder / name for name in RUN_FILES)]:
        data = path.read_bytes()
        for position in {0, len(data) - 1, *(draw.randrange(len(data)) for _ in range(8))}:
            path.write_bytes(with_byte_changed(data, position, 1 << draw.randrange(8)))
            with pytest.raises(RunError) as caught:
                Run.open(folder)
            assert str(trained.folder) in one_line(caught.value)
        path.write_bytes(data)
    assert Run.open(folder).metrics == trained.metrics


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("run.json", b"}\n", b"} \n"),
        ("vocabulary.json", b"]\n", b"] \n"),
        ("run.json", b'"created": "2', b'"created": "3'),
    ],
)
def test_checkpoint_does_not_fit_a_changed_run_file(trained, one_line, name, old, new):
    """The last case is a run that differs only in when it was made."""
    path = trained.folder / name
    before = path.read_bytes()
    path.write_bytes(new.join(before.rsplit(old, 1)))
    assert path.read_bytes() != before
    with pytest.raises(RunError) as caught:
        Run.open(trained.folder)
    assert one_line(caught.value).startswith(f"{path} is damaged: its SHA-256 ")


# Finding and cleaning up


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("checkpoint-000001", True),
        ("checkpoint-1000000", True),
        ("checkpoint-000000", True),
        ("checkpoint-1", False),
        ("checkpoint-00001", False),
        ("checkpoint-000001.bak", False),
        ("xcheckpoint-000001", False),
        ("checkpoint-00000a", False),
        ("Checkpoint-000001", False),
        ("checkpoint--00001", False),
        ("checkpoint-٠٠٠٠٠١", False),
        ("checkpoint-000001\n", False),
    ],
)
def test_names_of_checkpoints(tmp_path, name, found):
    (tmp_path / name).mkdir()
    assert is_checkpoint(tmp_path / name) == found
    assert checkpoint_folders(tmp_path) == ([tmp_path / name] if found else [])


def test_checkpoints_are_sorted_by_number(tmp_path):
    for number in (9, 10, 1_000_000, 2, 999_999):
        (tmp_path / f"checkpoint-{number:06}").mkdir()
    found = [int(path.name.split("-")[1]) for path in checkpoint_folders(tmp_path)]
    assert found == [1_000_000, 999_999, 10, 9, 2]


def test_run_folder_that_cannot_be_read(tmp_path, one_line):
    with pytest.raises(RunError) as caught:
        checkpoint_folders(tmp_path / "missing")
    message = f"cannot read {tmp_path / 'missing'}: No such file or directory"
    assert one_line(caught.value) == message


def test_checkpoints_with_a_manifest_are_complete(tmp_path):
    assert complete_checkpoints(tmp_path) == []
    first = write(tmp_path, 1).folder
    second = write(tmp_path, 2, first).folder
    (tmp_path / "checkpoint-000003").mkdir()
    assert complete_checkpoints(tmp_path) == [second, first]
    (second / MANIFEST).write_bytes(b"damaged")
    assert complete_checkpoints(tmp_path) == [second, first]
    (second / MANIFEST).unlink()
    assert complete_checkpoints(tmp_path) == [first]


def test_only_the_first_checkpoint_may_be_incomplete(tmp_path):
    (tmp_path / "checkpoint-000001").mkdir()
    assert complete_checkpoints(tmp_path) == []
    (tmp_path / "checkpoint-000002").mkdir()  # its manifest must have been lost
    assert complete_checkpoints(tmp_path) == [tmp_path / "checkpoint-000002"]


def test_nothing_is_deleted_if_a_manifest_cannot_be_looked_up(tmp_path, monkeypatch, one_line):
    last = write(tmp_path, 1).folder
    (tmp_path / "checkpoint-000002").mkdir()

    def stat(path, *arguments, original=os.stat, **options):
        if os.path.basename(path) == MANIFEST:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return original(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", stat)
        patch.setattr(os, "lstat", stat)
        with pytest.raises(RunError) as caught:
            clean_up(tmp_path)
    assert "Input/output error" in one_line(caught.value)
    assert names(tmp_path) == [last.name, "checkpoint-000002"]


def test_cleaning_up_deletes_only_incomplete_checkpoints_and_temporary_files(tmp_path, contents):
    first = write(tmp_path, 1).folder
    second = write(tmp_path, 2, first).folder
    (second / "last.safetensors").unlink()  # damaged, but complete
    incomplete = tmp_path / "checkpoint-000003"
    incomplete.mkdir()
    (incomplete / "last.safetensors").write_bytes(b"x")
    (incomplete / ".best.safetensors.12.tmp").write_bytes(b"x")
    (incomplete / "folder").mkdir()
    (tmp_path / ".summary.json.12.tmp").write_bytes(b"x")
    others = ["run.json", "vocabulary.json", "corpus.txt", "summary.json", ".lock", "notes.tmp"]
    for name in others:
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "checkpoint-old").mkdir()
    before = contents(first), contents(second)
    clean_up(tmp_path)
    assert names(tmp_path) == sorted([first.name, second.name, "checkpoint-old", *others])
    assert (contents(first), contents(second)) == before


@pytest.mark.skipif(os.name == "nt", reason="links need permission on Windows")
def test_cleaning_up_does_not_follow_links(tmp_path):
    target, folder = tmp_path / "mine", tmp_path / "run"
    target.mkdir()
    folder.mkdir()
    (target / "last.safetensors").write_bytes(b"x")
    write(folder, 1)
    (folder / "checkpoint-000002").symlink_to(target)
    clean_up(folder)
    assert names(folder) == ["checkpoint-000001"]
    assert names(target) == ["last.safetensors"]


def test_file_with_the_name_of_a_checkpoint_is_ignored(tmp_path):
    last = write(tmp_path, 1).folder
    (tmp_path / "checkpoint-000002").write_bytes(b"x")
    clean_up(tmp_path)
    assert complete_checkpoints(tmp_path) == [last]
    third = write(tmp_path, 3, last)
    assert third.folder.name == "checkpoint-000003"
    assert complete_checkpoints(tmp_path) == [third.folder, last]


def test_saving_replaces_a_damaged_checkpoint(trained):
    newest, before = checkpoint_folders(trained.folder)
    (newest / "last.safetensors").write_bytes(b"")
    run = Run.open(trained.folder)
    last = run.read_weights("last")
    numbers = {name: run.training[name] for name in run.training.keys() - {"source", "settings"}}
    run.save(best=last, last=last, tensors={}, training=numbers)
    third = run.checkpoint.folder
    assert checkpoint_folders(trained.folder) == [third, before]
    assert Run.open(trained.folder).notices == ()
