"""Checkpoints: complete or none, and what a manifest vouches for or refused."""

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


def files_of(number):
    """Contents that tell one checkpoint from another."""
    return {name: f"{name} of {number}".encode() * number for name in FILES}


def write(folder, number, last=None):
    return write_checkpoint(folder, files_of(number), ABOUT, last)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def written(tmp_path):
    """A checkpoint, and the path of its manifest."""
    checkpoint = write(tmp_path, 1)
    return checkpoint, checkpoint.folder / MANIFEST


@pytest.fixture
def refused(written, one_line):
    """Gives the message with which the bytes of a manifest are refused."""
    _, path = written

    def check(data):
        with pytest.raises(RunError) as caught:
            decode_manifest(data, path)
        assert str(path) in caught.value.message
        assert len(caught.value.message) < len(str(path)) + 300
        return one_line(caught.value)

    return check


# Writing


def test_a_checkpoint_is_its_files_and_a_manifest(tmp_path):
    checkpoint = write(tmp_path, 1)
    assert checkpoint.folder == tmp_path / "checkpoint-000001"
    assert names(tmp_path) == ["checkpoint-000001"]
    assert names(checkpoint.folder) == sorted([*FILES, MANIFEST])
    for name, data in files_of(1).items():
        assert (checkpoint.folder / name).read_bytes() == data
        assert checkpoint.read(name, len(data)) == data
    assert Checkpoint.open(checkpoint.folder) == checkpoint


def test_the_manifest_has_size_and_hash_of_each_file_and_of_the_runs_own(written):
    checkpoint, path = written
    expected = {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in {**files_of(1), **{name: name.encode() for name in RUN_FILES}}.items()
    }
    assert json.loads(path.read_text()) == {"format": 3, "files": expected}
    assert checkpoint.records == {
        name: (row["bytes"], row["sha256"]) for name, row in expected.items()
    }


def test_the_manifest_is_written_last(tmp_path, monkeypatch):
    order = []

    def replace(old, new, original=os.replace):
        order.append(os.path.basename(new))
        original(old, new)

    monkeypatch.setattr(os, "replace", replace)
    write(tmp_path, 1)
    assert order == [*FILES, MANIFEST]


@pytest.mark.skipif(os.name == "nt", reason="folders are synced on POSIX only")
def test_folders_are_synced_when_made_and_manifests_when_deleted(tmp_path, monkeypatch):
    first = write(tmp_path, 1)
    second = write(tmp_path, 2, first.folder)
    order = []
    opened = {}

    def follow(name, shown):
        original = getattr(os, name)

        def call(first, *rest, **options):
            result = original(first, *rest, **options)
            if name == "open":
                opened[result] = os.path.basename(first)
            elif seen := shown(first):
                order.append((name, seen))
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


def test_two_checkpoints_are_kept_the_new_one_and_the_last(tmp_path):
    last = None
    for number in range(1, 13):
        checkpoint = write(tmp_path, number, last)
        assert checkpoint.folder.name == f"checkpoint-{number:06}"
        assert checkpoint_folders(tmp_path) == [checkpoint.folder, last][: 1 + (number > 1)]
        last = checkpoint.folder
    assert {**contents(last), MANIFEST: b""} == {**files_of(12), MANIFEST: b""}


def test_going_on_from_the_one_before_deletes_what_came_after_it(tmp_path):
    first = write(tmp_path, 1).folder
    write(tmp_path, 2, first)
    third = write(tmp_path, 3, first)
    assert third.folder.name == "checkpoint-000003"
    assert checkpoint_folders(tmp_path) == [third.folder, first]


def test_without_a_last_one_all_others_are_deleted(tmp_path):
    first = write(tmp_path, 1).folder
    write(tmp_path, 2, first)
    third = write(tmp_path, 3)
    assert names(tmp_path) == [third.folder.name]


def test_numbers_go_on_after_a_half_written_one_and_beyond_six_digits(tmp_path):
    (tmp_path / "checkpoint-000007").mkdir()
    assert write(tmp_path, 1).folder.name == "checkpoint-000008"
    (tmp_path / "checkpoint-999999").mkdir()
    last = write(tmp_path, 1).folder
    assert last.name == "checkpoint-1000000"
    assert write(tmp_path, 2, last).folder.name == "checkpoint-1000001"
    assert checkpoint_folders(tmp_path) == [tmp_path / "checkpoint-1000001", last]


