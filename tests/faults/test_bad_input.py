"""Bad input to the command line: one line of error, the exit code, and no half-written file.

Each row of a table is a command as a user types it. Most commands run in this process, and are
interrupted if they wait for ever. A few run in a separate process.
"""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from charlm.cli import run

POSIX = pytest.mark.skipif(os.name == "nt", reason="needs named pipes, devices or permissions")
TEXT = "the quick brown fox jumps over the lazy dog\n" * 200
SMALL = ("--hidden-size", "8", "--batch-size", "8", "--seq-len", "20", "--device", "cpu")


@dataclass(frozen=True)
class Case:
    """A command, its input, and the message that it must print."""

    name: str
    arguments: str
    """Separated by spaces. ``RUN`` is a trained run, ``LETTERS`` one with the cleaning letters."""
    error: str
    """The whole error line must match this pattern."""
    hint: str | None = None
    """The whole hint must match this pattern; None: there is no hint."""
    code: int = 1
    make: Callable[[], object] | None = None
    """Makes the input in the working folder."""
    more: tuple[str, ...] = ()
    """Arguments with a space or a line break, or empty ones."""
    stdin: bytes = b""
    own_process: bool = False
    """Whether the command runs in a separate process."""
    marks: tuple[pytest.MarkDecorator, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str

    def lines(self, kind: str) -> list[str]:
        """The lines of stderr that begin with ``kind:``, without it."""
        lines = (line.partition(": ") for line in self.err.split("\n"))
        return [rest for start, _, rest in lines if start == kind]


@pytest.fixture
def work(tmp_path, monkeypatch):
    """An empty working folder; the cache and the temporary files are next to it."""
    for name in ("work", "cache", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.delenv("CHARLM_CORPORA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.setenv(name, str(tmp_path / "temporary"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path / "work"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two runs in a folder: the start of the bundled English text, as it is and as letters."""
    folder = tmp_path_factory.mktemp("trained")
    command = ["train", *SMALL, "--epochs", "1", "--max-chars", "4000"]
    for name, cleaning in (("RUN", "none"), ("LETTERS", "letters")):
        words = [*command, "--run", str(folder / name), "--cleaning", cleaning]
        assert run([*words, "--set", "sample_length=5"]) == 0
    return folder


@pytest.fixture
def charlm(capsys, monkeypatch):
    """Runs a command, in this process or in a separate one, for at most 100 seconds."""

    def waits(*_: object) -> None:
        raise AssertionError("the command waits for ever")

    def command(
        arguments: Sequence[str], stdin: bytes = b"", *, own_process: bool = False
    ) -> Outcome:
        if own_process:
            done = subprocess.run(
                [sys.executable, "-m", "charlm", *arguments],
                input=stdin, capture_output=True, timeout=100,
            )  # fmt: skip
            return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())
        capsys.readouterr()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        if os.name == "nt":  # it has no alarm, and no named pipes
            return Outcome(run(list(arguments)), *capsys.readouterr())
        before = signal.signal(signal.SIGALRM, waits)
        signal.alarm(100)
        try:
            return Outcome(run(list(arguments)), *capsys.readouterr())
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)

    return command


def listing(*folders: Path) -> dict[str, tuple[int, ...]]:
    """All files and folders: kind and permissions, and of files the size and time."""
    found = {}
    for path in (path for folder in folders for path in folder.rglob("*")):
        about = path.lstat()
        found[str(path)] = (about.st_mode,)
        if not path.is_dir():
            found[str(path)] += (about.st_size, about.st_mtime_ns)
    return found


# Input that a case makes in the working folder


def file(name: str, data: str | bytes) -> Callable[[], object]:
    return lambda: Path(name).write_bytes(data if isinstance(data, bytes) else data.encode())


def folder(*files: Callable[[], object]) -> Callable[[], object]:
    def make() -> None:
        Path("a").mkdir()
        for write in files:
            write()

    return make


def pipe(name: str) -> Callable[[], object]:
    return lambda: os.mkfifo(name)


def pack(members: Sequence[tuple[str, str]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members:
            archive.writestr(name, text)
    return buffer.getvalue()


def encrypted() -> bytes:
    """An archive whose member is marked as encrypted."""
    raw = bytearray(pack([("a.txt", TEXT)]))
    raw[6] |= 1  # in the member's own header
    raw[raw.index(b"PK\x01\x02") + 8] |= 1  # and in the directory at the end
    return bytes(raw)


def bad_name() -> bytes:
    """An archive with a member whose name is marked as UTF-8, but is not UTF-8."""
    return pack([("书.txt", TEXT)]).replace("书".encode(), b"\xe4\xff\xa6")


# Texts that no command can read

UNPACK = "unpack the archive; then name one text file, or the folder to read all of them"
AGAIN = "fetch or copy the file again"
TRUST = "if you trust the file, unpack it and name the unpacked file"
LONGER = "use a longer text or a larger first split"
EMPTY = "name a file with text in it"
A_FILE = "name a file or a folder; charlm train --corpus - reads a pipe"
NULS = r"text has none, so the file may be damaged; to remove them: tr -d '.000' < .*a.txt > .*"

TEXTS = [
    Case("missing", "./a.txt", r"no such file or folder: (\./)?a\.txt", "check the path"),
    Case("missing-folder", "a/b.txt", "no such file or folder: a[/\\\\]b.txt", "check the path"),
    Case("below-a-file", "b.txt/a.txt", "(cannot read|no such file or folder:) b.txt.*",
         "check the path.*", make=file("b.txt", TEXT)),
    Case("name-too-long", "./" + "a" * 1000, r"cannot read (\./)?a+: .+",
         "check the path and its permissions", marks=(POSIX,)),
    Case("folder-empty", "./a", "no text file in folder a: skipped none",
         "name a folder .*", make=folder()),
    Case("folder-without-text", "./a", "no text file in folder a: skipped 1: 1 with NUL bytes .*",
         "name a folder .*", make=folder(file("a/a.png", b"\0\1\2"))),
    Case("folder-with-one-bad-text", "./a", "no text file in folder a: skipped 1: 1 not UTF-8 .*",
         "try --encoding cp1252 .*", make=folder(file("a/bad.txt", b"ab\xff"))),
    Case("named-pipe", "./a.txt", "a.txt is not a regular file", A_FILE,
         make=pipe("a.txt"), marks=(POSIX,)),
    Case("named-pipe-called-zip", "./a.zip", "a.zip is not a regular file", A_FILE,
         make=pipe("a.zip"), marks=(POSIX,)),
    Case("device", "/dev/zero", "/dev/zero is not a regular file", A_FILE, marks=(POSIX,)),
    Case("device-null", "/dev/null", "/dev/null is not a regular file", A_FILE, marks=(POSIX,)),
    Case("no-permission", "./a.txt", "cannot read a.txt: Permission denied",
         "check the path and its permissions",
         make=lambda: (file("a.txt", TEXT)(), Path("a.txt").chmod(0)),
         marks=(POSIX, pytest.mark.skipif(
             hasattr(os, "geteuid") and os.geteuid() == 0, reason="root reads all"))),
    Case("empty", "./a.txt", "(./)?a.txt is empty", EMPTY, make=file("a.txt", "")),
    Case("byte-order-mark-alone", "./a.txt", "(./)?a.txt is empty", EMPTY,
         make=file("a.txt", "\ufeff")),
    Case("line-break-in-the-name", "", r"(./)?a\\nb.txt is empty", EMPTY, more=("./a\nb.txt",),
         make=file("a\nb.txt", ""), marks=(POSIX,)),
    Case("invalid-utf-8", "./a.txt", "a.txt is not UTF-8: byte 0xff at byte offset 8, line 2",
         "try --encoding cp1252 [(]'ab\u00ff'[)].*", make=file("a.txt", b"first\nab\xff\n")),
    Case("gb18030", "./a.txt", "a.txt is not UTF-8: byte 0xc4 at byte offset 0, line 1",
         "try --encoding gb18030 [(]'你好吗，.*",
         make=file("a.txt", ("你好吗，火车慢慢开进了小站\n" * 20).encode("gb18030"))),
    Case("damaged-utf-8", "./a.txt", "a.txt is not UTF-8: byte 0xff at byte offset 1,600, line 101",
         "the text around it is UTF-8, so the file is damaged; to remove the bytes: iconv .*",
         make=file("a.txt", ("夜里的火车\n" * 100).encode() + b"\xff")),
    Case("utf-16", "./a.txt", "a.txt is not UTF-8: it begins with a UTF-16 byte order mark",
         "try --encoding utf-16", make=file("a.txt", TEXT.encode("utf-16"))),
    Case("utf-16-big-endian", "./a.txt",
         "a.txt is not UTF-8: it begins with a UTF-16 byte order mark", "try --encoding utf-16",
         make=file("a.txt", b"\xfe\xff" + TEXT.encode("utf-16-be"))),
    Case("utf-16-without-its-mark", "./a.txt",
         "a.txt has .* NUL bytes, the first at .*: it looks like UTF-16, little-endian",
         "try --encoding utf-16-le .*",
         make=file("a.txt", TEXT.encode("utf-16-le"))),
    Case("utf-32", "./a.txt", "a.txt is not UTF-8: it begins with a UTF-32 byte order mark",
         "try --encoding utf-32", make=file("a.txt", TEXT.encode("utf-32"))),
    Case("nuls", "./a.txt", "a.txt has a NUL byte at byte offset 44, line .*",
         NULS, make=file("a.txt", TEXT[:44] + "\0" + TEXT)),
    Case("half-a-utf-16-character", "./a.txt --encoding utf-16",
         "a.txt is not utf-16: byte 0x61 at byte offset 2, line 1", "try another --encoding",
         make=file("a.txt", b"\xff\xfea")),
    Case("no-such-encoding", "./a.txt --encoding utf-9", "unknown encoding 'utf-9'",
         "did you mean utf_8[?]", code=2, make=file("a.txt", TEXT)),
    Case("no-text-encoding", "./a.txt --encoding rot13", "unknown encoding 'rot13'",
         "such as utf-8, utf-16, gb18030, cp1252", code=2, make=file("a.txt", TEXT)),
    Case("zip-of-several", "./a.zip", "a.zip holds 4 text files, not one: 0.txt, 1.txt, 2.txt, ...",
         UNPACK, make=file("a.zip", pack([(f"{n}.txt", TEXT) for n in range(4)]))),
    Case("zip-with-a-line-break-in-a-name", "./a.zip",
         r"a.zip holds 2 text files, not one: a\\nb.txt, c.txt", UNPACK,
         make=file("a.zip", pack([("a\nb.txt", TEXT), ("c.txt", TEXT)]))),
    Case("zip-without-text", "./a.zip", "a.zip holds 0 text files, not one", UNPACK,
         make=file("a.zip", pack([("a.png", TEXT), ("b.png", TEXT)]))),
    Case("zip-of-ratio-1000", "./a.zip",
         "a.zip unpacks to more than 1 GiB or 1000 times its size", TRUST,
         make=file("a.zip", pack([("a.txt", "a" * 10_000_000)]))),
    Case("zip-truncated", "./a.zip", "a.zip cannot be unpacked: File is not a zip file", AGAIN,
         make=file("a.zip", pack([("a.txt", TEXT)])[:-40])),
    Case("zip-truncated-in-front", "./a.zip", "a.zip cannot be unpacked: .+", AGAIN,
         make=file("a.zip", pack([("a.txt", TEXT)])[40:])),
    Case("zip-with-a-name-that-is-no-text", "./a.zip",
         "a.zip cannot be unpacked: its directory of files is damaged", AGAIN,
         make=file("a.zip", bad_name())),
    Case("zip-encrypted", "./a.zip", "a.zip is encrypted",
         "unpack the archive with its password first", make=file("a.zip", encrypted())),
    Case("zip-not-zip", "./a.zip", "a.zip cannot be unpacked: File is not a zip file", AGAIN,
         make=file("a.zip", TEXT)),
    Case("gzip-truncated", "./a.txt.gz",
         "a.txt.gz cannot be unpacked: Compressed file ended before .*", AGAIN,
         make=file("a.txt.gz", gzip.compress(TEXT.encode())[:-12])),
    Case("gzip-of-ratio-1000", "./a.txt.gz",
         "a.txt.gz unpacks to more than 1 GiB or 1000 times its size", TRUST,
         make=file("a.txt.gz", gzip.compress(b"a" * 10_000_000))),
    Case("gzip-not-gzip", "./a.gz", "a.gz cannot be unpacked: Not a gzipped file .*", AGAIN,
         make=file("a.gz", TEXT)),
]  # fmt: skip

# Input that only some commands refuse

HELP = "see .+ --help"
PREFIX = "give --prefix some characters"
PREFIX_FILE = "name a text file in UTF-8"
SPLIT = "give train, valid and test as three fractions that sum to 1, or three character counts"

TRAIN = [
    Case("no-such-name", "--corpus timemachin", "no corpus, file or folder is called 'timemachin'",
         "did you mean timemachine[?]", own_process=True),
    Case("name-empty", "--corpus=", "no corpus, file or folder is called ''", "known: .*"),
    Case("one-character", "--corpus ./a.txt",
         "no character to train on: the splits have 0, 0 and 1 characters",
         "use a text with more characters, or a larger first split",
         make=file("a.txt", "a")),
    Case("shorter-than-a-batch", "--corpus ./a.txt",
         "the train split has 90 characters, but a batch of 16 rows of 64 steps needs 1,089",
         ".+", make=file("a.txt", "ab" * 50)),
    Case("stdin-empty", "--corpus -", "standard input is empty", EMPTY),
    Case("stdin-invalid-utf-8", "--corpus -", "standard input is not UTF-8: byte 0xff at .*",
         ".*--encoding.*", stdin=b"ab\xff"),
    Case("nothing-left-after-cleaning", "--corpus ./a.txt --cleaning letters",
         "the cleaning 'letters' leaves nothing of (./)?a.txt", "try --cleaning none",
         make=file("a.txt", "夜里的火车" * 99)),
    Case("prefix-empty", "--prefix=", "the prefix '' is empty", PREFIX, code=2),
    Case("prefix-cleaned-away", "--cleaning letters --prefix 123",
         "the prefix '123' has nothing left after the cleaning 'letters'", PREFIX, code=2),
    # Options out of range
    Case("cleaning-unknown", "--cleaning leters",
         "corpus.cleaning is 'leters'; it can be letters, spaces, trim, none", code=2),
    Case("epochs-0", "--epochs 0", "training.epochs is 0; it must be from 1 to 1,000,000,000",
         code=2),
    Case("epochs-no-number", "--epochs many",
         "training.epochs is 'many'; it must be a whole number or none", code=2),
    Case("minutes-infinite", "--minutes inf",
         "training.minutes is inf; it must be above 0 and finite", code=2),
    Case("cell-unknown", "--cell lstn", "model.cell is 'lstn'; it can be rnn, rnn-relu, .*",
         code=2),
    Case("device-unknown", "--device abacus", "no device 'abacus' here", "try --device cpu",
         code=2),
    Case("preset-unknown", "--preset timemachine-gro", "unknown preset: 'timemachine-gro'",
         "did you mean timemachine-gru[?]", code=2),
    Case("split-without-a-sum", "--set split=1e308,1e308,0", "not a split: .*", SPLIT, code=2),
    Case("split-of-another-sum", "--set split=80,10,10",
         "the split counts sum to 100, but the text has .*", "let them sum to the length, .*"),
    Case("option-unknown", "--hiden-size 3", "no such option: --hiden-size.*", HELP, code=2),
    Case("run-folder-is-a-file", "--run ./a.txt", "a.txt exists already",
         "give --run another name.*", code=2, make=file("a.txt", TEXT)),
    # The configuration file
    Case("config-unknown-key", "--config a.toml", r"unknown key of \[model\]: 'hiden_size'",
         "did you mean hidden_size[?]", code=2,
         make=file("a.toml", "[model]\nhiden_size = 8\n")),
    Case("config-missing", "--config a.toml", "cannot read the configuration a.toml: No such .*",
         "name a text file in TOML", code=2),
    Case("config-binary", "--config a.toml", "cannot read the configuration a.toml: it is not .*",
         "name a text file in TOML", code=2, make=file("a.toml", b"\xff\0")),
    Case("config-text", "--config a.txt", "a.txt is not TOML: .*", "write lines such as lr = .*",
         code=2, make=file("a.txt", TEXT)),
    Case("config-named-pipe", "--config a.toml",
         "cannot read the configuration a.toml: it is not a regular file",
         "name a text file in TOML", code=2,
         make=pipe("a.toml"), marks=(POSIX,)),
    Case("config-device", "--config /dev/zero",
         "cannot read the configuration /dev/zero: it is not a regular file",
         "name a text file in TOML", code=2,
         marks=(POSIX,)),
]  # fmt: skip

OTHERS = [
    Case("generate-two-prefixes", "generate --run RUN --prefix a --prefix-file b",
         "--prefix and --prefix-file are both given", "give only one of them", code=2),
    Case("generate-prefix-file-missing", "generate --run RUN --prefix-file a.txt",
         "no such file or folder: a.txt", PREFIX_FILE),
    Case("generate-prefix-file-empty", "generate --run RUN --prefix-file a.txt", "a.txt is empty",
         PREFIX_FILE, make=file("a.txt", "")),
    Case("generate-prefix-file-blank", "generate --run RUN --prefix-file a.txt",
         "a.txt has an empty line and nothing else", PREFIX_FILE, make=file("a.txt", "\n")),
    Case("generate-prefix-file-binary", "generate --run RUN --prefix-file a.txt",
         "a.txt is not plain text but a PNG image", PREFIX_FILE,
         make=file("a.txt", b"\x89PNG\r\n\x1a\n\xff")),
    Case("generate-prefix-file-folder", "generate --run RUN --prefix-file a", "a is a folder",
         PREFIX_FILE, make=lambda: Path("a").mkdir()),
    Case("generate-prefix-file-no-stdin", "generate --run RUN --prefix-file -",
         "standard input is empty", "write a text in UTF-8 to it"),
    Case("generate-stop-empty", "generate --run RUN --stop=", "--stop is empty", ".*", code=2),
    Case("generate-output-no-folder", "generate --run RUN --output a/b.txt",
         "--output 'a/b.txt' is in a folder that does not exist", "name a file to write", code=2),
    Case("generate-output-a-folder", "generate --run RUN --output a", "--output 'a' is a folder",
         "name a file to write", code=2, make=lambda: Path("a").mkdir()),
    Case("generate-output-a-device", "generate --run RUN --output /dev/null",
         "--output '/dev/null' is not a regular file", "name a file to write", code=2,
         marks=(POSIX,)),
    *(Case(f"{command.split()[0]}-{option[2:]}-{name}", f"{command} RUN {option} {value}",
           f"{option} '{value}' {error}", hint, code=2)
      for command, option, ending in (
          ("report", "--output", ".html"),
          ("runs compare RUN", "--html", ".html"),
          ("inspect --surprisal --run", "--html", ".html"),
          ("inspect --memory --run", "--plot", ".png"),
          ("export --run", "--onnx", ".onnx"),
          ("export --run", "--numpy", ".npz"),
      )
      for name, value, error, hint in (
          ("dash", "-", "(is not the name of a file|has no known kind of picture)",
           "(name a file to write|known: .*)"),
          ("text", "a.txt", f"(does not end in {ending}|has no known kind of picture)",
           f"(name a file such as a{ending}|known: .*)"),
          ("no-folder", f"a/b{ending}", "is in a folder that does not exist",
           "name a file to write"),
      )),
    Case("generate-output-dash", "generate --run RUN --output -",
         "--output '-' is not the name of a file", "name a file to write", code=2),
    Case("generate-output-no-permission", "generate --run RUN --output a/b.txt",
         "--output 'a/b.txt' is in a folder that cannot be written to", "name a file to write",
         code=2, make=lambda: Path("a").mkdir(mode=0o500),
         marks=(POSIX, pytest.mark.skipif(
             hasattr(os, "geteuid") and os.geteuid() == 0, reason="root writes all"))),
    *(Case(f"generate-interactive-{option.split()[0]}", f"generate --interactive {option}",
           f"--interactive cannot be combined with {option.removesuffix(' 2').removesuffix(' a')}",
           "leave out one of them", code=2)
      for option in ("--json", "--output a", "--num-samples 2", "--prefix-file -")),
    Case("generate-prefix-cleaned-away", "generate --run LETTERS --prefix 123",
         "the prefix '123' has nothing left after the cleaning 'letters'", PREFIX, code=2),
    Case("generate-length-0", "generate --run RUN --length 0", "invalid value for '--length': .*",
         HELP, code=2, own_process=True),
    Case("generate-num-samples-0", "generate --run RUN --num-samples 0",
         "invalid value for '--num-samples': .*", HELP, code=2),
    Case("generate-seed-negative", "generate --run RUN --seed -1",
         "invalid value for '--seed': .*", HELP, code=2),
    Case("generate-temperature-negative", "generate --run RUN --temperature -1",
         "the temperature is -1.0; it must be 0 or more", code=2),
    Case("generate-temperature-nan", "generate --run RUN --temperature nan",
         "the temperature is nan; it must be 0 or more", code=2),
    Case("generate-top-k-0", "generate --run RUN --top-k 0", "top-k is 0; it must be .*", code=2),
    Case("generate-top-p-2", "generate --run RUN --top-p 2", "top-p is 2.0; it must be .*", code=2),
    Case("generate-run-missing", "generate --run a",
         "a is not a run folder: checkpoints.a has no run.json", "train one first"),
    Case("generate-run-is-a-file", "generate --run ./a.txt",
         "a.txt is not a run folder: it has no run.json", "train one first",
         make=file("a.txt", TEXT)),
    Case("eval-missing", "eval --run RUN --text a.txt", "no file 'a.txt'",
         "give --text a file, or - for standard input"),
    *(Case(f"{command.split()[0]}-{name}", f"{command} RUN {options}", error, hint, code, make,
           more) for command in ("eval --run", "inspect --surprisal --run")
      for name, options, error, hint, code, make, more in (
          ("latin-1", "--text a.txt", ".*a.txt is not UTF-8: byte 0xe9 .*",
           "try --encoding cp1252 .*", 1, file("a.txt", b"d\xe9j\xe0 vu\n" * 20), ()),
          ("encoding-unknown", "--text a.txt --encoding no", "unknown encoding 'no'", ".*", 2,
           file("a.txt", TEXT), ()),
          ("encoding-of-nothing", "--encoding utf-8", "--encoding is the encoding of --text",
           "give both", 2, None, ()),
          ("name-too-long", "--text", "no file 'a+'", ".*", 1, None, ("a" * 1000,)),
      )),
    Case("eval-empty", "eval --run RUN --text a.txt", ".*a.txt is empty", EMPTY,
         make=file("a.txt", "")),
    Case("eval-stdin-empty", "eval --run RUN --text -", "standard input is empty", EMPTY),
    Case("eval-stdin-cleaned-away", "eval --run LETTERS --text -",
         "the cleaning 'letters' leaves nothing of standard input", ".* score a text like it",
         stdin=b"123"),
    Case("eval-one-character", "eval --run RUN --text a.txt",
         "a.txt has one character; scoring needs at least two", make=file("a.txt", "a")),
    Case("eval-cleaned-away", "eval --run LETTERS --text a.txt",
         "the cleaning 'letters' leaves nothing of .*a.txt", ".* score a text like it",
         make=file("a.txt", "123")),
    Case("eval-nuls", "eval --run RUN --text a.txt", ".*a.txt has a NUL byte at .*", NULS,
         make=file("a.txt", "ab\0cd")),
    Case("eval-folder-without-text", "eval --run RUN --text a", "no text file in folder .*",
         "name a folder .*", make=folder()),
    Case("eval-named-pipe", "eval --run RUN --text a.txt", ".*a.txt is not a regular file", A_FILE,
         make=pipe("a.txt"), marks=(POSIX,)),
    Case("eval-split-unknown", "eval --run RUN --split validation", "unknown split 'validation'",
         "did you mean valid[?]", code=2),
    Case("add-without-a-name", "corpus add", "missing argument 'FILE'", HELP, code=2),
    Case("add-name-empty", "corpus add", "FILE is empty", "name a text file of your own", code=2,
         more=("",)),
    Case("add-name-taken", "corpus add ./traveller.txt",
         "the name traveller is taken by a catalogued corpus", "rename the file first",
         make=file("traveller.txt", TEXT)),
    Case("add-half-a-character", "corpus add ./a.txt --encoding utf-7",
         "a.txt has U[+]D800, half a character, at character offset 2",
         "repair the text, or give another encoding", make=file("a.txt", b"ab+2AA-cd")),
    Case("show-no-such-name", "corpus show travelle", "no corpus, file or folder is called .*",
         "did you mean traveller[?]"),
    Case("command-unknown", "fly", "no such command 'fly'", HELP, code=2),
]  # fmt: skip


def prefixed(cases: Sequence[Case], command: str) -> list[Case]:
    return [
        dataclasses.replace(case, name=f"{command.split()[0]}-{case.name}",
                            arguments=f"{command} {case.arguments}")
        for case in cases
    ]  # fmt: skip


REFUSED = [
    *prefixed(TEXTS, "train --corpus"),
    *prefixed(TEXTS, "corpus add"),
    *prefixed(TRAIN, "train"),
    *OTHERS,
]


def parameters(cases: Sequence[Case]) -> list[object]:
    return [pytest.param(case, id=case.name, marks=case.marks) for case in cases]


def typed(case: Case, trained: Path) -> list[str]:
    words = [*case.arguments.split(), *case.more]
    return [str(trained / word) if word in ("RUN", "LETTERS") else word for word in words]


@pytest.mark.parametrize("case", parameters(REFUSED))
def test_bad_input_is_one_line_and_leaves_nothing_behind(case, work, trained, charlm):
    if case.make is not None:
        case.make()
    before = listing(work.parent, trained)
    found = charlm(typed(case, trained), case.stdin, own_process=case.own_process)
    assert found.code == case.code, found.err
    assert found.out == ""
    assert "Traceback" not in found.err
    (error,) = found.lines("error")
    assert re.fullmatch(case.error, error), error
    hints = found.lines("hint")
    assert len(hints) == (case.hint is not None), hints
    for hint in hints:
        assert re.fullmatch(case.hint, hint), hint
    last = f"hint: {hints[0]}" if hints else f"error: {error}"
    assert found.err.endswith(f"{last}\n")
    assert listing(work.parent, trained) == before


def test_the_tables_reach_every_exit_code_of_a_users_mistake():
    assert {case.code for case in REFUSED} == {1, 2}
    assert len({case.name for case in REFUSED}) == len(REFUSED)


# Unusual input that works, with a notice

UNUSUAL = [
    Case("byte-order-mark", "train --corpus ./a.txt", "removed a byte order mark at the start of "
         r"1 file", make=file("a.txt", "\ufeff" + TEXT)),
    Case("lone-carriage-returns", "train --corpus ./a.txt",
         r"changed line ends to \\n: 0 \\r\\n and 200 \\r",
         make=file("a.txt", TEXT.replace("\n", "\r"))),
    Case("line-ends-of-windows", "train --corpus ./a.txt",
         r"changed line ends to \\n: 200 \\r\\n and 0 \\r",
         make=file("a.txt", TEXT.replace("\n", "\r\n"))),
    Case("folder-of-texts", "train --corpus ./a",
         r"read 2 files of folder a, skipped 1: 1 PNG image \(c[.]png\)",
         make=folder(file("a/a.txt", TEXT), file("a/b.txt", TEXT),
                     file("a/c.png", b"\x89PNG\r\n"))),
    Case("folder-with-a-named-pipe", "train --corpus ./a",
         r"read 1 file of folder a, skipped 1: 1 not regular \(b[.]txt\)",
         make=folder(file("a/a.txt", TEXT), pipe("a/b.txt")), marks=(POSIX,)),
    Case("one-distinct-character", "train --corpus ./a.txt",
         "the text repeats 'a' and has no other character", make=file("a.txt", "a" * 9999)),
    Case("fewer-than-max-chars", "train --corpus ./a.txt --max-chars 99999",
         "the text has 8,800 characters, fewer than 99,999: all kept", make=file("a.txt", TEXT)),
    Case("unknown-characters-in-a-prefix", "train --corpus ./a.txt --prefix Жa",
         "warning: not in the vocabulary, the model reads <unk> instead: "
         "'Ж' U[+]0416 CYRILLIC CAPITAL LETTER ZHE", make=file("a.txt", TEXT)),
    Case("prefix-that-is-no-text", "train --corpus ./a.txt", more=("--prefix", "a\nb\x1b"),
         error=r"warning: not in the vocabulary, the model reads <unk> instead: '\\x1b' U[+]001B",
         make=file("a.txt", TEXT)),
]  # fmt: skip


@pytest.mark.parametrize("case", parameters(UNUSUAL))
def test_unusual_input_works_with_a_notice(case, work, charlm):
    case.make()
    before = listing(work.parent)
    words = [*case.arguments.split(), *case.more, *SMALL, "--dry-run", "--json"]
    found = charlm(words, own_process=case.own_process)
    assert found.code == 0, found.err
    (line,) = found.err.rstrip("\n").split("\n")
    assert re.fullmatch(case.error, line), line
    assert json.loads(found.out)["characters"] > 0
    assert listing(work.parent) == before


def test_texts_with_line_ends_of_any_kind_are_the_same_to_the_model(work, charlm):
    counts = []
    for end in ("\n", "\r", "\r\n"):
        file("a.txt", TEXT.replace("\n", end))()
        found = charlm(["train", "--corpus", "./a.txt", *SMALL, "--dry-run", "--json"])
        plan = json.loads(found.out)
        counts.append((plan["characters"], plan["split"], plan["vocabulary"]))
    assert counts[0] == counts[1] == counts[2]
    assert counts[0][0] == len(TEXT)


@pytest.mark.parametrize("member", ["../../evil.txt", "/evil.txt", "C:\\evil.txt", "a/../b/.c.txt"])
def test_a_name_in_an_archive_never_becomes_a_path(work, charlm, member):
    """The member is read in memory, whatever its name; a hidden member is skipped."""
    file("a.zip", pack([(member, TEXT), ("b.txt", TEXT)][: 2 if ".c" in member else 1]))()
    before = listing(work.parent)
    found = charlm(["train", "--corpus", "./a.zip", *SMALL, "--dry-run", "--json"])
    assert (found.code, found.err) == (0, "")
    assert json.loads(found.out)["characters"] == len(TEXT)
    assert listing(work.parent) == before
    assert charlm(["corpus", "add", "./a.zip"]).code == 0
    assert {Path(path).name for path in listing(work.parent).keys() - before.keys()} == {
        "corpora", "a.txt",
    }  # fmt: skip
    assert Path("corpora/a.txt").read_text(encoding="utf-8") == TEXT


def test_generating_after_unknown_characters_works_with_a_warning(work, trained, charlm):
    before = listing(work.parent, trained)
    words = ["generate", "--run", str(trained / "RUN"), "--length", "5", "--exact-length", "-q"]
    found = charlm([*words, "--prefix", "The Ж"])
    assert found.code == 0
    assert re.fullmatch("The Ж(?s:.{5})\n", found.out)
    assert found.lines("warning") == [
        "not in the vocabulary, the model reads <unk> instead: "
        "'Ж' U+0416 CYRILLIC CAPITAL LETTER ZHE"
    ]
    assert found.err.count("\n") == 1
    assert listing(work.parent, trained) == before


def test_scoring_unknown_characters_works_with_a_warning(work, trained, charlm):
    file("a.txt", "the Ж time Жtraveller")()
    before = listing(work.parent, trained)
    words = ["eval", "--run", str(trained / "RUN"), "--text", "a.txt", "--device", "cpu"]
    found = charlm([*words, "--json"])
    assert found.code == 0
    assert found.err == "warning: 2 of 21 characters are not in the vocabulary\n"
    assert json.loads(found.out)["characters"] == 20  # the first one is given
    assert listing(work.parent, trained) == before


def test_an_added_text_may_be_in_any_encoding(work, charlm):
    """The hint that `corpus add` gives can be followed."""
    file("a.txt", TEXT.encode("utf-16"))()
    refused = charlm(["corpus", "add", "a.txt"])
    (hint,) = refused.lines("hint")
    assert hint == "try --encoding utf-16"
    for command in ("show", "add"):
        assert charlm(["corpus", command, "./a.txt", *hint.split()[1:]]).code == 0
    assert Path("corpora/a.txt").read_bytes() == TEXT.encode()


# Streams with another encoding than UTF-8 in the environment


@pytest.mark.parametrize("encoding", ["ascii:strict", "cp1252"])
def test_a_redirected_stdout_or_stderr_is_in_utf_8(work, charlm, monkeypatch, encoding):
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    shown = charlm(["corpus", "show", "night_train"], own_process=True)
    assert (shown.code, shown.err) == (0, "")
    assert shown.out == charlm(["corpus", "show", "night_train"]).out
    assert "夜行列车" in shown.out
    found = charlm(["corpus", "add", "书.txt"], own_process=True)
    assert found.code == 1
    assert found.lines("error") == ["no such file or folder: 书.txt"]
    assert listing(work) == {}


# A very long line


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "wait4"), reason="needs the memory that a process took")
@pytest.mark.parametrize("cleaning", ["none", "letters"])
def test_a_line_of_200_mb_takes_no_more_than_12_bytes_of_memory_per_byte(work, cleaning):
    """Eight of them are the ids."""
    size = 200_000_000
    words = b"the quick brown fox jumps over the lazy dog "
    with open("a.txt", "wb") as stream:
        for _ in range(1000):
            stream.write((words * (size // 1000 // len(words) + 1))[: size // 1000])
    assert Path("a.txt").stat().st_size == size

    def memory(corpus: str, *options: str) -> int:
        """The peak memory of the command, in bytes."""
        command = [sys.executable, "-m", "charlm", "train", "--corpus", corpus, *options]
        with open("../out.json", "wb") as out:
            process = subprocess.Popen([*command, "--dry-run", "--json"], stdout=out)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)

    itself = memory("traveller")
    start = time.monotonic()
    taken = memory("./a.txt", "--cleaning", cleaning) - itself
    assert time.monotonic() - start < 120  # 14 s on an idle machine of 2026
    assert json.loads(Path("../out.json").read_text())["characters"] >= size - 1
    assert taken < 12 * size
