"""Labelled texts in a file each: folders called as their labels, or a tar archive of them."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

from charlm.corpus.archives import MAX_BYTES, MAX_FILE_BYTES, MAX_FILES, read_tar, too_large
from charlm.corpus.text import decode, reading
from charlm.errors import CorpusError, shown

SPLIT_CALLED = {
    **{"train": "train", "training": "train", "test": "test"},
    **{"valid": "valid", "validation": "valid", "val": "valid", "dev": "valid"},
}
"""The split that is meant by a folder's name, or by a value in a column ``split``."""

_UNLABELLED = "unsup"  # the folder of IMDB with the reviews that nobody labelled
_DEEPEST = 4  # names in a path: FOLDER/train/LABEL/name.txt

Parts: TypeAlias = tuple[str, ...]
"""The names in a path, from the source downwards."""


class Found(NamedTuple):
    """A text as it stands in its source."""

    split: str | None
    """``train``, ``valid`` or ``test``; None where the source has no splits."""
    label: str
    text: str
    where: str
    """Where it stands, for a message."""


def read_folder(folder: Path, encoding: str | None, notices: list[str]) -> Iterator[Found]:
    """The texts of ``{train,valid,test}/LABEL/*.txt`` or ``LABEL/*.txt``, sorted by path.

    These lie in the folder or in the one folder in it that has them. Linked files are read,
    linked folders are not.

    Raises:
        CorpusError: no such texts, or one that cannot be read, is too large or not text.
    """
    texts: list[Parts] = []
    passed_over: Counter[str] = Counter()
    with reading(folder):
        for parts in _walk(folder):
            regular = _kind(parts) != "text" or os.path.isfile(os.path.join(folder, *parts))
            kind = _kind(parts) if regular else "other"
            if kind == "text":
                texts.append(parts)
            else:
                passed_over[kind] += 1
    total = 0

    def read(parts: Parts) -> tuple[str, bytes]:
        nonlocal total
        where = f"{shown('/'.join(parts))} in {folder}"
        with reading(where), open(os.path.join(folder, *parts), "rb") as stream:
            raw = stream.read(MAX_FILE_BYTES + 1)
        if len(raw) > MAX_FILE_BYTES:
            raise too_large(where)
        total += len(raw)
        if total > MAX_BYTES:
            raise CorpusError(
                f"{folder} holds more than {MAX_BYTES >> 30} GiB of texts", "take a part of them"
            )
        return where, raw

    return _texts(folder, texts, passed_over, read, encoding, notices)


def read_archive(path: Path, encoding: str | None, notices: list[str]) -> Iterator[Found]:
    """The texts of a tar archive, gzipped or not, of a folder as ``read_folder`` takes it.

    It is read once from start to end and never unpacked to disk. Only regular files count; what
    has an absolute name, or one with ``..``, is passed over.

    Raises:
        CorpusError: as ``read_folder`` and ``read_tar``.
    """
    texts: dict[Parts, bytes] = {}
    passed_over: Counter[str] = Counter()
    with reading(path):
        for parts, data in read_tar(path, lambda parts: _kind(parts) == "text"):
            if parts and data is not None:
                texts[parts] = data  # the last of several with one name, as tar itself has it
            else:
                unlabelled = parts is not None and _kind(parts) == _UNLABELLED
                passed_over[_UNLABELLED if unlabelled else "other"] += 1

    def read(parts: Parts) -> tuple[str, bytes]:
        return f"{shown('/'.join(parts))} in {path}", texts.pop(parts)

    return _texts(path, texts, passed_over, read, encoding, notices)


def _walk(folder: Path) -> Iterator[Parts]:
    """The paths of all files down to ``_DEEPEST``, in no order."""

    def fail(error: OSError) -> None:
        raise error

    files = 0
    for parent, folders, names in os.walk(folder, onerror=fail):
        above = Path(parent).relative_to(folder).parts
        if len(above) == _DEEPEST - 1:
            folders.clear()
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += len(names)
        if files > MAX_FILES:
            raise CorpusError(
                f"{folder} holds more than {MAX_FILES:,} files", "take a part of them"
            )
        yield from ((*above, name) for name in names)


def _kind(parts: Parts) -> str:
    """``text`` for what may be a labelled text by its name, ``unsup``, or ``other``."""
    if (
        not 2 <= len(parts) <= _DEEPEST
        or not parts[-1].lower().endswith(".txt")
        or any(part.startswith(".") for part in parts)
    ):
        return "other"
    return _UNLABELLED if parts[-2] == _UNLABELLED else "text"


def _texts(
    source: Path,
    texts: Collection[Parts],
    passed_over: Counter[str],
    read: Callable[[Parts], tuple[str, bytes]],
    encoding: str | None,
    notices: list[str],
) -> Iterator[Found]:
    """Those of ``texts`` that the layout takes, each with its label."""
    in_splits, chosen = _laid_out(source, texts)
    others = len(texts) - len(chosen) + passed_over["other"]
    notices.append(f"read {len(chosen):,} file(s) of {source}, passed over {others:,}")
    if passed_over[_UNLABELLED]:
        notices.append(
            f"passed over {passed_over[_UNLABELLED]:,} file(s) in {_UNLABELLED}, without a label"
        )
    for parts in sorted(chosen, key="/".join):
        where, raw = read(parts)
        split = SPLIT_CALLED[parts[-3].casefold()] if in_splits else None
        yield Found(split, parts[-2], decode(raw, where, encoding), where)


def _laid_out(source: Path, texts: Collection[Parts]) -> tuple[bool, list[Parts]]:
    """Whether the layout has splits, and the texts in it, which all lie below one folder."""
    in_splits: dict[Parts, list[Parts]] = defaultdict(list)
    plain: dict[Parts, list[Parts]] = defaultdict(list)
    for parts in texts:
        if len(parts) > 2 and parts[-3].casefold() in SPLIT_CALLED:
            in_splits[parts[:-3]].append(parts)
        elif len(parts) < _DEEPEST and parts[-2].casefold() not in SPLIT_CALLED:
            plain[parts[:-2]].append(parts)
    # A folder of one label may be anything, such as a folder of notes beside the data.
    several = {root: below for root, below in plain.items() if len({p[-2] for p in below}) > 1}
    roots = in_splits or several or plain
    if not roots:
        raise CorpusError(
            f"no labelled text in {source}",
            "wanted: train/LABEL/*.txt and test/LABEL/*.txt, or LABEL/*.txt",
        )
    depth = min(map(len, roots))
    highest = sorted(root for root in roots if len(root) == depth)
    if len(highest) > 1:
        some = ", ".join(shown("/".join(root)) for root in highest[:3])
        raise CorpusError(
            f"{source} holds {len(highest)} sets of labelled texts: "
            f"{some}{', ...' if len(highest) > 3 else ''}",
            "name the folder of one of them",
        )
    return bool(in_splits), roots[highest[0]]