@pytest.mark.parametrize("failing", range(len(FILES) + 1))
def test_a_full_disk_leaves_nothing_of_a_new_checkpoint(tmp_path, monkeypatch, one_line, failing):
    last = write(tmp_path, 1).folder
    before = contents(last)
    renamed = []

    def replace(old, new, original=os.replace):
        if len(renamed) == failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        renamed.append(new)
        original(old, new)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        with pytest.raises(RunError) as caught:
            write(tmp_path, 2, last)
    path = tmp_path / "checkpoint-000002" / [*FILES, MANIFEST][failing]
    assert one_line(caught.value) == f"cannot write {path}: No space left on device"
    assert names(tmp_path) == [last.name]
    assert contents(last) == before
    assert write(tmp_path, 2, last).folder.name == "checkpoint-000002"


def test_a_folder_that_cannot_be_made(tmp_path, one_line, monkeypatch):
    def mkdir(path, mode=0o777):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))

    monkeypatch.setattr(os, "mkdir", mkdir)
    with pytest.raises(RunError) as caught:
        write(tmp_path, 1)
    folder = tmp_path / "checkpoint-000001"
    assert one_line(caught.value) == f"cannot make the folder {folder}: Permission denied"


# Manifests


def test_a_manifest_with_any_byte_changed_is_refused(written, refused):
    _, path = written
    data = path.read_bytes()
    assert decode_manifest(data, path)
    for position in range(len(data)):
        for mask in (0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xFF):
            changed = bytearray(data)
            changed[position] ^= mask
            # A digit may have become another: then the file is refused that it is about.
            try:
                records = decode_manifest(bytes(changed), path)
            except RunError:
                refused(bytes(changed))
            else:
                differing = {name for name in records if records[name] != written[0].records[name]}
                assert len(differing) == 1, position


def test_a_manifest_cut_off_or_with_more_behind_it_is_refused(written, refused):
    _, path = written
    data = path.read_bytes()
    for size in range(len(data)):
        refused(data[:size])
    for more in (b"\n", b" ", b"\0", b"{}", data):
        refused(data + more)


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
        lambda data: data.replace(b'"format": 3', b'"format": 3, "format": 3'),
        lambda data: data.replace(b'"files"', b'"more": 1, "files"'),
        lambda data: data.decode().encode("utf-16"),
    ],
)
def test_a_manifest_that_says_the_same_in_other_bytes_is_refused(written, refused, change):
    _, path = written
    data = path.read_bytes()
    assert change(data) != data
    refused(change(data))


@pytest.mark.parametrize("name", [*FILES, *RUN_FILES])
def test_a_manifest_without_one_of_the_files_is_refused(written, refused, name):
    _, path = written
    content = json.loads(path.read_text())
    del content["files"][name]
    refused((json.dumps(content, indent=2) + "\n").encode())


@pytest.mark.parametrize("number", [1, 2, 0, -2, 10**30])
def test_a_manifest_of_another_format_says_so(written, refused, number):
    _, path = written
    data = path.read_bytes().replace(b'"format": 3', f'"format": {number}'.encode())
    message = refused(data)
    if abs(number) < 2**63:
        assert message == f"{path} has the format {number}; this version reads 3"


@pytest.mark.parametrize(
    "data", [b"", b"null", b"[]", b"{}", b"5", b'{"format": 3}', b'{"format": 3, "files": []}',
             b'{"format": 3, "files": {}}', b'{"format": "2", "files": {"run.json": 5}}']
)  # fmt: skip
def test_what_is_no_manifest(refused, data):
    refused(data)


def test_a_manifest_that_is_not_there_or_far_too_long(written, one_line):
    checkpoint, path = written
    path.unlink()
    with pytest.raises(RunError) as caught:
        Checkpoint.open(checkpoint.folder)
    assert one_line(caught.value) == f"cannot read {path}: No such file or directory"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(RunError, match="is damaged: it has"):
        Checkpoint.open(checkpoint.folder)


# Files


@pytest.mark.parametrize("name", FILES)
def test_a_file_with_any_byte_changed_is_refused(written, one_line, name):
    checkpoint, _ = written
    path = checkpoint.folder / name
    data = path.read_bytes()
    for position in range(len(data)):
        for mask in (0x01, 0x20, 0xFF):
            changed = bytearray(data)
            changed[position] ^= mask
            path.write_bytes(changed)
            with pytest.raises(RunError) as caught:
                checkpoint.read(name, 1000)
            assert one_line(caught.value).startswith(f"{path} is damaged: its SHA-256 is not ")
    path.write_bytes(data)
    assert checkpoint.read(name, 1000) == data


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_off_or_with_more_behind_it_is_refused(written, name):
    checkpoint, _ = written
    path = checkpoint.folder / name
    data = path.read_bytes()
    for changed in (*(data[:size] for size in range(len(data))), data + b"\n", data + data):
        path.write_bytes(changed)
        with pytest.raises(RunError, match="is damaged"):
            checkpoint.read(name, 1000)
    path.unlink()
    with pytest.raises(RunError, match="cannot read"):
        checkpoint.read(name, 1000)


