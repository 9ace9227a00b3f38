"""Labelled texts in text files, in a folder or in a tar archive of one.

Each label has a folder with a file for each text, or a file with a text on each line.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from charlm.corpus.archives import MAX_BYTES, MAX_FILE_BYTES, MAX_FILES, read_tar, too_large
from charlm.corpus.text_files import decode, normalised, reading
from charlm.corpus.text_folders import Parts, walk
from charlm.errors import CorpusError, counted, shown
from charlm.tasks.data_table import SPLIT_CALLED

_UNLABELLED = "unsup"  # the folder of the unlabelled reviews in IMDB
_DEEPEST = 4  # the most parts of a path: FOLDER/train/LABEL/name.txt
_NO_LABELS = {_UNLABELLED, "readme", "license", "licence", *SPLIT_CALLED}  # names of other files


class Found(NamedTuple):
    """A text in its source."""

    split: str | None  # ``train``, ``valid`` or ``test``; None where the source has no splits
    label: str
    text: str
    where: str  # the place of the text, for a message


def read_folder(folder: Path, encoding: str | None, notices: list[str]) -> Iterator[Found]:
    """The texts of one of four layouts, sorted by path.

    They are ``LABEL/*.txt`` and ``LABEL.txt`` with a text on each line, for each of the splits, as
    in ``train/LABEL.txt``, or without splits. The layout may be in the folder itself or in one
    folder inside it. Linked files are read, linked folders are not.

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

    def read(parts: Parts, most: int) -> tuple[str, bytes]:
        nonlocal total
        where = f"{shown('/'.join(parts))} in {folder}"
        with reading(where), open(os.path.join(folder, *parts), "rb") as stream:
            raw = stream.read(most + 1)
        total += len(raw)
        if total > MAX_BYTES:
            raise CorpusError(
                f"{folder} holds more than {MAX_BYTES >> 30} GiB of texts", "use a part of them"
            )
        if len(raw) > most:
            raise too_large(where)
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

    def read(parts: Parts, most: int) -> tuple[str, bytes]:
        return f"{shown('/'.join(parts))} in {path}", texts.pop(parts)

    return _texts(path, texts, skipped, read, encoding, notices)


def _kind(parts: Parts) -> str:
    """By its path, whether a file may be a labelled text: ``text``, ``unsup`` or ``other``."""
    if (
        not 1 <= len(parts) <= _DEEPEST
        or not parts[-1].lower().endswith(".txt")
        or any(part.startswith(".") for part in parts)
    ):
        return "other"
    return _UNLABELLED if _UNLABELLED in parts[-2:-1] else "text"


def _texts(
    source: Path,
    texts: Collection[Parts],
    skipped: Counter[str],
    read: Callable[[Parts, int], tuple[str, bytes]],
    encoding: str | None,
    notices: list[str],
) -> Iterator[Found]:
    """The texts that are part of the layout, with their labels."""
    by_line, in_splits, chosen = _laid_out(source, texts)
    others = len(texts) - len(chosen) + skipped["other"]
    how = "; each line is a text, its label is the file's name" if by_line else ""
    notices.append(f"read {counted(len(chosen), 'file')} of {source}, skipped {others:,}{how}")
    if skipped[_UNLABELLED]:
        unlabelled = counted(skipped[_UNLABELLED], "file")
        notices.append(f"skipped {unlabelled} without a label, in {_UNLABELLED}")
    for parts in sorted(chosen, key="/".join):
        where, raw = read(parts, MAX_BYTES if by_line else MAX_FILE_BYTES)
        text = decode(raw, where, encoding)
        *above, label = (*parts[:-1], _stem(parts)) if by_line else parts[:-1]
        split = SPLIT_CALLED[above[-1].casefold()] if in_splits else None
        if not by_line:
            yield Found(split, label, text, where)
            continue
        lines = normalised(text).removesuffix("\n").split("\n")
        for number, line in enumerate(lines, start=1):
            yield Found(split, label, line, f"{where}, line {number:,}")


def _stem(parts: Parts) -> str:
    return parts[-1][: -len(".txt")]


def _laid_out(source: Path, texts: Collection[Parts]) -> tuple[bool, bool, list[Parts]]:
    """Whether each line is a text, whether there are splits, and the files below one folder."""
    found: dict[tuple[bool, bool], dict[Parts, dict[Parts, str]]] = {
        (by_line, in_splits): defaultdict(dict)  # labels by file by folder
        for by_line in (False, True)
        for in_splits in (True, False)
    }
    for parts in texts:
        split = [part.casefold() in SPLIT_CALLED for part in parts]
        if len(parts) > 2 and split[-3]:
            found[False, True][parts[:-3]][parts] = parts[-2]
        elif 1 < len(parts) < _DEEPEST and not split[-2]:
            found[False, False][parts[:-2]][parts] = parts[-2]
        label = _stem(parts)
        if len(parts) < _DEEPEST and label.casefold() not in _NO_LABELS:
            in_splits = len(parts) > 1 and split[-2]
            found[True, in_splits][parts[: -2 if in_splits else -1]][parts] = label
    # A single folder or file of texts may be something else, such as notes beside the data.
    several = {
        kind: {root: below for root, below in each.items() if len({*below.values()}) > 1}
        for kind, each in found.items()
    }
    choices = [((False, True), found[False, True]), ((False, False), several[False, False])]
    choices += [(kind, several[kind]) for kind in ((True, True), (True, False))]
    choices += [((False, False), found[False, False])]
    for (by_line, in_splits), roots in choices:  # noqa: B007 - they are used after the loop
        if roots:
            break
    else:
        raise CorpusError(
            f"no labelled text in {source}",
            "expected: train/LABEL/*.txt and test/LABEL/*.txt, or LABEL/*.txt; "
            "or LABEL.txt with a text on each line; or train.csv and test.csv",
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
    return by_line, in_splits, list(roots[highest[0]])
