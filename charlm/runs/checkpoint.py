"""Checkpoints: folders of a run that are complete once their manifest is there.

::

    last.safetensors       the weights
    best.safetensors       the weights with the lowest validation perplexity so far
    training.safetensors   the optimiser, the random generators, the carried hidden state
    training.json          how far the training has come, and its settings
    metrics.jsonl          a line for each measure
    samples.jsonl          a line for each sample
    manifest.json          size and SHA-256 of each of these, and of the run's own files

The manifest is written last. Nothing is ever written into a complete checkpoint; the next one has
the next number.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from charlm.atomic_files import TEMPORARY_FILES, sync_folder
from charlm.errors import RunError, shown
from charlm.runs.files import decode_json, encode_json, read_file, write_file

FORMAT = 3
MANIFEST = "manifest.json"
RUN_FILES = ("run.json", "vocabulary.json")
FILES = (
    "last.safetensors",
    "best.safetensors",
    "training.safetensors",
    "training.json",
    "metrics.jsonl",
    "samples.jsonl",
)
_MOST_MANIFEST = 2**14  # bytes
_NAME = re.compile(r"checkpoint-(\d{6,})", re.ASCII)

Record = tuple[int, str]
"""Of a file: bytes and SHA-256."""


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint; each file is checked when it is read."""

    folder: Path
    records: Mapping[str, Record]
    """Of the files in the folder, and of the run's own."""

    @classmethod
    def open(cls, folder: Path) -> Checkpoint:
        """Read the manifest.

        Raises:
            RunError: it is missing or damaged.
        """
        path = folder / MANIFEST
        return cls(folder, decode_manifest(read_file(path, _MOST_MANIFEST), path))

    def read(self, name: str, most: int) -> bytes:
        """A file of the checkpoint, as it was when the manifest was written.

        Args:
            most: bytes; a larger file is not read.

        Raises:
            RunError: the file is missing, damaged or too large.
        """
        path = self.folder / name
        size = self.records[name][0]
        if size > most:
            raise RunError(f"{path} is damaged: it has {size:,} bytes, more than {most:,}")
        data = read_file(path, size)
        self.check(name, data, path)
        return data

    def check(self, name: str, data: bytes, path: Path) -> None:
        """Make sure that a file's bytes are those that the manifest vouches for.

        Raises:
            RunError: they are not.
        """
        if record(data) != self.records[name]:
            raise RunError(
                f"{path} is damaged: its SHA-256 is not the one in {self.folder / MANIFEST}"
            )


def record(data: bytes) -> Record:
    """What a manifest says of a file."""
    return len(data), hashlib.sha256(data).hexdigest()


def decode_manifest(data: bytes, path: Path) -> dict[str, Record]:
    """The files that a manifest vouches for.

    Raises:
        RunError: it is not a manifest, byte for byte as one is written.
    """
    content = decode_json(data, path)
    try:
        records = {name: (row["bytes"], row["sha256"]) for name, row in content["files"].items()}
        # What was changed and still reads as the same records is damaged all the same.
        if records.keys() == {*FILES, *RUN_FILES} and _encode_manifest(records) == data:
            return records
    except (KeyError, TypeError, AttributeError):
        pass
    found = content.get("format") if isinstance(content, dict) else None
    if isinstance(found, int) and found != FORMAT:
        raise RunError(f"{path} has the format {shown(found)}; this version reads {FORMAT}")
    raise RunError(f"{path} is damaged: it is not a manifest")


def _encode_manifest(records: Mapping[str, Record]) -> bytes:
    for size, digest in records.values():
        if type(size) is not int or size < 0 or not re.fullmatch("[0-9a-f]{64}", digest):
            raise TypeError
    rows = {name: {"bytes": size, "sha256": digest} for name, (size, digest) in records.items()}
    return encode_json({"format": FORMAT, "files": dict(sorted(rows.items()))}, indent=2)


def write_checkpoint(
    run_folder: Path, files: Mapping[str, bytes], about: Mapping[str, Record], last: Path | None
) -> Checkpoint:
    """Write the next checkpoint of a run, then delete all but it and the last one.

    Args:
        files: the contents of `FILES`.
        about: of `RUN_FILES`.
        last: the checkpoint that was written before, or that the training went on from.

    Raises:
        RunError: the disk is full, or the folder cannot be written to; the checkpoints that were
            there still are, and nothing of the new one is.
    """
    assert files.keys() == set(FILES)
    others = checkpoint_folders(run_folder)
    number = _number(others[0]) + 1 if others else 1
    folder = run_folder / f"checkpoint-{number:06}"
    records = {**about, **{name: record(data) for name, data in files.items()}}
    try:
        try:
            folder.mkdir()
            sync_folder(run_folder)
        except OSError as error:
            raise RunError(f"cannot make the folder {folder}: {error.strerror}") from None
        for name, data in files.items():
            write_file(folder / name, data)
        write_file(folder / MANIFEST, _encode_manifest(records))
    except BaseException:
        _delete(folder)
        raise
    for old in others:
        if old != last:
            _delete(old)
    return Checkpoint(folder, records)


def checkpoint_folders(run_folder: Path) -> list[Path]:
    """All checkpoints of a run, the newest first; those too that are damaged or incomplete."""
    try:
        found = [path for path in run_folder.iterdir() if _NAME.fullmatch(path.name)]
    except OSError as error:
        raise RunError(f"cannot read {run_folder}: {error.strerror}") from None
    return sorted(found, key=_number, reverse=True)


def complete_checkpoints(run_folder: Path) -> list[Path]:
    """Those that were written to their end, the newest first; damaged ones too."""
    found = checkpoint_folders(run_folder)
    complete = [path for path in found if _has_manifest(path)]
    # Only the first has none before it: of others, a manifest must have been lost.
    return complete or [path for path in found[:1] if _number(path) > 1]


def _has_manifest(folder: Path) -> bool:
    """Whether there is one; not to know is an error, as what has none is deleted."""
    try:
        (folder / MANIFEST).lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise RunError(f"cannot read {folder}: {error.strerror}") from None
    return True


def is_checkpoint(folder: Path) -> bool:
    """Whether a path is, by its name, a checkpoint within a run."""
    return _NAME.fullmatch(folder.name) is not None


def _number(folder: Path) -> int:
    return int(folder.name.partition("-")[2])


def clean_up(run_folder: Path) -> None:
    """Delete what a killed training left half-written."""
    kept = complete_checkpoints(run_folder)
    with suppress(OSError):
        for path in run_folder.glob(TEMPORARY_FILES):
            path.unlink()
    for folder in checkpoint_folders(run_folder):
        if folder not in kept:
            _delete(folder)


def _delete(folder: Path) -> None:
    """Delete a checkpoint, its manifest first: it is never complete and yet lacks a file."""
    with suppress(OSError):  # a later one tries again
        if folder.is_symlink():  # what it leads to is not ours
            folder.unlink()
            return
        (folder / MANIFEST).unlink(missing_ok=True)
        sync_folder(folder)
        shutil.rmtree(folder, ignore_errors=True)