def test_a_file_of_the_checkpoint_before_is_refused(tmp_path):
    first = write(tmp_path, 1).folder
    second = write(tmp_path, 2, first)
    for name in FILES:
        shutil.copy(first / name, second.folder / name)
        with pytest.raises(RunError, match="is damaged"):
            second.read(name, 1000)


def test_a_file_larger_than_what_is_asked_for_is_not_read(written, one_line):
    checkpoint, _ = written
    name = FILES[0]
    size = len(files_of(1)[name])
    with pytest.raises(RunError) as caught:
        checkpoint.read(name, size - 1)
    path = checkpoint.folder / name
    assert one_line(caught.value) == f"{path} is damaged: it has {size} bytes, more than {size - 1}"


def test_a_named_checkpoint_with_a_byte_changed_anywhere_is_refused(trained, one_line):
    folder = trained.checkpoint.folder
    draw = random.Random(0)
    for path in [*folder.iterdir(), *(trained.folder / name for name in RUN_FILES)]:
        data = path.read_bytes()
        for position in {0, len(data) - 1, *(draw.randrange(len(data)) for _ in range(8))}:
            changed = bytearray(data)
            changed[position] ^= 1 << draw.randrange(8)
            path.write_bytes(changed)
            with pytest.raises(RunError) as caught:
                Run.open(folder)
            assert str(trained.folder) in one_line(caught.value)
        path.write_bytes(data)
    assert Run.open(folder).metrics == trained.metrics


# Finding, and cleaning up


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("checkpoint-000001", True), ("checkpoint-1000000", True), ("checkpoint-000000", True),
        ("checkpoint-1", False), ("checkpoint-00001", False), ("checkpoint-000001.bak", False),
        ("xcheckpoint-000001", False), ("checkpoint-00000a", False), ("Checkpoint-000001", False),
        ("checkpoint--00001", False), ("checkpoint-٠٠٠٠٠١", False), ("checkpoint-000001\n", False),
    ],
)  # fmt: skip
def test_what_is_a_checkpoint_by_its_name(tmp_path, name, found):
    (tmp_path / name).mkdir()
    assert is_checkpoint(tmp_path / name) == found
    assert checkpoint_folders(tmp_path) == ([tmp_path / name] if found else [])


def test_the_newest_is_the_one_with_the_highest_number(tmp_path):
    for number in (9, 10, 1_000_000, 2, 999_999):
        (tmp_path / f"checkpoint-{number:06}").mkdir()
    found = [int(path.name.split("-")[1]) for path in checkpoint_folders(tmp_path)]
    assert found == [1_000_000, 999_999, 10, 9, 2]


def test_a_folder_that_cannot_be_read(tmp_path, one_line):
    with pytest.raises(RunError) as caught:
        checkpoint_folders(tmp_path / "missing")
    message = f"cannot read {tmp_path / 'missing'}: No such file or directory"
    assert one_line(caught.value) == message


def test_complete_are_those_with_a_manifest(tmp_path):
    assert complete_checkpoints(tmp_path) == []
    first = write(tmp_path, 1).folder
    second = write(tmp_path, 2, first).folder
    (tmp_path / "checkpoint-000003").mkdir()
    assert complete_checkpoints(tmp_path) == [second, first]
    (second / MANIFEST).write_bytes(b"damaged")
    assert complete_checkpoints(tmp_path) == [second, first]
    (second / MANIFEST).unlink()
    assert complete_checkpoints(tmp_path) == [first]


def test_the_first_may_be_incomplete_later_ones_must_have_lost_their_manifests(tmp_path):
    (tmp_path / "checkpoint-000001").mkdir()
    assert complete_checkpoints(tmp_path) == []
    (tmp_path / "checkpoint-000002").mkdir()
    assert complete_checkpoints(tmp_path) == [tmp_path / "checkpoint-000002"]


def test_where_it_cannot_be_told_whether_one_is_complete_nothing_is_deleted(
    tmp_path, monkeypatch, one_line
):
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


