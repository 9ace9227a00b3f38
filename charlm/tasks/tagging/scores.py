"""The tags that a tagger predicts for sentences."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from charlm.tasks.sequences import ROWS, Sequences, compute_in_batches
from charlm.tasks.tagging.config import TaggedSentencesSection
from charlm.tasks.tagging.model import Tagger, WordInputs
from charlm.tasks.tagging.slots import TaggerVocabulary, parts_of
from charlm.tasks.tagging.tagged_sentences import TaggedSentence


class Sentences:
    """Sentences as inputs of a tagger, from the words of each sentence, at least one."""

    def __init__(
        self,
        sentences: Sequence[Sequence[str]],
        vocabulary: TaggerVocabulary,
        config: TaggedSentencesSection,
        device: torch.device,
    ) -> None:
        numbers: dict[str, int] = {}  # an index for each distinct spelling
        placed = [
            torch.tensor([numbers.setdefault(word, len(numbers)) for word in words])
            for words in sentences
        ]
        self._words = torch.from_numpy(vocabulary.encode_words(numbers)).to(device)  # (distinct,)
        parts = (parts_of(word, config) or [config.buckets] for word in numbers)
        self._parts = Sequences([torch.tensor(each) for each in parts], device)
        self._places = Sequences(placed, device)
        self._buckets, self._device = config.buckets, device
        self.lengths = self._places.lengths

    def __len__(self) -> int:
        return len(self.lengths)

    def inputs(self, rows: torch.Tensor) -> WordInputs:
        """The inputs for some of the sentences, given their (B,) int64 indices on the CPU."""
        distinct, places = torch.unique(self._places.padded(rows), return_inverse=True)
        parts = self._parts.padded(distinct.cpu(), padding=self._buckets).T  # (U, M)
        lengths = self.lengths[rows].to(self._device)
        return WordInputs(self._words[distinct][places], lengths, parts, places)


def predict_tags(
    model: Tagger,
    sentences: Sentences,
    tags: Sequence[str],
    *,
    chosen: torch.Tensor | None = None,
    rows: int = ROWS,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[list[str]]:
    """The most probable of ``tags`` for each word, of all sentences or of the ``chosen`` indices.

    Other arguments and errors are those of `compute_in_batches`.
    """
    chosen = torch.arange(len(sentences)) if chosen is None else chosen
    every = sentences.lengths[chosen]

    def predict(batch: torch.Tensor) -> list[list[str]]:
        best = model(sentences.inputs(chosen[batch])).argmax(2).T.tolist()  # (B, T)
        lengths = every[batch].tolist()
        return [[tags[i] for i in ids[:n]] for ids, n in zip(best, lengths, strict=True)]

    return compute_in_batches(model, every, predict, rows=rows, should_stop=should_stop)


def words_of(sentences: Sequence[TaggedSentence]) -> list[tuple[str, ...]]:
    """The words of tagged sentences."""
    return [sentence.words for sentence in sentences]


def tags_of(sentences: Sequence[TaggedSentence]) -> list[tuple[str, ...]]:
    """The tags of tagged sentences."""
    return [sentence.tags for sentence in sentences]
