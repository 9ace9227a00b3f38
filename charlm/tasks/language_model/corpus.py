"""A corpus ready for training: a cleaned text as token ids, in three splits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charlm.corpus.cleaning import check_cleaning
from charlm.corpus.sources import find_source
from charlm.corpus.splits import DEFAULT_SPLIT, SPLITS, byte_split, split_sizes
from charlm.corpus.text import TextReader, source_words
from charlm.corpus.token_ids import encode_text, renumbered
from charlm.corpus.vocabulary import Vocabulary
from charlm.errors import CorpusError, UsageError, counted, did_you_mean, shown
from charlm.tasks.language_model.config import LanguageModelConfig
from charlm.tasks.language_model.lines import BOUNDARY, arrange_lines, line_hashes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from charlm.tasks.language_model.lines import Ids


@dataclass(frozen=True)
class Characters:
    """The characters of ids. A slice of them is a string, so that the whole need not be one."""

    vocabulary: Vocabulary
    ids: Ids  # (N,), none of them unknown

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, part: slice) -> str:
        return self.vocabulary.decode(self.ids[part])


@dataclass(frozen=True, eq=False, kw_only=True)
class Corpus:
    """A text as token ids. No character is in two splits.

    With ``lines``, each split consists of whole lines, in shuffled order, each with its line end.
    """

    name: str  # a short name, for run folders
    source: str  # the path of the text, or ``-`` for standard input
    cleaning: str  # the name of the cleaning
    sha256: str  # the hash of the raw text, as in ``SourceText``
    vocabulary: Vocabulary
    ids: Ids = field(repr=False)  # (N,), read-only, of a small integer type
    split_sizes: tuple[int, int, int]  # characters in train, valid and test; they sum to N
    lines: bool = False  # whether each line is an example
    notices: tuple[str, ...] = ()  # what the user should know about the reading, one line each
    warnings: tuple[str, ...] = ()  # what may be a mistake, one line each
    raw: bytes | None = field(default=None, repr=False)  # standard input; None for other sources
    exact: tuple[Vocabulary, Ids] | None = field(default=None, repr=False)
    """If ``vocabulary`` lacks characters: another that has them, and the ids of that one, (N,)."""

    def __repr__(self) -> str:
        sizes = "/".join(f"{size:,}" for size in self.split_sizes)
        return f"<Corpus {shown(self.name)}: {sizes} characters, {len(self.vocabulary):,} distinct>"

    @property
    def characters(self) -> int:
        """N, the number of characters."""
        return len(self.ids)

    @property
    def kept(self) -> str:
        """The N characters, known or not, as one string, which is made from the ids."""
        return "".join(map(self.text, SPLITS))

    def describe(self) -> dict[str, Any]:
        """The facts that identify the corpus, for run.json."""
        return {
            "name": self.name,
            "source": self.source,
            "sha256": self.sha256,
            "cleaning": self.cleaning,
            "characters": self.characters,
            "split": list(self.split_sizes),
        }

    def split(self, name: str) -> Ids:
        """The ids of a split, (length,), as a view of ``ids``; a UsageError for another name."""
        return self.ids[self._part(name)]

    def read(self, split: str) -> tuple[Ids, Characters]:
        """The ids and the characters of a split, of which all but the first can be predicted.

        With ``lines``, a line end comes before the first line, as before all others.
        """
        ids = self._to_read(self.vocabulary, self.ids, split)
        if self.exact is None:
            return ids, Characters(self.vocabulary, ids)
        return ids, Characters(self.exact[0], self._to_read(*self.exact, split))

    def _to_read(self, vocabulary: Vocabulary, ids: Ids, split: str) -> Ids:
        part = ids[self._part(split)]
        if not self.lines:
            return part
        import numpy as np  # here, so that the commands' help stays quick

        return np.concatenate([vocabulary.encode(BOUNDARY).astype(part.dtype), part])

    def lines_of(self, split: str) -> list[str]:
        """The lines of a split without their line ends."""
        return self.text(split).split(BOUNDARY)[:-1]

    def count_lines(self, *splits: str) -> int:
        """The number of lines of some splits."""
        end = self.vocabulary.encode(BOUNDARY)[0]
        return sum(int((self.split(split) == end).sum()) for split in splits)

    def line_hashes(self, *splits: str) -> NDArray[np.uint64]:
        """A hash of each line of some splits; see `charlm.tasks.language_model.lines`."""
        import numpy as np

        vocabulary, ids = self.exact or (self.vocabulary, self.ids)
        end, points = int(vocabulary.encode(BOUNDARY)[0]), vocabulary.code_points
        parts = [line_hashes(ids[self._part(split)], end, points) for split in splits]
        return np.concatenate(parts)

    def text(self, split: str, most: int | None = None) -> str:
        """The characters of a split, known or not, or the first ``most``; errors as in `split`."""
        vocabulary, ids = self.exact or (self.vocabulary, self.ids)
        return vocabulary.decode(ids[self._part(split)][:most])

    def _part(self, split: str) -> slice:
        if split not in SPLITS:
            raise UsageError(f"unknown split {split!r}", did_you_mean(split, SPLITS))
        index = SPLITS.index(split)
        start = sum(self.split_sizes[:index])
        return slice(start, start + self.split_sizes[index])


def load_corpus(
    source: str | Path,
    *,
    corpora_dir: str | Path | None = None,
    cleaning: str | None = None,
    encoding: str | None = None,
    lines: bool = False,
    distinct: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    max_chars: int | None = None,
    vocabulary_from: str = "whole",
    min_count: int = 1,
    split: Sequence[float] | None = None,
    vocabulary: Vocabulary | None = None,
    progress: bool = False,
) -> Corpus:
    """Find, read, clean, encode and split a text.

    Args:
        source, corpora_dir, progress: as in ``find_source``.
        cleaning: a name in ``CLEANINGS``; None is the catalogue's cleaning, or ``none``.
        encoding, include, exclude: as in ``read_text``.
        lines: take each line as an example; see `arrange_lines`, also for ``distinct``.
        max_chars: the number of characters of the cleaned text to keep; None keeps all.
        vocabulary_from: ``whole`` takes the vocabulary from the whole cleaned text, so that ids
            do not depend on ``max_chars``, as d2l 0.17 does; ``kept`` takes it from the kept
            characters, as d2l-zh v1 does.
        min_count: leave characters out of the vocabulary that occur less often there.
        split: as in ``split_sizes``, of characters or of lines; None is the catalogue's split, or
            ``DEFAULT_SPLIT``. Counts are scaled if ``max_chars`` shortened the text; the
            catalogue's counts always are.
        vocabulary: the vocabulary to use, to evaluate a text with a trained model.

    Raises:
        CorpusError: the text is not found, cannot be read, or is empty after cleaning.
        FetchError: a catalogued text could not be downloaded.
        UsageError: an argument is invalid, or the catalogued corpus is for another task.
    """
    if max_chars is not None and max_chars < 1:
        raise UsageError(f"max_chars must be at least 1, not {max_chars}")
    if vocabulary_from not in ("whole", "kept"):
        hint = did_you_mean(vocabulary_from, ("whole", "kept"))
        raise UsageError(f"unknown vocabulary_from {vocabulary_from!r}", hint)
    found = find_source(
        source, LanguageModelConfig.task, corpora_dir, texts=True, progress=progress
    )
    entry = found.entry
    if cleaning is None:
        cleaning = (entry and entry.cleaning) or "none"
    check_cleaning(cleaning)
    reader = TextReader(found.path, encoding=encoding, include=include, exclude=exclude)
    read = encode_text(reader, cleaning, lines=lines)
    own, whole = read.vocabulary, read.ids
    if not len(whole):
        raise _nothing_left(source_words(found.path), cleaning, lines, vocabulary is not None)
    parts: Sequence[float] = (entry and entry.split) or DEFAULT_SPLIT if split is None else split
    notices = [*found.notices, *reader.notices, *read.notices]
    if lines:
        if read.blank_lines:
            notices.append(f"left out {counted(read.blank_lines, 'blank line')}")
        whole, kept, sizes, about = arrange_lines(
            whole,
            int(own.encode(BOUNDARY)[0]),
            distinct=distinct,
            max_chars=max_chars,
            split=parts,
            scale_counts=split is None,
        )
        notices += about
    else:
        if split is None and entry and entry.split and entry.split_in_bytes:
            parts = byte_split(own.decode_pieces(whole), entry.split)
        kept = whole if max_chars is None else whole[:max_chars]
        scale_counts = split is None or len(kept) < len(whole)
        sizes = split_sizes(len(kept), parts, scale_counts=scale_counts)
    if vocabulary is None:
        counted_ids = whole if vocabulary_from == "whole" else kept
        vocabulary = own
        if min_count > 1 or counted_ids is not read.ids:
            vocabulary = own.of_ids(counted_ids, min_count)
        if len(vocabulary) == 1:
            raise CorpusError(
                f"no character of {source_words(found.path)} occurs {min_count:,} times",
                "set a smaller corpus.min_count",
            )
    ids, exact = kept, None
    if vocabulary != own:
        ids = renumbered(kept, vocabulary.ids_from(own))
        exact = None if ids.all() else (own, kept)
    ids = ids.view()  # of an array that is writable, which torch asks for
    ids.setflags(write=False)
    return Corpus(
        name=found.name,
        source=str(found.path),
        cleaning=cleaning,
        sha256=reader.facts.sha256,
        vocabulary=vocabulary,
        ids=ids,
        exact=exact,
        split_sizes=sizes,
        lines=lines,
        notices=(*notices, *_count_notices(len(whole), ids, vocabulary, exact, max_chars)),
        warnings=reader.warnings,
        raw=reader.raw,
    )


def _nothing_left(where: str, cleaning: str, lines: bool, trained: bool) -> CorpusError:
    """The error for a text that is empty after its cleaning; ``trained``: with a model's one."""
    if lines:
        words = f"every line of {where} is blank after the cleaning {cleaning!r}"
        return CorpusError(words, "name another text")
    hint = "the model was trained on a text with this cleaning; score a text like it"
    return CorpusError(
        f"the cleaning {cleaning!r} leaves nothing of {where}",
        hint if trained else "try --cleaning none",
    )


def _count_notices(
    length: int, ids: Ids, vocabulary: Vocabulary, exact: object, max_chars: int | None
) -> Iterator[str]:
    import numpy as np

    if max_chars is not None and max_chars > length:
        yield f"the text has {length:,} characters, fewer than {max_chars:,}: all kept"
    if exact is not None:
        unknown = len(ids) - int(np.count_nonzero(ids))
        yield f"{unknown:,} of {len(ids):,} characters are not in the vocabulary"
    elif len(ids) > 1 and ids[0] == ids[1] and ids.min() == ids.max():
        yield f"the text repeats {vocabulary.decode(ids[:1])!r} and has no other character"
