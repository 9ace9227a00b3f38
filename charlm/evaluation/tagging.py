"""How well a tagger finds the spans of sentences."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from charlm.config import TaggedSentencesSection
from charlm.corpus.slots import TaggerVocabulary, parts_of
from charlm.corpus.tagged_sentences import TaggedSentence
from charlm.errors import Stopped
from charlm.models.recurrent_model import evaluating
from charlm.models.tagger import Tagger, WordInputs
from charlm.sequences import Sequences, length_batches

ROWS = 256  # sentences that are read side by side


class Sentences:
    """Sentences as a tagger reads them.

    Args:
        sentences: as words, none of them without one.
        vocabulary: of the tagger.
        config: what is seen of a word.
        device: where batches of them lie.
    """

    def __init__(
        self,
        sentences: Sequence[Sequence[str]],
        vocabulary: TaggerVocabulary,
        config: TaggedSentencesSection,
        device: torch.device,
    ) -> None:
        numbers: dict[str, int] = {}  # of the distinct words, as they are written
        placed = [
            torch.tensor([numbers.setdefault(word, len(numbers)) for word in words])
            for words in sentences
        ]
        self._words = torch.from_numpy(vocabulary.encode_words(numbers)).to(device)  # (distinct,)
        parts = (parts_of(word, config) or [config.buckets] for word in numbers)
        self._parts = Sequences([torch.tensor(each) for each in parts], device)
        self._places, self._buckets, self._device = (
            Sequences(placed, device),
            config.buckets,
            device,
        )
        self.lengths = self._places.lengths

    def __len__(self) -> int:
        return len(self.lengths)

    def inputs(self, rows: torch.Tensor) -> WordInputs:
        """What is read of some of them.

        Args:
            rows: (B,) int64, their numbers, on the CPU.
        """
        distinct, places = torch.unique(self._places.padded(rows), return_inverse=True)
        parts = self._parts.padded(distinct.cpu(), padding=self._buckets).T  # (U, M)
        lengths = self.lengths[rows].to(self._device)
        return WordInputs(self._words[distinct][places], lengths, parts, places)


@torch.no_grad()
def predict_tags(
    model: Tagger,
    sentences: Sentences,
    tags: Sequence[str],
    *,
    rows: int = ROWS,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[list[str]]:
    """The most probable tag of each word of each sentence.

    Args:
        model: in any mode; it is in the same mode afterwards.
        tags: by their ids.
        rows: sentences that are read side by side.
        should_stop: asked before each of these.

    Raises:
        Stopped: ``should_stop`` said so; the model is as it was.
    """
    found: dict[int, list[str]] = {}
    with evaluating(model):
        for batch in length_batches(sentences.lengths, rows):
            if should_stop():
                raise Stopped
            best = model(sentences.inputs(batch)).argmax(2).T.tolist()  # (B, T)
            for row, ids in zip(batch.tolist(), best, strict=True):
                found[row] = [tags[index] for index in ids[: int(sentences.lengths[row])]]
    return [found[row] for row in range(len(sentences))]


def words_of(sentences: Sequence[TaggedSentence]) -> list[tuple[str, ...]]:
    """The words of tagged sentences."""
    return [sentence.words for sentence in sentences]


def tags_of(sentences: Sequence[TaggedSentence]) -> list[tuple[str, ...]]:
    """The tags of tagged sentences."""
    return [sentence.tags for sentence in sentences]
