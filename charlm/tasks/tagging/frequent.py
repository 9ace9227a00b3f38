"""The simplest tagger: each word gets the tag that it has most often in the training sentences."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from charlm.corpus.words import normalise_word
from charlm.tasks.tagging.spans import OUTSIDE
from charlm.tasks.tagging.tagged_sentences import TaggedSentence


def frequent_tags(
    train: Sequence[TaggedSentence], sentences: Sequence[TaggedSentence]
) -> list[list[str]]:
    """A tag for each word of some sentences; ``O`` for a word that the training lacks.

    Words are compared in normal form. Of equally frequent tags, the first one counts.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for words, tags in train:
        for word, tag in zip(words, tags, strict=True):
            counts[normalise_word(word)][tag] += 1
    best = {word: tags.most_common(1)[0][0] for word, tags in counts.items()}
    return [[best.get(normalise_word(word), OUTSIDE) for word in each.words] for each in sentences]
