"""Texts in pieces are the texts as a whole; the ids of large ones are cached, and never wrong."""

from __future__ import annotations

import errno
import mmap
import os
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charlm.corpus import CLEANINGS, Vocabulary, clean, id_cache, text_files, token_ids
from charlm.corpus.text import TextReader
from charlm.corpus.text_files import decode, normalised
from charlm.corpus.token_ids import encode_text

NAMED = "ab é\n  The end\r\nof lines\r" * 40
MIXED = st.lists(
    st.sampled_from(["\r", "\n", "\r\n", "\ufeff", " ", "  ", "aB z", "Zé", "分", "😀", "ends.\n"]),
    max_size=40,
).map("".join)


@pytest.fixture
def small_pieces(monkeypatch):
    """Pieces of a few characters, and files for more than a few bytes."""
    monkeypatch.setattr(text_files, "BLOCK", 7)
    monkeypatch.setattr(text_files, "PIECE", 5)
    monkeypatch.setattr(token_ids, "LARGE", 40)


def encoded(source, cleaning="none", **options):
    reader = TextReader(source, **options.pop("reading", {}))
    return encode_text(reader, cleaning, **options), reader


def cached() -> list[Path]:
    folder = id_cache.cache_folder()
    return sorted(folder.iterdir()) if folder.exists() else []


def as_a_whole(raws: list[bytes], encoding: str | None) -> str:
    """The slow twin of `TextReader.pieces`: every file as a whole."""
    texts = [decode(raw, "a file", encoding).lstrip("\ufeff") for raw in raws]
    texts = [each for each in texts if each]
    ended = [each if each.endswith(("\n", "\r")) else each + "\n" for each in texts[:-1]]
    return normalised("".join([*ended, *texts[-1:]]))


def cleaned_lines(whole: str, cleaning: str) -> str:
    lines = [clean(line, cleaning) for line in whole.removesuffix("\n").split("\n")]
    return "".join(f"{line}\n" for line in lines if line.strip())


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(MIXED, min_size=1, max_size=3),
    st.sampled_from([None, "utf-8-sig", "utf-16", "utf-16-be", "gb18030", "utf-7", "iso2022_jp"]),
)
def test_pieces_are_the_whole(tmp_path, small_pieces, texts, encoding):
    folder = tmp_path / "texts"
    folder.mkdir(exist_ok=True)
    raws = [each.encode(encoding or "utf-8", "ignore") for each in texts]
    for number in range(3):
        (folder / f"{number}.txt").unlink(missing_ok=True)
    for number, raw in enumerate(raws):
        (folder / f"{number}.txt").write_bytes(raw)
    whole = as_a_whole(raws, encoding)
    source = folder / "0.txt" if len(raws) == 1 else folder
    if not whole:
        return
    for cleaning in CLEANINGS:
        for lines in (False, True):
            for _ in range(2):  # the second time from the cache, if it is large
                found, _ = encoded(source, cleaning, lines=lines, reading={"encoding": encoding})
                wanted = cleaned_lines(whole, cleaning) if lines else clean(whole, cleaning)
                assert found.vocabulary == Vocabulary.from_text(wanted)
                assert np.array_equal(found.ids, found.vocabulary.encode(wanted))
                assert found.notices == ()


def test_a_long_line_is_cut_within_a_word(tmp_path, small_pieces):
    file = tmp_path / "a.txt"
    for words in ("the  end- of1 it " * 20, "天 亮" * 50 + "ab"):
        file.write_text(words, "utf-8")
        for cleaning in CLEANINGS:
            found, _ = encoded(file, cleaning)
            assert found.vocabulary.decode(found.ids) == clean(words, cleaning)


@pytest.mark.parametrize(
    ("characters", "dtype"), [(255, "uint8"), (256, "int16"), (32767, "int16"), (32768, "int32")]
)
def test_ids_have_the_smallest_type(tmp_path, monkeypatch, characters, dtype):
    file = tmp_path / "a.txt"
    file.write_text("".join(map(chr, range(0x4E00, 0x4E00 + characters))), "utf-8")
    for large in (2**30, 0):
        monkeypatch.setattr(token_ids, "LARGE", large)
        ids = encoded(file)[0].ids
        assert (ids.dtype.name, ids.max()) == (dtype, characters)


def test_the_second_start_reads_no_text_and_says_the_same(tmp_path, small_pieces, monkeypatch):
    file = tmp_path / "a.txt"
    file.write_bytes(b"\xef\xbb\xbf" + NAMED.encode())
    first, reader = encoded(file)
    assert len(cached()) == 1
    monkeypatch.setattr(TextReader, "pieces", None)
    again, second = encoded(file)
    assert np.array_equal(again.ids, first.ids)
    assert again.vocabulary == first.vocabulary
    assert second.facts == reader.facts
    assert len(second.notices) == 2


