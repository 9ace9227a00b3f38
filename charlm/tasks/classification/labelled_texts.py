"""Labelled texts, to train and test a classifier: found, read and split."""

from __future__ import annotations

import hashlib
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeAlias

from charlm.corpus.sources import find_source
from charlm.corpus.splits import SPLITS, take_out
from charlm.corpus.text import check_encoding
from charlm.corpus.text_files import check_characters, normalised, reading
from charlm.errors import CorpusError, UsageError, counted, shown
from charlm.tasks.classification.config import ClassificationConfig
from charlm.tasks.classification.labelled_files import Found, read_archive, read_folder
from charlm.tasks.classification.labelled_tables import USUAL, Columns, read_texts
from charlm.tasks.tables import TABLE_SUFFIXES, is_table, split_files

MAX_LABELS = 1000  # distinct ones; a column of numbers, names or texts has more
_LONGEST_LABEL = 100  # characters
_SEED = b"charlm: held out\n"
_ARCHIVES = (".tar.gz", ".tgz", ".tar")

_Pairs: TypeAlias = list[tuple[str, str]]  # label and text each


class LabelledText(NamedTuple):
    """A text and its label."""

    text: str  # at least one character; all line ends are ``\n``
    label: int  # an index into ``LabelledTexts.labels``


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelledTexts:
    """Texts with a label each, in three splits. No text of the source is in two splits."""

    name: str  # a short name, for run folders
    source: str  # the path of the texts
    sha256: str
    """The hash of labels and texts, first of train, then valid, then test, before any are held
    out. It does not depend on the kind of source or on file names."""
    labels: tuple[str, ...]  # distinct and sorted; at least two of them occur in train
    splits: Mapping[str, tuple[LabelledText, ...]] = field(repr=False)
    """``train``, ``valid`` and ``test``, in the order of the source. Only train is never empty."""
    notices: tuple[str, ...] = ()  # what the user should know about the reading, one line each


def load_labelled(
    source: str | Path,
    *,
    corpora_dir: str | Path | None = None,
    encoding: str | None = None,
    valid: float = 0.1,
    test: float = 0.1,
    text_column: str | None = None,
    label_column: str | None = None,
    header: str = "auto",
    progress: bool = False,
) -> LabelledTexts:
    r"""Labelled texts, found, read and split.

    Byte order marks at the start of a text are removed and line ends become ``\n``. Empty texts
    are skipped. Labels lose the white space around them.

    If the source has no valid or test split, texts are held out for it: of each label the given
    fraction, those with the lowest SHA-256. The choice does not depend on the machine or on the
    order of the texts, and equal texts mostly stay together.

    Args:
        source: a catalogue name; a folder as ``read_folder`` takes; a ``.tar.gz``, ``.tgz`` or
            ``.tar`` archive of one; a table, which is a ``.csv`` or ``.tsv`` file, a ``.json``,
            ``.jsonl`` or ``.ndjson`` file with an object for each text, also with ``.gz`` at the
            end, or a ``.parquet`` file; or a folder of tables that are named after splits. A
            column ``split`` gives the split of each row of a single table.
        corpora_dir, progress: as in ``find_source``.
        encoding: the name of a Python text encoding; None is strict UTF-8.
        valid: the fraction of the train texts to hold out as the valid split, from 0 to below 1.
        test: the fraction to hold out as the test split, before the valid split.
        text_column, label_column: the columns of a table; None: as in ``read_texts``.
        header: as in ``read_table``.

    Raises:
        CorpusError: the source is not found, cannot be read, is damaged, is not text in that
            encoding, has an unknown format, has no texts to train on, or has invalid labels.
        FetchError: a catalogued corpus could not be downloaded.
        UsageError: the encoding is unknown, a fraction is out of range, columns are described but
            the source is not a table, or the catalogued corpus is for another task.
    """
    if encoding is not None:
        check_encoding(encoding)
    for name, fraction in (("valid", valid), ("test", test)):
        if not 0 <= fraction < 1:
            raise UsageError(f"{name} must be at least 0 and below 1, not {fraction}")
    found = find_source(source, ClassificationConfig.task, corpora_dir, progress=progress)
    path, notices = Path(found.path), list(found.notices)
    columns = Columns(text_column, label_column, header)
    splits = _gather(_read(path, encoding, notices, columns), notices)
    labels = _labels(splits, path, notices)
    sha256 = _digest(splits)
    for name, fraction in (("test", test), ("valid", valid)):
        if name not in splits:
            splits["train"], splits[name] = _hold_out(splits["train"], fraction)
            held_out = counted(len(splits[name]), "text")
            notices.append(f"held out {held_out} for {name}: {path} has no {name} split")
    index = {label: number for number, label in enumerate(labels)}
    return LabelledTexts(
        name=found.name,
        source=str(path),
        sha256=sha256,
        labels=labels,
        splits={
            name: tuple(LabelledText(text, index[label]) for label, text in splits[name])
            for name in SPLITS
        },
        notices=tuple(notices),
    )


