"""Bad and hostile labelled texts: one clear error each, in bounded time, and no file written."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import stat
import tarfile
import time
from collections import Counter
from pathlib import Path

import pytest

from charlm.corpus import archives
from charlm.errors import CorpusError, UsageError
from charlm.tasks import data_table, tables
from charlm.tasks.classification import labelled_files
from charlm.tasks.classification.labelled_texts import load_labelled

GOOD = [("train/neg/a.txt", b"bad"), ("train/pos/a.txt", b"good"), ("test/pos/a.txt", b"fine")]


def refusal(source: Path | str, **options: object) -> CorpusError:
    """The error: one line, soon, and without a new file."""
    around = Path(source).parent
    before = sorted(around.rglob("*"))
    started = time.process_time()
    with pytest.raises(CorpusError) as caught:
        load_labelled(str(source), **options)
    assert time.process_time() - started < 20
    assert sorted(around.rglob("*")) == before
    error = caught.value
    assert error.hint
    assert "\n" not in error.message + error.hint
    assert len(error.message) < 400 + len(str(source))
    assert len(error.hint) < 2000
    return error


def texts(found) -> list[str]:
    return [text for split in found.splits.values() for text, _ in split]


# Tables


@pytest.mark.parametrize(
    ("name", "content", "message", "hint"),
    [
        ("a.csv", "", "is empty", "labelled texts"),
        ("a.csv", "\n\n", "is empty", "labelled texts"),
        ("a.csv", "text,label\n", "no text in", "two labels"),
        ("a.csv", "text,label\na,x\n,y\n", "only one label in the train split .*: 'x'", "two"),
        ("a.csv", "txt,label\na,x\n", "no column of texts", "did you mean txt"),
        ("a.csv", "text,lable\na,x\n", "no column of labels", "did you mean lable"),
        ("a.csv", "5,good film\n1,bad film\n", "no column of texts", "known: 5, good film"),
        ("a.csv", "text,text,label\na,b,x\n", "2 columns of .* are called 'text'", "rename"),
        ("a.csv", "text,label\na,x\nb,c,y\n", "line 3 has 3 fields, .* has 2", "quote"),
        ("a.csv", "text,label\na,x\nb\n", "line 3 has 1 fields, .* has 2", "quote"),
        ("a.csv", 'text,label\n"a\nb",x\n"c"d,y\n', "line 4: not CSV: ',' expected", "quote"),
        ("a.csv", 'text,label\na,x\n"b,y\n', "line 3: not CSV: unexpected end", "quote"),
        ("a.csv", 'text,label\n"' + "b" * 131_073 + '",x\n', "field larger than", "JSON lines"),
        ("a.csv", "text,label\na,x\nb,\n", "line 3: the label is empty", "leave it out"),
        ("a.csv", "text,label\na,x\nb,y\0\n", "NUL byte at byte offset 18", "to remove them: tr"),
        ("a.csv", "text,label\na,x\nb,y\x1b[2J\n", r"line 3: 'y\\x1b\[2J' is not a", "short"),
        ("a.csv", f"text,label\na,x\nb,{'y' * 101}\n", "longer than 100", "column"),
        ("a.csv", "text,label,split\na,x,tran\n", "line 2: 'tran' is not a split", "known: train"),
        ("a.csv", "text,label,split\na,x,test\nb,y,dev\n", "only test and valid", "train split"),
        ("a.tsv", 'text\tlabel\n"a\tx\nb"\n', "line 3 has 1 fields", "quote"),
        ("a.jsonl", "", "is empty", "labelled texts"),
        ("a.jsonl", '{"text": "a", "label": 1}\n{"text"\n', "line 2: not JSON: .* column 8", "obj"),
        ("a.jsonl", '{"text": "a", "label": NaN}', "line 1: not JSON: invalid number", "object"),
        ("a.jsonl", f'{{"text": "a", "label": {"9" * 5000}}}', "not JSON: invalid number", "obj"),
        ("a.jsonl", "[" * 100_000, "line 1: nested too deeply", "object"),
        ("a.jsonl", '["a", 1]', "line 1: 'a' is not an object", "object"),
        ("a.jsonl", '{"texts": "a", "label": 1}', "no column of texts", "did you mean texts"),
        ("a.jsonl", '{"text": "a", "label": 1}\n{"text": "b"}', "line 2: no key 'label'", "text"),
        ("a.jsonl", '{"text": ["a"], "label": 1}', r"line 1: 'text' is \['a'\], not", "string"),
        ("a.jsonl", '{"text": "a", "label": null}', "line 1: None is not a", "number"),
        ("a.jsonl", '{"text": "a", "label": {"b": 1}}', "is not a", "number"),
        ("a.jsonl", '{"text": "a", "label": 1, "split": 2}', "line 1: 2 is not a split", "known"),
        ("a.jsonl", '{"text": "a\\ud800", "label": 1}', r"line 1 has U\+D800", "repair"),
        ("a.jsonl", '{"text": "a", "label": "\\ud800"}', "is not a", "short"),
        ("a.jsonl", '{"text": "a", "label": 1}\0', "NUL byte", "to remove them: tr"),
    ],
)  # fmt: skip
def test_bad_tables(tmp_path, name, content, message, hint):
    path = tmp_path / name
    path.write_bytes(content.encode())
    error = refusal(path)
    with pytest.raises(CorpusError, match=message):
        raise error
    assert hint in str(error.hint)
    assert str(path) in error.message


def test_too_many_labels(tmp_path):
    path = tmp_path / "a.csv"
    rows = "".join(f"text {number},{number / 1000}\n" for number in range(1001))
    path.write_text("text,stars\n" + rows)
    assert "line 1,002: more than 1,000 distinct labels, such as '1.0'" in refusal(path).message
    path.write_text("text,stars\n" + rows.rpartition("text")[0])
    assert len(load_labelled(str(path)).labels) == 1000


def test_columns_that_are_not_there(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,label,grade\na,x,1\nb,y,2\n")
    error = refusal(path, label_column="grad")
    assert error.message.startswith(f"no column 'grad' in {path}; its first row was taken for a")
    assert "did you mean grade?; or give --header no if" in error.hint
    assert "cannot be both" in refusal(path, label_column="text").message
    (tmp_path / "b").mkdir()
    with pytest.raises(UsageError, match="is not a table, so it has no columns"):
        load_labelled(str(tmp_path / "b"), text_column="text")


def test_a_huge_header(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(",".join(f"{number}\x1b" + "x" * 1000 for number in range(10_000)) + "\n")
    assert "no column of texts" in refusal(path).message


@pytest.mark.parametrize(
    ("encoding", "hint"), [("utf-16", "--encoding utf-16"), ("cp1252", "--encoding")]
)
def test_tables_in_other_encodings(tmp_path, encoding, hint):
    path = tmp_path / "a.csv"
    path.write_bytes(("text,label\n" + "déjà vu à côté, été\n" * 20).encode(encoding))
    error = refusal(path)
    assert "is not UTF-8" in error.message
    assert hint in error.hint
    with pytest.raises(UsageError, match="unknown encoding 'utf-99'"):
        load_labelled(str(path), encoding="utf-99")


def test_tables_that_are_too_large(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    line = json.dumps({"text": "good", "label": "x"})
    path.write_text(f"{line}\n{line}\n")
    monkeypatch.setattr(data_table, "_MAX_LINES", 1)
    assert "has more than 1 lines" in refusal(path).message
    monkeypatch.setattr(data_table, "MAX_FILE_BYTES", 20)
    assert "line 1 is longer than 20 characters" in refusal(path).message
    monkeypatch.setattr(tables, "MAX_BYTES", 40)
    assert "is larger than" in refusal(path).message


def test_packed_tables_that_are_damaged_or_bombs(tmp_path):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"text,label\n" + b"\n" * 10_000_000))
    assert "unpacks to more than" in refusal(path).message
    path.write_bytes(gzip.compress(b"text,label\na,x\nb,y\n")[:-9])
    assert "cannot be unpacked" in refusal(path).message


@pytest.mark.slow
def test_a_table_of_ten_million_lines(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"text,label\n" + b"\n" * 10_000_000)
    assert "has more than 10,000,000 lines" in refusal(path).message


# Folders and other sources


def test_sources_that_are_not_labelled_texts(tmp_path):
    assert "called 'imbd'" in refusal("imbd").message
    assert "did you mean imdb?" in str(refusal("imbd").hint)
    assert "called ''" in refusal("").message
    assert "called '-'" in refusal("-").message
    assert "no such file or folder" in refusal(tmp_path / "none").message
    assert "cannot read" in refusal(f"{tmp_path}/a\0b").message
    for name in ("a.txt", "a.zip", "a"):
        (tmp_path / name).write_text("good\n")
        assert "does not have a known format of labelled texts" in refusal(tmp_path / name).message


def put(root: Path, name: str, data: bytes = b"good") -> Path:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(data)
    return root


@pytest.mark.parametrize(
    "name", ["a.txt", "train/a.txt", "neg/a.md", "a/b/c/d.txt", "a/train/b/c/d.txt", "x/.neg/a.txt"]
)
def test_folders_of_another_layout(tmp_path, name):
    error = refusal(put(tmp_path / "data", name))
    assert error.message == f"no labelled text in {tmp_path / 'data'}"
    assert error.hint.startswith("expected: train/LABEL/*.txt and test/LABEL/*.txt, or LABEL/*")


def test_folders_with_too_little(tmp_path):
    one = put(put(tmp_path / "one", "train/pos/a.txt"), "test/neg/a.txt")
    assert "only one label in the train split" in refusal(one).message
    assert "only one label" in refusal(put(tmp_path / "b", "pos/a.txt")).message
    assert "it has only test" in refusal(put(tmp_path / "c", "test/pos/a.txt")).message
    empty = put(put(tmp_path / "d", "pos/a.txt", b""), "neg/a.txt", b"\xef\xbb\xbf")
    assert "no text in" in refusal(empty).message


def test_texts_of_a_folder_that_are_not_text(tmp_path):
    root = put(put(tmp_path / "data", "neg/a.txt"), "pos/a.txt", b"\xff\xff")
    error = refusal(root)
    assert f"'pos/a.txt' in {root} is not UTF-8: byte 0xff" in error.message
    put(root, "pos/a.txt", b"a\0b")
    assert "has a NUL byte" in refusal(root).message


def test_folders_that_are_too_large(tmp_path, monkeypatch):
    root = put(put(tmp_path / "data", "neg/a.txt"), "pos/a.txt")
    monkeypatch.setattr(labelled_files, "MAX_BYTES", 7)
    assert "of texts" in refusal(root).message
    monkeypatch.setattr(labelled_files, "MAX_FILE_BYTES", 3)
    assert "too large for one text" in refusal(root).message
    monkeypatch.setattr(labelled_files, "MAX_FILES", 1)
    assert "holds more than 1 files" in refusal(root).message


@pytest.mark.skipif(os.name == "nt", reason="needs named pipes and links")
def test_pipes_and_circles_in_a_folder_are_skipped(tmp_path):
    root = tmp_path / "data"
    for name, data in GOOD:
        put(root, name, data)
    os.mkfifo(root / "train" / "pos" / "pipe.txt")
    (root / "train" / "circle").symlink_to(root, target_is_directory=True)
    (root / "train" / "pos" / "gone.txt").symlink_to("nowhere")
    found = load_labelled(str(root))
    assert sorted(texts(found)) == ["bad", "fine", "good"]
    assert found.notices[0] == f"read 3 files of {root}, skipped 2"
    os.mkfifo(tmp_path / "a.csv")
    assert "does not have a known format of labelled texts" in refusal(tmp_path / "a.csv").message


@pytest.mark.skipif(os.name == "nt", reason="names are bytes")
def test_unprintable_labels(tmp_path):
    for name in (b"line\nend", b"\xff\xfe", b"\x1b[2J"):
        root = tmp_path / name.hex()
        put(root, "pos/a.txt")
        put(root, f"{os.fsdecode(name)}/a.txt")
        assert "is not a" in refusal(root).message


# Archives


def member(name: str, data: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def pack(path: Path, *odd: tuple[tarfile.TarInfo, bytes]) -> Path:
    """An archive of the good texts, followed by the odd members."""
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for info, data in (*[member(*text) for text in GOOD], *odd):
            tar.addfile(info, io.BytesIO(data))
    return path


def test_links_devices_and_outside_paths_are_skipped(tmp_path):
    secret = put(tmp_path, "secret.txt", b"secret") / "secret.txt"
    (tmp_path / "in").mkdir()
    odd = [
        member(str(secret), b"absolute"),
        member("train/pos/../../../../secret.txt", b"above"),
        member("../train/pos/b.txt", b"above"),
        member("train/pos/link.txt", type=tarfile.SYMTYPE, linkname=str(secret)),
        member("train/pos/hard.txt", type=tarfile.LNKTYPE, linkname=str(secret)),
        member("train/pos/device.txt", type=tarfile.CHRTYPE, devmajor=1, devminor=5),
        member("train/pos/block.txt", type=tarfile.BLKTYPE),
        member("train/pos/pipe.txt", type=tarfile.FIFOTYPE),
        member("train/pos/odd.txt", b"of a type that nobody knows", type=b"Q"),
        member("train/pos/", type=tarfile.DIRTYPE),
        member("train/pos/z.txt", b"the last"),
    ]
    path = pack(tmp_path / "in" / "a.tar.gz", *odd)
    before = sorted(tmp_path.rglob("*"))
    found = load_labelled(str(path))
    assert sorted(texts(found)) == ["bad", "fine", "good", "the last"]
    assert found.notices[0] == f"read 4 files of {path}, skipped 9"
    assert sorted(tmp_path.rglob("*")) == before
    assert secret.read_bytes() == b"secret"
    assert stat.S_ISREG(path.stat().st_mode)


def test_sparse_files_are_refused(tmp_path):
    path = pack(tmp_path / "a.tar", member("train/pos/b.txt", b"x", type=tarfile.GNUTYPE_SPARSE))
    assert "it holds a sparse file" in refusal(path).message
    path = tmp_path / "b.tar"
    info = member("train/pos/b.txt", b"1\n0\n1\n")[0]
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.realsize": str(2**60)}
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(info, io.BytesIO(b"1\n0\n1\n"))
    assert "it holds a sparse file" in refusal(path).message


def header(name: bytes, kind: bytes, size: int) -> bytes:
    """A header with a correct checksum."""
    block = bytearray(tarfile.TarInfo("x").tobuf(tarfile.USTAR_FORMAT))
    block[0:100] = name.ljust(100, b"\0")
    mark = 0x80 if size >= 0 else 0xFF
    block[124:136] = bytes([mark]) + (size % 256**11).to_bytes(11, "big")
    block[156:157] = kind
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def record(key: bytes, value: bytes) -> bytes:
    length = len(key) + len(value) + 3
    length += len(str(length + len(str(length))))
    return b"%d %b=%b\n" % (length, key, value)


TEXT = b"train/pos/b.txt"


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (header(TEXT, b"0", 2**24 + 1), "too large for one text of many"),
        (header(b"b.dat", b"0", 2**60), "it ends too early"),
        (header(b"b.dat", b"0", 2**80), "it ends too early"),
        (header(TEXT, b"0", -512), "a size is negative"),
        (header(TEXT, b"5", -512), "a size is negative"),
        (header(TEXT, b"L", 2**20 + 1), "the headers of a file are too long"),
        (header(TEXT, b"x", 2**60), "the headers of a file are too long"),
        (header(TEXT, b"g", 2**60), "the headers of a file are too long"),
        (header(TEXT, b"x", 10) + padded(b"9999999 a="), "extended header is damaged"),
        (header(TEXT, b"x", 10) + padded(b"0 a=b\n    "), "extended header is damaged"),
        (header(TEXT, b"x", 10) + padded(b"-5 path=a\n"), "extended header is damaged"),
        (header(TEXT, b"x", 10) + padded(b"9 path:a\n\n"), "extended header is damaged"),
        (header(TEXT, b"x", 15) + padded(b"15 size=-51200\n"), "a size is negative"),
        (header(TEXT, b"L", -512), "the headers of a file are too long"),
        (
            header(TEXT, b"x", 40) + padded(b"40 size=" + b"9" * 31 + b"\n"),
            "too large for one text",
        ),
        (header(TEXT, b"x", 60) + padded(b"60 size=" + b"9" * 51 + b"\n"), "number in an extended"),
        (header(b"x", b"x", 23) + padded(b"23 GNU.sparse.size=abc\n"), "a header is damaged"),
        (b"\xff" * 512, "cannot be unpacked: "),
        (header(TEXT, b"0", 4)[:-1], "it ends too early"),
        (header(TEXT, b"0", 600) + bytes(512), "it ends too early"),
        (header(TEXT, b"0", 1) + padded(b"a"), "it ends too early"),
    ],
)
def test_hostile_headers(tmp_path, odd, message):
    path = pack(tmp_path / "a.tar")
    good = path.read_bytes()[: 1024 * len(GOOD)]
    if b"size=" in odd:
        odd += header(TEXT, b"0", 0)
    path.write_bytes(good + odd)
    # Newer versions of tarfile refuse a negative size with words of their own.
    assert re.search(f"{message}|invalid offset", refusal(path).message)
    packed = tmp_path / "a.tar.gz"
    packed.write_bytes(gzip.compress(good + odd))
    assert re.search(f"{message}|invalid offset", refusal(packed).message)


def test_a_good_extended_header_is_taken(tmp_path):
    """The test above therefore refuses its headers for the right reason."""
    said = record(b"path", b"train/pos/" + b"n" * 200 + b".txt") + record(b"size", b"5")
    path = pack(tmp_path / "a.tar")
    good = path.read_bytes()[: 1024 * len(GOOD)]
    odd = (
        header(TEXT, b"x", len(said)) + padded(said) + header(b"short", b"0", 0) + padded(b"later")
    )
    path.write_bytes(good + odd + header(b"all", b"g", 0) + bytes(1024))
    assert sorted(texts(load_labelled(str(path)))) == ["bad", "fine", "good", "later"]


@pytest.mark.parametrize("content", [b"1" * 2**19, b"2 " * 2**18 + b"=", b"9" * 49 + b"\n"])
def test_extended_headers_take_linear_time(tmp_path, content):
    """CVE-2024-6232: quadratic regular expressions in old versions of tarfile."""
    odd = header(TEXT, b"x", len(content)) + padded(content)
    path = tmp_path / "a.tar"
    path.write_bytes(odd + header(TEXT, b"0", 0) + bytes(1024))
    assert "extended header is damaged" in refusal(path).message


def test_chains_of_headers_end(tmp_path):
    """tarfile reads each header inside the one before."""
    path = tmp_path / "a.tar"
    chain = (header(b"././@LongLink", b"L", 512) + b"n" * 512) * 10_000
    path.write_bytes(chain + bytes(1024))
    assert "too many headers" in refusal(path).message
    chain = (header(b"././@LongLink", b"L", 2**18) + b"n" * 2**18) * 5
    path.write_bytes(chain + bytes(1024))
    assert "the headers of a file are too long" in refusal(path).message


def test_archives_that_are_bombs(tmp_path, monkeypatch):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(header(b"b.dat", b"0", 2**24) + bytes(2**24)))
    assert "1000 times" in refusal(path).message
    path.write_bytes(gzip.compress(bytes(2**24)))  # after the end
    assert "1000 times" in refusal(path).message
    pack(path)
    monkeypatch.setattr(archives, "MAX_FILES", 2)
    assert "holds more than 2 files" in refusal(path).message


def test_archives_cut_anywhere(tmp_path):
    packed = pack(tmp_path / "whole.tar.gz").read_bytes()
    plain = gzip.decompress(packed)
    path = tmp_path / "a.tar.gz"
    for end in range(len(packed)):
        path.write_bytes(packed[:end])
        assert "cannot be unpacked" in refusal(path).message
    path = tmp_path / "a.tar"
    for end in range(0, 1024 * len(GOOD) + 512, 64):
        path.write_bytes(plain[:end])
        assert "it ends too early" in refusal(path).message


def test_archives_with_any_one_byte_changed(tmp_path):
    """The result is the texts, other texts where there is no checksum, or an error."""
    whole = pack(tmp_path / "whole.tar").read_bytes()[: 1024 * (len(GOOD) + 1)]
    path = tmp_path / "a.tar"
    said = Counter()

    def see(raw: bytes) -> None:
        path.write_bytes(raw)
        try:
            said["read", *sorted(texts(load_labelled(str(path))))] += 1
        except CorpusError as error:
            assert error.hint  # noqa: PT017 - some changes are not noticed
            said["refused"] += 1

    for place, byte in enumerate(whole[:1024]):
        for other in {0, byte ^ 1} - {byte}:
            see(whole[:place] + bytes([other]) + whole[place + 1 :])
    assert said["refused"] > 200
    # The padding of a block and some fields of a header are not read.
    assert said["read", "bad", "fine", "good"] > 500
    assert all(len(key) == 4 for key in said if key != "refused")

    said.clear()
    packed = gzip.compress(whole)
    path = tmp_path / "a.tar.gz"
    for place in range(10, len(packed)):  # all but the header of gzip, which has unused fields
        see(packed[:place] + bytes([packed[place] ^ 4]) + packed[place + 1 :])
    assert said["refused"] >= len(packed) - 11  # the last bits before the checksum may be unused
    assert {*said} <= {"refused", ("read", "bad", "fine", "good")}


def test_names_in_an_archive_are_shown_short_and_escaped(tmp_path):
    name = "train/pos/\x1b[2J\n" + "n" * 5000 + ".txt"
    path = pack(tmp_path / "a.tar", member(name, b"\xff"))
    error = refusal(path)
    assert "\x1b" not in error.message
    assert "is not UTF-8: byte 0xff" in error.message
