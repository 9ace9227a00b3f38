"""Starting from another language model: its network, its weights, and what the user is told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from charlm.corpus import Vocabulary
from charlm.task import Plan
from charlm.tasks.from_run import network_settings, open_source
from charlm.tasks.language_model.config import LanguageModelSection
from charlm.tasks.language_model.corpus import Corpus

if TYPE_CHECKING:
    from charlm.runs import Run
    from charlm.tasks.language_model.model import LanguageModel

SHOWN = 20  # characters of a list


def network(run: Run) -> dict[str, Any]:
    """The settings of a language model's network, which those that start from it share."""
    from charlm.models.build import embedding_size

    model = run.config.model
    learned = model.embedding == "learned"
    size = embedding_size(model) if learned else model.embedding_size
    own = {key: getattr(model, key) for key in ("embedding", "ngram_order", "ngram_rows")}
    return {**network_settings(run), **own, "embedding_size": size}


def take_weights(
    model: LanguageModel, config: LanguageModelSection, vocabulary: Vocabulary
) -> None:
    """Give a model the trained weights of the language model that it starts from.

    Characters that both know keep their weights. The others keep their new ones.
    """
    from charlm.runs.tensors import without_numbers
    from charlm.tasks.language_model.model import build_language_model

    source = open_source(config)
    ids = _ids_in(source.vocabulary, vocabulary)
    with without_numbers():
        larger = build_language_model(config, len(vocabulary) + 1)
    model.take_weights(source.load_model(), ids, larger)


def taken_over(run: Run, corpus: Corpus) -> Iterator[str]:
    """What a model for a corpus takes over from another language model, one line each."""
    size, new = len(corpus.vocabulary.characters), _new_characters(run, corpus)
    yield (
        f"starts with {run.folder} (cleaning {corpus.cleaning}): it knows {size - len(new):,} of "
        f"the {size:,} characters of this text"
    )
    if new:
        yield f"new characters, with new weights: {_shortened(new)}"
    dropped = corpus.vocabulary.unknown_characters("".join(run.vocabulary.characters))
    if dropped:
        yield f"dropped, because this text lacks them: {_shortened(dropped)}"
    if run.config.model.ngram_order > 1:
        from charlm.tasks.language_model.model import same_ids

        if not same_ids(_ids_in(run.vocabulary, corpus.vocabulary)):
            yield "the n-grams start at zero, because the characters have other ids in this text"


def idle_characters(plan: Plan, run: Run) -> list[str]:
    """A warning where the weights of new characters cannot learn."""
    model = plan.config.model
    if model.freeze and model.embedding == "one-hot" and _new_characters(run, plan.corpus):
        return ["the frozen layers read one-hot characters: new characters keep random weights"]
    return []


def _ids_in(source: Vocabulary, vocabulary: Vocabulary) -> list[int | None]:
    """The id in ``source`` of each token of a vocabulary; None: it lacks the character."""
    there = {character: id for id, character in enumerate(source.characters, 1)}
    return [0, *(there.get(character) for character in vocabulary.characters)]


def _new_characters(run: Run, corpus: Corpus) -> tuple[str, ...]:
    new: tuple[str, ...]
    new = run.vocabulary.unknown_characters("".join(corpus.vocabulary.characters))
    return new


def _shortened(characters: Sequence[str]) -> str:
    more = len(characters) - SHOWN
    words = " ".join(map(repr, characters[:SHOWN]))
    return words + (f" and {more:,} more" if more > 0 else "")
