"""Atomic writes."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import nullcontext
from fnmatch import fnmatch
from types import SimpleNamespace

import pytest

from charlm import atomic_files
from charlm.atomic_files import TEMPORARY_FILES, sync_folder, write_atomic

pytestmark = pytest.mark.usefixtures("syncing")

CALLS = ("open", "write", "fsync", "close", "replace")
posix = pytest.mark.skipif(os.name == "nt", reason="folders are synced on POSIX only")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.bin"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def open_files():
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0  # where nothing tells


@pytest.fixture
def trace(monkeypatch):
    """The calls to the disk, in order, with file names."""
    seen, names = [], {}

    def wrap(name):
        original = getattr(os, name)

        def call(first, *rest, **options):
            result = original(first, *rest, **options)
            if name == "open":
                names[result] = os.path.basename(first)
            seen.append((name, names[result if name == "open" else first]))
            return result

        monkeypatch.setattr(os, name, call)

    def replace(old, new, original=os.replace):
        original(old, new)
        seen.append(("replace", os.path.basename(old), os.path.basename(new)))

    for name in ("open", "write", "fsync", "close"):
        wrap(name)
    monkeypatch.setattr(os, "replace", replace)
    return seen


def fail_at(monkeypatch, name, number, error):
    """Let a call fail the ``number``-th time; a descriptor is closed all the same."""
    original, count = getattr(os, name), iter(range(100))

    def call(*arguments, **options):
        due = next(count) == number
        if due and name != "close":
            raise error
        result = original(*arguments, **options)
        if due:
            raise error
        return result

    monkeypatch.setattr(os, name, call)


def test_a_new_file_and_one_in_the_place_of_another(path):
    for data in (b"first", b"", b"\0\xff" * 100_000):
        write_atomic(path, data)
        assert contents(path.parent) == {"a.bin": data}


@posix
def test_the_data_are_synced_then_the_name_is_taken_then_the_folder_synced(path, trace):
    write_atomic(path, b"new")
    temporary = f".a.bin.{os.getpid()}.tmp"
    assert trace == [
        ("open", temporary), ("write", temporary), ("fsync", temporary), ("close", temporary),
        ("replace", temporary, "a.bin"),
        ("open", path.parent.name), ("fsync", path.parent.name), ("close", path.parent.name),
    ]  # fmt: skip


def test_until_it_is_synced_the_old_file_is_there(path, monkeypatch):
    path.write_bytes(b"old")
    seen = []
    monkeypatch.setattr(os, "fsync", lambda number: seen.append(path.read_bytes()))
    write_atomic(path, b"new")
    assert seen[0] == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("most", [1, 7, 1000])
def test_partial_writes(path, monkeypatch, most):
    data = bytes(range(256)) * 10
    monkeypatch.setattr(
        os, "write", lambda number, rest, write=os.write: write(number, rest[:most])
    )
    write_atomic(path, data)
    assert contents(path.parent) == {"a.bin": data}


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("failing", CALLS)
@pytest.mark.parametrize("old", [b"the old one", None])
def test_a_failure_keeps_the_old_file(path, monkeypatch, failing, old, error):
    if old is not None:
        path.write_bytes(old)
    before = open_files()
    with monkeypatch.context() as patch:
        fail_at(patch, failing, 0, error)
        with pytest.raises(type(error)) as caught:
            write_atomic(path, b"the new one")
    assert caught.value is error
    assert contents(path.parent) == ({} if old is None else {"a.bin": old})
    assert open_files() == before
    write_atomic(path, b"the new one")
    assert contents(path.parent) == {"a.bin": b"the new one"}


@posix
@pytest.mark.parametrize("failing", ["open", "fsync", "close"])
def test_a_folder_that_cannot_be_synced_has_the_whole_new_file(path, monkeypatch, failing):
    path.write_bytes(b"the old one")
    before = open_files()
    with monkeypatch.context() as patch:
        fail_at(patch, failing, 1, OSError(errno.EIO, os.strerror(errno.EIO)))
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            write_atomic(path, b"the new one")
    assert contents(path.parent) == {"a.bin": b"the new one"}
    assert open_files() == before


def test_a_disk_that_fills_up_within_the_data(path, monkeypatch):
    path.write_bytes(b"the old one")

    def write(number, data, write=os.write):
        if len(data) < 1000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(number, data[:300])

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        write_atomic(path, bytes(2000))
    assert contents(path.parent) == {"a.bin": b"the old one"}


@pytest.mark.parametrize("name", ["missing/a.bin", "file/a.bin", "a" * 300, "folder"])
def test_paths_that_cannot_be_written_to(tmp_path, name):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=r"\w"):
        write_atomic(tmp_path / name, b"new")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "folder"]


def test_a_killed_write_leaves_a_file_of_a_known_name(path, monkeypatch):
    class Killed(BaseException):
        pass

    fail_at(monkeypatch, "fsync", 0, Killed())
    monkeypatch.setattr(os, "unlink", lambda name: None)  # nothing is tidied up any more
    with pytest.raises(Killed):
        write_atomic(path, b"new")
    (left,) = path.parent.iterdir()
    assert left != path
    assert fnmatch(left.name, TEMPORARY_FILES)
    assert list(path.parent.glob(TEMPORARY_FILES)) == [left]
    assert not fnmatch(path.name, TEMPORARY_FILES)
    left.write_bytes(b"longer than what is written next")
    write_atomic(path, b"new")  # of the same process number
    assert contents(path.parent) == {"a.bin": b"new"}


@pytest.mark.skipif(os.name == "nt", reason="permissions as POSIX has them")
def test_permissions_follow_the_umask(path):
    before = os.umask(0o027)
    try:
        write_atomic(path, b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@posix
def test_a_folder_is_synced(tmp_path, trace):
    sync_folder(tmp_path)
    assert trace == [(name, tmp_path.name) for name in ("open", "fsync", "close")]


@posix
@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.EIO, errno.ENOSPC])
def test_a_folder_that_cannot_be_synced(tmp_path, monkeypatch, code):
    """An error, unless the file system does not support it."""
    supported = code in (errno.EIO, errno.ENOSPC)
    before = open_files()
    fail_at(monkeypatch, "fsync", 0, OSError(code, os.strerror(code)))
    with pytest.raises(OSError, match=os.strerror(code)) if supported else nullcontext():
        sync_folder(tmp_path)
    assert open_files() == before


@posix
def test_a_folder_that_is_not_there_cannot_be_synced(tmp_path):
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "missing")


def test_windows_opens_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic_files, "os", SimpleNamespace(name="nt"))
    sync_folder(tmp_path / "missing")
