"""Texts that continue a prefix, and where such a text ends."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from charlm.corpus import Vocabulary
from charlm.errors import UsageError
from charlm.tasks.language_model.decoding import SAMPLING, Decoding, generate_blocks
from charlm.tasks.language_model.lines import BOUNDARY
from charlm.tasks.language_model.model import LanguageModel

if TYPE_CHECKING:
    from charlm.tasks.language_model.mixture import Mixture

MOST_MORE = 200  # characters that a text may go on for to end its sentence

_CLOSING = re.escape("\"'”’»›)]」』）】》〉")
_WIDE = "。！？｡"  # marks that no space follows
_MARKS = f".!?…{_WIDE}"
_LONGEST_END = 16  # characters that are looked at: a mark, closing quotes, white space
_END_OF_WORD = re.compile(r"\s\Z")
_END_OF_SENTENCE = re.compile(
    rf"[{_MARKS}][{_CLOSING}]*\s+\Z|[{_WIDE}…][{_CLOSING}]*[^{_MARKS}{_CLOSING}]\Z|\n\s*\Z"
)


@dataclass(frozen=True, kw_only=True)
class Ending:
    """Where a text ends.

    It ends before the first of ``stops``, which is left out. Else it has ``length`` characters and
    goes on to the next end of a sentence or line. If none comes within `MOST_MORE` characters, or
    if the vocabulary has neither marks nor line ends, it ends at the first end of a word after
    ``length`` characters; without white space, after exactly ``length`` characters. White space at
    the end is left out.

    Raises:
        UsageError: the length is less than 1, or a stop is empty.
    """

    length: int  # characters after the prefix
    stops: tuple[str, ...] = ()  # looked for after the prefix only
    exact: bool = False  # end after exactly ``length`` characters, unless a stop comes before

    def __post_init__(self) -> None:
        if self.length < 1:
            raise UsageError(f"the length is {self.length}; it must be 1 or more")
        if "" in self.stops:
            raise UsageError("--stop is empty", "give it at least one character")

    def of_a_line(self) -> Ending:
        """The same for a model that was trained on lines: it ends with the line, or is cut."""
        return replace(self, stops=(*self.stops, BOUNDARY), exact=True)

    @property
    def most(self) -> int:
        """The largest number of characters that a text can take."""
        return self.length + (0 if self.exact else MOST_MORE)


class Continuation:
    """A text that grows until it ends."""

    def __init__(self, ending: Ending, vocabulary: Vocabulary) -> None:
        self.ending = ending
        self.end = None if ending.exact else _end_pattern(vocabulary)
        self.ended = False
        self._count = 0
        self._held = ""  # characters that may yet be left out
        self._recent = ""
        self._word_end: int | None = None  # in `_held`: the first one after `length` characters

    def add(self, characters: str) -> str:
        """Take the next characters, and return what is now sure to belong to the text."""
        # Without stops nothing can end the text before it has its length.
        some = max(0, self.ending.length - 1 - self._count) if not self.ending.stops else 0
        shown = self._add_before_length(characters[:some]) if some else ""
        for character in characters[some:]:
            if self.ended:
                break
            shown += self._add_one(character)
        return shown

    def _add_before_length(self, characters: str) -> str:
        self._count += len(characters)
        self._held += characters
        self._recent = (self._recent + characters)[-_LONGEST_END:]
        return self._show(len(self._held if self.end is None else self._held.rstrip()))

    def _add_one(self, character: str) -> str:
        self._count += 1
        self._held += character
        for stop in self.ending.stops:
            if self._held.endswith(stop):
                return self._end_at(len(self._held) - len(stop))
        over = self._count - self.ending.length
        if self.end is None:
            return self._end_at(len(self._held)) if over == 0 else self._show(len(self._held))
        self._recent = (self._recent + character)[-_LONGEST_END:]
        if over >= 0 and self.end.search(self._recent):
            return self._end_at(len(self._held) - (not character.isspace()))
        sure = len(self._held.rstrip())
        if over >= 0 and character.isspace() and self._word_end is None:
            self._word_end = sure
        if self._word_end is not None:
            sure = self._word_end
        return self._end_at(sure) if self._count == self.ending.most else self._show(sure)

    def _show(self, sure: int) -> str:
        """The first ``sure`` held characters, without what may be the start of a stop."""
        for stop in self.ending.stops:
            starts = (n for n in range(len(stop) - 1, 0, -1) if self._held.endswith(stop[:n]))
            sure = min(sure, len(self._held) - next(starts, 0))
        shown, self._held = self._held[:sure], self._held[sure:]
        if self._word_end is not None:
            self._word_end -= sure
        return shown

    def _end_at(self, size: int) -> str:
        """The first ``size`` held characters, with which the text ends."""
        self.ended = True
        return self._held[:size] if self.end is None else self._held[:size].rstrip()


def _end_pattern(vocabulary: Vocabulary) -> re.Pattern[str] | None:
    """The pattern that ends a text of these characters; None: only its length ends it."""
    characters = set(vocabulary.characters)
    spaces = any(map(str.isspace, characters))
    if "\n" in characters or characters & {*_WIDE} or (spaces and characters & {*_MARKS}):
        return _END_OF_SENTENCE
    return _END_OF_WORD if spaces else None


def continue_text(
    model: LanguageModel,
    vocabulary: Vocabulary,
    prefix: Sequence[int],
    *,
    ending: Ending,
    decoding: Decoding = SAMPLING,
    num_samples: int = 1,
    seed: int = 0,
    mixture: Mixture | None = None,
) -> Iterator[list[str]]:
    """Continue a prefix as text, until every sample has ended.

    The samples are those of `generate` with the same arguments, up to where each of them ends.

    Args:
        prefix: token ids, at least one.
        num_samples: B, the number of continuations.
        mixture: as in `generate_blocks`.

    Yields:
        B strings: what is added to each text, after one or more steps. Together they are the texts
        after the prefix.

    Raises:
        UsageError, RunError: as in `generate`.
    """
    texts = [Continuation(ending, vocabulary) for _ in range(num_samples)]
    blocks = generate_blocks(
        model,
        prefix,
        length=ending.most,
        decoding=decoding,
        num_samples=num_samples,
        seed=seed,
        mixture=mixture,
    )
    for block in blocks:
        rows = block.T.numpy()  # (B, T)
        yield [text.add(vocabulary.decode(ids)) for text, ids in zip(texts, rows, strict=True)]
        if all(text.ended for text in texts):
            return
