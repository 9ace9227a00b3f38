"""Labelled texts: find them, read them, and hold some out, to train and to test a classifier."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from charlm.corpus.catalogue import catalogue
from charlm.corpus.corpus import SPLITS, find_catalogued
from charlm.corpus.labelled_files import Found, read_archive, read_folder
from charlm.corpus.labelled_tables import TABLE_SUFFIXES, read_table
from charlm.corpus.text import check_encoding, normalised, reading, short_name
from charlm.errors import CorpusError, UsageError, did_you_mean, shown

MAX_LABELS = 1000
"""More distinct labels than this are numbers, names or texts, and no classes."""

_LONGEST_LABEL = 100  # characters
_SEED = b"charlm: held out\n"
_ARCHIVES = (".tar.gz", ".tgz", ".tar")
_TASK = "classify"


class LabelledText(NamedTuple):
    """A text and its class."""

    text: str
    r"""As in its source, with ``\n`` as its only line end; at least one character."""
    label: int
    """An index into ``LabelledTexts.labels``."""


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelledTexts:
    """Texts with a label each, in three splits; no text of a source is in two of them."""

    name: str
    """A short name, for run folders."""
    source: str
    """The path that the texts were read from."""
    sha256: str
    """Of labels and texts alone, train's before valid's before test's as the source has them: the
    same for any kind of source, however its files are called, and whatever is held out."""
    labels: tuple[str, ...]
    """Distinct, sorted; at least two of them in train."""
    splits: Mapping[str, tuple[LabelledText, ...]] = field(repr=False)
    """``train``, ``valid`` and ``test``, in the order of the source; the last two maybe empty."""
    notices: tuple[str, ...] = ()
    """What the user should know about how the texts were read, one line each."""


def load_labelled(
    source: str,
    *,
    corpora_dir: Path | None = None,
    encoding: str | None = None,
    valid: float = 0.1,
    test: float = 0.1,
    text_column: str | None = None,
    label_column: str | None = None,
) -> LabelledTexts:
    r"""Find and read labelled texts.

    Texts stay as they are, but for byte order marks in front and line ends, which become ``\n``;
    an empty text is passed over. Labels lose the white space around them.

    What is held out is drawn by the SHA-256 of the text, from each label in proportion: the same
    texts on every machine, in whatever order they come, and equal texts mostly together.

    Args:
        source: a name of the catalogue; a folder ``{train,valid,test}/LABEL/*.txt`` or
            ``LABEL/*.txt``, or one with exactly one such folder in it; a ``.tar.gz``, ``.tgz``
            or ``.tar`` archive of one; a ``.csv`` or ``.tsv`` file with a header, or a
            ``.jsonl`` or ``.ndjson`` file with an object on each line, or one of them with
            ``.gz`` after it. A column ``split`` tells the split of each row.
        corpora_dir: a folder to look in first and download to.
        encoding: the name of a Python text encoding; None is strict UTF-8.
        valid: the fraction of the train texts to hold out, from 0 to below 1, where the source
            has no valid split; what test takes of them is taken first.
        test: the same for the test split.
        text_column: the column of the texts; None is the first of text, review, sentence,
            content, comment that is there, in any case.
        label_column: the column of the labels; None is the first of label, sentiment, class,
            category, target, stars.

    Raises:
        CorpusError: not found, unreadable, damaged, not text in that encoding, of no known
            kind, without texts to train on, or with labels that are none.
        FetchError: a catalogued corpus could not be downloaded.
        UsageError: no such encoding, a fraction out of range, a column of what is no table, or
            the catalogue's entry is for another task.
    """
    if encoding is not None:
        check_encoding(encoding)
    for name, fraction in (("valid", valid), ("test", test)):
        if not 0 <= fraction < 1:
            raise UsageError(f"{name} must be at least 0 and below 1, not {fraction}")
    path, found = _find(source, corpora_dir)
    notices = list(found)
    columns = (text_column, label_column)
    gathered = _gather(_texts(path, encoding, notices, columns), notices)
    labels = _labels(gathered, path, notices)
    sha256 = _digest(gathered)
    for name, fraction in (("test", test), ("valid", valid)):
        if name not in gathered:
            gathered["train"], gathered[name] = _hold_out(gathered["train"], fraction)
            held = len(gathered[name])
            notices.append(f"held out {held:,} text(s) for {name}: {path} has no {name} split")
    index = {label: number for number, label in enumerate(labels)}
    return LabelledTexts(
        name=source if source in catalogue() else short_name(path),
        source=str(path),
        sha256=sha256,
        labels=labels,
        splits={
            name: tuple(LabelledText(text, index[label]) for label, text in gathered[name])
            for name in SPLITS
        },
        notices=tuple(notices),
    )


def _find(source: str, corpora_dir: Path | None) -> tuple[Path, tuple[str, ...]]:
    """The path of ``source``, and a notice if it was downloaded."""
    entry = catalogue().get(source)
    if entry is not None:
        if entry.task != _TASK:
            raise UsageError(f"{entry.name} has no labelled texts", f"it is for {entry.command}")
        return find_catalogued(entry, corpora_dir)
    if Path(source).name == source and not os.path.exists(source):
        names = [name for name, known in catalogue().items() if known.task == _TASK]
        raise CorpusError(
            f"no labelled texts, file or folder is called {shown(source)}",
            did_you_mean(source, names),
        )
    return Path(source), ()


def _texts(
    path: Path,
    encoding: str | None,
    notices: list[str],
    columns: tuple[str | None, str | None],
) -> Iterator[Found]:
    """What the reader for this kind of source finds."""
    with reading(path):
        mode = path.stat().st_mode
    name = path.name.lower()
    regular = stat.S_ISREG(mode)
    if regular and name.removesuffix(".gz").endswith(TABLE_SUFFIXES):
        text_column, label_column = columns
        return read_table(
            path, encoding, notices, text_column=text_column, label_column=label_column
        )
    if columns != (None, None):
        raise UsageError(
            f"{path} is no table, so it has no columns", f"tables end in {' '.join(TABLE_SUFFIXES)}"
        )
    if stat.S_ISDIR(mode):
        return read_folder(path, encoding, notices)
    if regular and name.endswith(_ARCHIVES):
        return read_archive(path, encoding, notices)
    raise CorpusError(
        f"{path} is no labelled texts of a known kind",
        f"name a folder, or a file that ends in {' '.join((*_ARCHIVES, *TABLE_SUFFIXES))}",
    )


def _gather(found: Iterable[Found], notices: list[str]) -> dict[str, list[tuple[str, str]]]:
    """Label and text of all that is not empty, by split; only the splits that the source has."""
    gathered: dict[str, list[tuple[str, str]]] = defaultdict(list)
    labels: set[str] = set()
    changed = empty = 0
    for split, raw_label, raw, where in found:
        text, label = normalised(raw), raw_label.strip()
        changed += text != raw
        part = gathered[split or "train"]
        if not text:
            empty += 1
            continue
        if label not in labels:
            _check_label(label, where)
            labels.add(label)
        if len(labels) > MAX_LABELS:
            raise CorpusError(
                f"{where}: more than {MAX_LABELS:,} distinct labels, such as {shown(label)}",
                "classes are few: is this the column of the labels?",
            )
        _check_text(text, where)
        part.append((label, text))
    if changed:
        notices.append(f"line ends made \\n, or a byte order mark dropped, in {changed:,} text(s)")
    if empty:
        notices.append(f"passed over {empty:,} empty text(s)")
    return gathered


def _check_label(label: str, where: str) -> None:
    if not label:
        raise CorpusError(f"{where}: the label is empty", "label the text, or leave it out")
    if len(label) > _LONGEST_LABEL or not label.isprintable():
        raise CorpusError(
            f"{where}: {shown(label)} is no label: it is longer than {_LONGEST_LABEL} characters, "
            "or not printable",
            "give it a short name: is this the column of the labels?",
        )


def _check_text(text: str, where: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:  # JSON, UTF-7 and the like can spell lone surrogates
        raise CorpusError(
            f"{where} has U+{ord(text[error.start]):04X}, half a character, "
            f"at character offset {error.start:,} of the text",
            "repair the text, or name another encoding",
        ) from error


def _labels(
    gathered: Mapping[str, list[tuple[str, str]]], path: Path, notices: list[str]
) -> tuple[str, ...]:
    """All labels, sorted.

    Raises:
        CorpusError: there is nothing to train on, or only one label in it.
    """
    everywhere = {label for texts in gathered.values() for label, _ in texts}
    train = {label for label, _ in gathered.get("train", ())}
    if not everywhere:
        raise CorpusError(f"no text in {path}", "name labelled texts of at least two labels")
    if not train:
        raise CorpusError(
            f"no text to train on in {path}: it has only {' and '.join(sorted(gathered))}",
            "name texts with a train split, or without splits",
        )
    if len(train) == 1:
        raise CorpusError(
            f"only one label in the train split of {path}: {shown(*train)}",
            "a classifier needs texts of at least two labels",
        )
    unseen = sorted(everywhere - train)
    if unseen:
        some = ", ".join(map(shown, unseen[:3]))
        notices.append(f"{len(unseen):,} label(s) without a text to train on, such as {some}")
    return tuple(sorted(everywhere))


def _digest(gathered: Mapping[str, list[tuple[str, str]]]) -> str:
    digest = hashlib.sha256()
    for name in SPLITS:
        for label, text in gathered.get(name, ()):
            name_of, content = label.encode(), text.encode()
            digest.update(b"%d %d\n" % (len(name_of), len(content)))
            digest.update(name_of + content)
    return digest.hexdigest()


def _hold_out(
    texts: list[tuple[str, str]], fraction: float
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """What stays and what is held out, both in order: of each label its fraction, never all."""
    of_label: dict[str, list[int]] = defaultdict(list)
    for number, (label, _) in enumerate(texts):
        of_label[label].append(number)
    held: set[int] = set()
    for numbers in of_label.values():
        count = min(int(len(numbers) * fraction + 0.5), len(numbers) - 1)
        numbers.sort(key=lambda number: hashlib.sha256(_SEED + texts[number][1].encode()).digest())
        held.update(numbers[:count])
    stays = [pair for number, pair in enumerate(texts) if number not in held]
    return stays, [texts[number] for number in sorted(held)]