def test_cleaning_up_deletes_what_is_half_written_and_nothing_else(tmp_path):
    first = write(tmp_path, 1).folder
    second = write(tmp_path, 2, first).folder
    (second / "last.safetensors").unlink()  # damaged, and not ours to delete
    half = tmp_path / "checkpoint-000003"
    half.mkdir()
    (half / "last.safetensors").write_bytes(b"x")
    (half / ".best.safetensors.12.tmp").write_bytes(b"x")
    (half / "folder").mkdir()
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
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "last.safetensors").write_bytes(b"x")
    folder = tmp_path / "run"
    folder.mkdir()
    write(folder, 1)
    (folder / "checkpoint-000002").symlink_to(mine)
    clean_up(folder)
    assert names(folder) == ["checkpoint-000001"]
    assert names(mine) == ["last.safetensors"]


def test_a_file_in_the_place_of_a_checkpoint_disturbs_nothing(tmp_path):
    last = write(tmp_path, 1).folder
    (tmp_path / "checkpoint-000002").write_bytes(b"x")
    clean_up(tmp_path)
    assert complete_checkpoints(tmp_path) == [last]
    third = write(tmp_path, 3, last)
    assert third.folder.name == "checkpoint-000003"
    assert complete_checkpoints(tmp_path) == [third.folder, last]


# Going back


def test_a_run_goes_back_to_the_checkpoint_before_where_the_newest_is_damaged(trained, one_line):
    newest, before = checkpoint_folders(trained.folder)
    assert trained.checkpoint.folder == newest
    earlier = Run.open(before)
    for name in (*FILES, MANIFEST):
        data = (newest / name).read_bytes()
        (newest / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        found = Run.open(trained.folder)
        assert found.checkpoint == earlier.checkpoint
        assert (found.training, found.metrics) == (earlier.training, earlier.metrics)
        (notice,) = found.notices
        assert notice.isprintable()
        assert str(newest / name) in notice
        assert notice.endswith(f"; going back to {before.name}")
        with pytest.raises(RunError) as caught:
            Run.open(newest)
        assert str(newest / name) in one_line(caught.value)
        (newest / name).write_bytes(data)
    assert Run.open(trained.folder).notices == ()


def test_a_lost_manifest_goes_back_too_but_without_a_word(trained):
    """As where it was never written: a training killed within its saving."""
    newest, before = checkpoint_folders(trained.folder)
    (newest / MANIFEST).unlink()
    found = Run.open(trained.folder)
    assert found.checkpoint.folder == before
    assert found.notices == ()


def test_where_both_are_damaged_it_is_an_error(trained, one_line):
    for folder in checkpoint_folders(trained.folder):
        (folder / "training.json").write_bytes(b"{}")
    with pytest.raises(RunError) as caught:
        Run.open(trained.folder)
    assert "training.json is damaged" in one_line(caught.value)
    for folder in checkpoint_folders(trained.folder):
        (folder / MANIFEST).unlink()
    with pytest.raises(RunError, match=MANIFEST):
        Run.open(trained.folder)


def test_a_changed_run_file_fits_no_checkpoint(trained, one_line):
    for name in RUN_FILES:
        path = trained.folder / name
        data = path.read_bytes()
        path.write_bytes(data.rstrip(b"\n") + b" \n")  # says the same
        with pytest.raises(RunError) as caught:
            Run.open(trained.folder)
        assert one_line(caught.value).startswith(f"{path} is damaged: ")
        path.write_bytes(data)
    assert Run.open(trained.folder) == trained


def test_a_checkpoint_of_another_run_is_refused(trained, tmp_path, one_line):
    """Of one that was made in another second, and is the same but for that."""
    other = tmp_path / "other"
    shutil.copytree(trained.folder, other)
    path = other / "run.json"
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"created": "2', b'"created": "3', 1))
    assert path.read_bytes() != content
    with pytest.raises(RunError) as caught:
        Run.open(other)
    assert one_line(caught.value).startswith(f"{path} is damaged: its SHA-256 ")


def test_saving_after_going_back_takes_the_place_of_the_damaged_one(trained):
    newest, before = checkpoint_folders(trained.folder)
    (newest / "last.safetensors").write_bytes(b"")
    run = Run.open(trained.folder)
    last = run.read_weights("last")
    numbers = {name: run.training[name] for name in run.training.keys() - {"source", "settings"}}
    run.save(best=last, last=last, tensors={}, training=numbers)
    third = run.checkpoint.folder
    assert checkpoint_folders(trained.folder) == [third, before]
    assert Run.open(trained.folder).notices == ()