def test_a_changed_text_is_never_taken_for_the_old_one(tmp_path, small_pieces):
    """Not even with the same size, time and number of the file."""
    file = tmp_path / "a.txt"
    file.write_text(NAMED)
    before = encoded(file)[0].ids
    about = file.stat()
    with file.open("r+") as stream:
        stream.write("ba")
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
    after = encoded(file)[0]
    assert after.vocabulary.decode(after.ids).startswith("ba")
    assert not np.array_equal(after.ids, before)
    encoded(file, "letters")
    encoded(file, reading={"encoding": "cp1252"})
    assert len(cached()) == 4  # each way to read a text is another text


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "zeros", "tail"])
def test_damage_is_noticed_and_the_file_made_anew(tmp_path, small_pieces, damage):
    file = tmp_path / "a.txt"
    file.write_text(NAMED)
    first = encoded(file)[0]
    (path,) = cached()
    good = path.read_bytes()
    bad = {
        "flipped": bytes([good[0] ^ 1]) + good[1:],
        "cut": good[:-1],
        "empty": b"",
        "zeros": bytes(len(good)),
        "tail": good[:-20] + bytes(4) + good[-16:],
    }[damage]
    path.unlink()  # not in place, because the first ids are mapped from it
    path.write_bytes(bad)
    again = encoded(file)[0]
    assert np.array_equal(again.ids, first.ids)
    assert cached() == [path]
    assert path.read_bytes() == good


@pytest.mark.parametrize("after", [0, 1, 3, 6, 9])
def test_a_full_disk_costs_a_notice(tmp_path, small_pieces, monkeypatch, after):
    file = tmp_path / "a.txt"
    file.write_text(NAMED)
    calls, write = [], os.write

    def full(descriptor, data):
        calls.append(len(data))
        if len(calls) > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data[: max(1, len(data) // 2)])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        found = encoded(file)[0]
    assert found.vocabulary.decode(found.ids) == normalised(NAMED)
    (notice,) = found.notices
    assert "No space left on device" in notice
    assert cached() == []


def test_a_cache_folder_that_cannot_be_made(tmp_path, small_pieces, monkeypatch):
    file = tmp_path / "a.txt"
    file.write_text(NAMED)
    monkeypatch.setattr(id_cache, "cache_folder", lambda: file / "ids")
    found = encoded(file)[0]
    assert len(found.notices) == 1
    assert found.vocabulary.decode(found.ids) == normalised(NAMED)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32"])
def test_ids_of_another_vocabulary(monkeypatch, small_pieces, dtype):
    """In memory, in a file without a name, and in memory if the file cannot be written."""
    table = np.arange(3, -1, -1).astype(dtype)
    ids = (np.arange(1000) % 5).astype("uint8")
    small, large = token_ids.renumbered(ids[:7], table), token_ids.renumbered(ids, table)
    assert small.base is None
    assert isinstance(large.base.obj, mmap.mmap)
    assert cached() == []

    def full(*_):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(id_cache, "write_all", full)
    for found in (large, token_ids.renumbered(ids, table)):
        assert found.dtype == dtype
        assert found.tolist() == [*([3, 2, 1, 0, 0] * 200)]


def test_starts_at_the_same_time_do_not_disturb_each_other(tmp_path, small_pieces):
    file = tmp_path / "a.txt"
    file.write_text(NAMED)
    texts = []

    def start():
        found = encoded(file)[0]
        texts.append(found.vocabulary.decode(found.ids))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert texts == [normalised(NAMED)] * 8
    assert len(cached()) == 1


def test_the_cache_is_bounded(tmp_path, small_pieces, monkeypatch):
    def load(number):
        file = tmp_path / f"{number}.txt"
        file.write_text(NAMED * (number + 1))
        encoded(file)
        return max(cached(), key=lambda path: path.stat().st_mtime_ns)

    def unused(path, seconds):
        used = path.stat().st_mtime - seconds
        os.utime(path, (used, used))

    first = load(0)
    unused(first, 100)
    second = load(1)
    unused(second, 200)
    load(0)  # which counts as a use
    unused(first, 50)
    monkeypatch.setattr(id_cache, "MAX_BYTES", first.stat().st_size * 5)
    third = load(2)
    assert cached() == sorted([first, third])
    abandoned = id_cache.cache_folder() / ".abandoned.tmp"
    abandoned.touch()
    for path in (first, abandoned):
        unused(path, id_cache.MAX_AGE + 100)
    load(3)
    assert first not in cached()
    assert abandoned not in cached()


def test_memory_does_not_depend_on_the_length(tmp_path, monkeypatch):
    monkeypatch.setattr(text_files, "BLOCK", 2**16)
    monkeypatch.setattr(text_files, "PIECE", 2**16)
    monkeypatch.setattr(token_ids, "LARGE", 2**18)
    peaks = []
    for times in (1, 8):
        file = tmp_path / f"{times}.txt"
        file.write_text((NAMED * 1000) * times)
        for _ in range(2):
            tracemalloc.start()
            encoded(file)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[2] < 1.1 * peaks[0]
    assert peaks[3] < 3 * 2**20 < 8 * 1000 * len(NAMED)  # blocks of 1 MiB
