"""Labelled texts with one file per text, in a folder per label, or in a tar archive of folders."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from charlm.corpus.archives import MAX_BYTES, MAX_FILE_BYTES, MAX_FILES, read_tar, too_large
from charlm.corpus.text import Parts, decode, reading, walk
from charlm.errors import CorpusError, counted, shown

SPLIT_CALLED = {"train": "train", "training": "train", "test": "test"}
SPLIT_CALLED |= dict.fromkeys(("valid", "validation", "val", "dev"), "valid")
"""The split, by the name of a folder or by a value in a column ``split``."""

_UNLABELLED = "unsup"  # the folder of the unlabelled reviews in IMDB
_DEEPEST = 4  # the most parts of a path: FOLDER/train/LABEL/name.txt


class Found(NamedTuple):
    """A text in its source."""

    split: str | None  # ``train``, ``valid`` or ``test``; None where the source has no splits
    label: str
    text: str
    where: str  # the place of the text, for a message


def read_folder(folder: Path, encoding: str | None, notices: list[str]) -> Iterator[Found]:
    """The texts of ``{train,valid,test}/LABEL/*.txt`` or ``LABEL/*.txt``, sorted by path.

    The layout may be in the folder itself or in one folder inside it. Linked files are read,
    linked folders are not.

    Raises:
        CorpusError: there is no such file, or one is unreadable, too large or not text.
    """
    texts: list[Parts] = []
    skipped: Counter[str] = Counter()
    with reading(folder):
        for number, parts in enumerate(walk(folder, _DEEPEST)):
            if number == MAX_FILES:
                raise CorpusError(
                    f"{folder} holds more than {MAX_FILES:,} files", "use a part of them"
                )
            kind = _kind(parts)
            if kind == "text" and os.path.isfile(os.path.join(folder, *parts)):
                texts.append(parts)
            else:
                skipped[_UNLABELLED if kind == _UNLABELLED else "other"] += 1
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
                f"{folder} holds more than {MAX_BYTES >> 30} GiB of texts", "use a part of them"
            )
        return where, raw

    return _texts(folder, texts, skipped, read, encoding, notices)


def read_archive(path: Path, encoding: str | None, notices: list[str]) -> Iterator[Found]:
    """The texts of an archive of a folder as in ``read_folder``; errors also as ``read_tar``.

    The archive is read once from start to end and never unpacked to disk. Only regular files are
    read. Absolute paths and paths with ``..`` are skipped.
    """
    texts: dict[Parts, bytes] = {}
    skipped: Counter[str] = Counter()
    with reading(path):
        for parts, data in read_tar(path, lambda parts: _kind(parts) == "text"):
            if parts and data is not None:
                texts[parts] = data  # the last file of a name counts, as in tar
            else:
                unlabelled = parts is not None and _kind(parts) == _UNLABELLED
                skipped[_UNLABELLED if unlabelled else "other"] += 1

    def read(parts: Parts) -> tuple[str, bytes]:
        return f"{shown('/'.join(parts))} in {path}", texts.pop(parts)

    return _texts(path, texts, skipped, read, encoding, notices)


def _kind(parts: Parts) -> str:
    """By its path, whether a file may be a labelled text: ``text``, ``unsup`` or ``other``."""
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
    skipped: Counter[str],
    read: Callable[[Parts], tuple[str, bytes]],
    encoding: str | None,
    notices: list[str],
) -> Iterator[Found]:
    """The texts that are part of the layout, with their labels."""
    in_splits, chosen = _laid_out(source, texts)
    others = len(texts) - len(chosen) + skipped["other"]
    notices.append(f"read {counted(len(chosen), 'file')} of {source}, skipped {others:,}")
    if skipped[_UNLABELLED]:
        unlabelled = counted(skipped[_UNLABELLED], "file")
        notices.append(f"skipped {unlabelled} without a label, in {_UNLABELLED}")
    for parts in sorted(chosen, key="/".join):
        where, raw = read(parts)
        split = SPLIT_CALLED[parts[-3].casefold()] if in_splits else None
        yield Found(split, parts[-2], decode(raw, where, encoding), where)


def _laid_out(source: Path, texts: Collection[Parts]) -> tuple[bool, list[Parts]]:
    """Whether the layout has splits, and the texts in it, all below the same folder."""
    in_splits: dict[Parts, list[Parts]] = defaultdict(list)
    plain: dict[Parts, list[Parts]] = defaultdict(list)
    for parts in texts:
        if len(parts) > 2 and parts[-3].casefold() in SPLIT_CALLED:
            in_splits[parts[:-3]].append(parts)
        elif len(parts) < _DEEPEST and parts[-2].casefold() not in SPLIT_CALLED:
            plain[parts[:-2]].append(parts)
    # A single folder of texts may be something else, such as notes beside the data.
    several = {root: below for root, below in plain.items() if len({p[-2] for p in below}) > 1}
    roots = in_splits or several or plain
    if not roots:
        raise CorpusError(
            f"no labelled text in {source}",
            "expected: train/LABEL/*.txt and test/LABEL/*.txt, or LABEL/*.txt",
        )
    depth = min(map(len, roots))
    highest = sorted(root for root in roots if len(root) == depth)
    if len(highest) > 1:
        some = ", ".join(shown("/".join(root)) for root in highest[:3])
        raise CorpusError(
            f"{source} holds {len(highest)} sets of labelled texts: "
            f"{some}{', ...' if len(highest) > 3 else ''}",
            "name one of these folders",
        )
    return bool(in_splits), roots[highest[0]]