def _read(
    path: Path, encoding: str | None, notices: list[str], columns: Columns
) -> Iterator[Found]:
    """The texts of a source, by the reader for its kind."""
    with reading(path):
        mode = path.stat().st_mode
    name = path.name.lower()
    regular, folder = stat.S_ISREG(mode), stat.S_ISDIR(mode)
    if regular and is_table(path):
        return read_texts(path, encoding, notices, columns)
    tables = split_files(path, TABLE_SUFFIXES) if folder else {}
    if "train" in tables:
        return (
            found._replace(split=split)
            for split, paths in tables.items()
            for each in paths
            for found in read_texts(each, encoding, notices, columns)
        )
    if columns != USUAL:
        raise UsageError(
            f"{path} is not a table, so it has no columns",
            f"tables end in {' '.join(TABLE_SUFFIXES)}",
        )
    if folder:
        return read_folder(path, encoding, notices)
    if regular and name.endswith(_ARCHIVES):
        return read_archive(path, encoding, notices)
    raise CorpusError(
        f"{path} does not have a known format of labelled texts",
        f"name a folder, or a file that ends in {' '.join((*_ARCHIVES, *TABLE_SUFFIXES))}",
    )


def _gather(found: Iterable[Found], notices: list[str]) -> dict[str, _Pairs]:
    """Label and text of each text that is not empty, for each split that the source has."""
    splits: dict[str, _Pairs] = defaultdict(list)
    labels: set[str] = set()
    changed = empty = 0
    for split, raw_label, raw, where in found:
        text, label = normalised(raw), raw_label.strip()
        changed += text != raw
        pairs = splits[split or "train"]
        if not text:
            empty += 1
            continue
        if label not in labels:
            if not label:
                raise CorpusError(f"{where}: the label is empty", "label the text, or leave it out")
            if len(label) > _LONGEST_LABEL or not label.isprintable():
                raise CorpusError(
                    f"{where}: {shown(label)} is not a valid label: it is longer than "
                    f"{_LONGEST_LABEL} characters or not printable",
                    "use a short name; is this the column of the labels?",
                )
            labels.add(label)
        if len(labels) > MAX_LABELS:
            raise CorpusError(
                f"{where}: more than {MAX_LABELS:,} distinct labels, such as {shown(label)}",
                "is this the column of the labels?",
            )
        check_characters(text, where)
        pairs.append((label, text))
    if changed:
        notices.append(
            f"changed line ends to \\n or removed a byte order mark in {counted(changed, 'text')}"
        )
    if empty:
        notices.append(f"skipped {counted(empty, 'empty text')}")
    return splits


def _labels(splits: Mapping[str, _Pairs], path: Path, notices: list[str]) -> tuple[str, ...]:
    """The labels of all splits, sorted; a CorpusError if train has fewer than two."""
    everywhere = {label for pairs in splits.values() for label, _ in pairs}
    train = {label for label, _ in splits.get("train", ())}
    if not everywhere:
        raise CorpusError(f"no text in {path}", "name texts with at least two labels")
    if not train:
        raise CorpusError(
            f"no text to train on in {path}: it has only {' and '.join(sorted(splits))}",
            "name texts with a train split, or without splits",
        )
    if len(train) == 1:
        raise CorpusError(
            f"only one label in the train split of {path}: {shown(*train)}",
            "a classifier needs texts with at least two labels",
        )
    unseen = sorted(everywhere - train)
    if unseen:
        some, count = ", ".join(map(shown, unseen[:3])), counted(len(unseen), "label")
        notices.append(f"{count} without a text to train on, such as {some}")
    return tuple(sorted(everywhere))


def _digest(splits: Mapping[str, _Pairs]) -> str:
    digest = hashlib.sha256()
    for name in SPLITS:
        for pair in splits.get(name, ()):
            label, text = (part.encode() for part in pair)
            digest.update(b"%d %d\n" % (len(label), len(text)) + label + text)
    return digest.hexdigest()


def _hold_out(texts: _Pairs, fraction: float) -> tuple[_Pairs, _Pairs]:
    """The remaining texts, and a fraction of each label's texts, but never all of them."""
    of_label: dict[str, list[int]] = defaultdict(list)
    for index, (label, _) in enumerate(texts):
        of_label[label].append(index)
    held_out: list[int] = []
    for indices in of_label.values():
        count = min(int(len(indices) * fraction + 0.5), len(indices) - 1)
        indices.sort(key=lambda index: hashlib.sha256(_SEED + texts[index][1].encode()).digest())
        held_out += indices[:count]
    return take_out(texts, held_out)
