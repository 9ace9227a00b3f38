"""Checkpoints: folders in a run folder. A checkpoint is complete once it has a manifest.

::

    last.safetensors       the weights
    best.safetensors       the weights with the best validation metric so far
    training.safetensors   the optimiser, the mean of the weights, the carried state
    training.json          the progress of the training, and its settings
    metrics.jsonl          a line for each report
    samples.jsonl          a line for each sample
    manifest.json          size and SHA-256 of the files above, run.json, vocabulary.json

The manifest is written last. A complete checkpoint is never changed: each save makes a new folder
with the next number.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charlm.atomic_files import TEMPORARY_FILES, sync_folder
from charlm.errors import RunError, shown
from charlm.runs.files import damaged, decode_json, encode_json, os_errors, read_file, write_file

FORMAT = 4
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
_MAX_MANIFEST = 2**14  # bytes
_NAME = re.compile(r"checkpoint-(\d{6,})", re.ASCII)

Record = tuple[int, str]
"""The size in bytes and the SHA-256 of a file."""


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint. Each file is checked when it is read."""

    folder: Path
    records: Mapping[str, Record]
    """of the files in the folder, run.json and vocabulary.json"""

    @classmethod
    def open(cls, folder: Path) -> Checkpoint:
        """A checkpoint with the records of its manifest.

        Raises:
            RunError: the manifest is missing or damaged.
        """
        path = folder / MANIFEST
        return cls(folder, decode_manifest(read_file(path, _MAX_MANIFEST), path))

    def read(self, name: str, max_bytes: int) -> bytes:
        """The bytes of a file, unchanged since the checkpoint was written.

        Raises:
            RunError: the file is missing, damaged or too large.
        """
        path = self.folder / name
        data = read_file(path, min(self.records[name][0], max_bytes))
        self.check(name, data, path)
        return data

    def check(self, name: str, data: bytes, path: Path) -> None:
        """Raise a RunError if the bytes of a file do not fit the manifest."""
        if record(data) != self.records[name]:
            raise damaged(path, f"its SHA-256 is not the one in {self.folder / MANIFEST}")


def record(data: bytes) -> Record:
    """The record of a file with these bytes."""
    return len(data), hashlib.sha256(data).hexdigest()


def decode_manifest(data: bytes, path: Path) -> dict[str, Record]:
    """The records in a manifest, by file name.

    Raises:
        RunError: the bytes are not exactly those of a manifest of this format.
    """
    content = decode_json(data, path)
    check_format(content, path)
    with suppress(KeyError, TypeError, AttributeError):
        records = {name: (row["bytes"], row["sha256"]) for name, row in content["files"].items()}
        # A file that differs from what charlm writes is damaged, even if it has the same records.
        if records.keys() == {*FILES, *RUN_FILES} and _encode_manifest(records) == data:
            return records
    raise damaged(path, "it is not a manifest")


def check_format(content: Any, path: Path) -> None:
    """Raise a RunError if a file names another format than that of this version."""
    found = content.get("format") if isinstance(content, dict) else None
    if type(found) is int and found != FORMAT:
        raise RunError(f"{path} has the format {shown(found)}; this version reads {FORMAT}")


def _encode_manifest(records: Mapping[str, Record]) -> bytes:
    for size, digest in records.values():
        if type(size) is not int or size < 0 or not re.fullmatch("[0-9a-f]{64}", digest):
            raise TypeError
    rows = {name: {"bytes": size, "sha256": digest} for name, (size, digest) in records.items()}
    return encode_json({"format": FORMAT, "files": dict(sorted(rows.items()))}, indent=2)


def write_checkpoint(
    run_folder: Path, files: Mapping[str, bytes], about: Mapping[str, Record], last: Path | None
) -> Checkpoint:
    """Write the next checkpoint of a run. Then delete all others except the last one.

    Args:
        files: the contents of `FILES`.
        about: the records of `RUN_FILES`.
        last: the checkpoint that this training wrote last or resumed from.

    Raises:
        RunError: the disk is full, or the folder cannot be written to. The earlier checkpoints are
            unchanged, and the new one is deleted.
    """
    assert files.keys() == set(FILES)
    others = checkpoint_folders(run_folder)
    number = _number(others[0]) + 1 if others else 1
    folder = run_folder / f"checkpoint-{number:06}"
    records = {**about, **{name: record(data) for name, data in files.items()}}
    try:
        with os_errors(f"cannot make the folder {folder}"):
            folder.mkdir()
            sync_folder(run_folder)
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
    """All checkpoints of a run, the newest first, including damaged and incomplete ones.

    Raises:
        RunError: the run folder cannot be read.
    """
    with os_errors(f"cannot read {run_folder}"):
        found = [path for path in run_folder.iterdir() if is_checkpoint(path)]
    return sorted(found, key=_number, reverse=True)


def complete_checkpoints(run_folder: Path) -> list[Path]:
    """The checkpoints of a run that have a manifest, the newest first, including damaged ones.

    If none has a manifest and the newest is not the first of the run, that one is returned: its
    manifest must have been lost.

    Raises:
        RunError: the run folder or a checkpoint cannot be read.
    """
    found = checkpoint_folders(run_folder)
    complete = [path for path in found if _has_manifest(path)]
    return complete or [path for path in found[:1] if _number(path) > 1]


def _has_manifest(folder: Path) -> bool:
    # An error must not count as "no manifest": `clean_up` deletes checkpoints without one.
    with os_errors(f"cannot read {folder}"), suppress(FileNotFoundError, NotADirectoryError):
        (folder / MANIFEST).lstat()
        return True
    return False


def is_checkpoint(folder: Path) -> bool:
    """Whether the name of a path is that of a checkpoint."""
    return _NAME.fullmatch(folder.name) is not None


def _number(folder: Path) -> int:
    return int(folder.name.partition("-")[2])


def clean_up(run_folder: Path) -> None:
    """Delete the incomplete checkpoints and temporary files of a killed training.

    Raises:
        RunError: the run folder or a checkpoint cannot be read.
    """
    kept = complete_checkpoints(run_folder)
    with suppress(OSError):
        for path in run_folder.glob(TEMPORARY_FILES):
            path.unlink()
    for folder in checkpoint_folders(run_folder):
        if folder not in kept:
            _delete(folder)


def _delete(folder: Path) -> None:
    """Delete a checkpoint, its manifest first: with a manifest, it would count as complete."""
    with suppress(OSError):  # the next save or clean-up tries again
        if folder.is_symlink():  # its target does not belong to the run
            folder.unlink()
            return
        (folder / MANIFEST).unlink(missing_ok=True)
        sync_folder(folder)
        shutil.rmtree(folder, ignore_errors=True)
