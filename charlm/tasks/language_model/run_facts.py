"""What a report of a run says about its text, and about the samples of its model."""

from __future__ import annotations

from collections.abc import Sequence

from charlm.corpus import SPLITS
from charlm.runs import Run
from charlm.task import DataFacts, Table
from charlm.tasks.language_model.conclusion import Prepared, prepare_conclusion
from charlm.tasks.language_model.copies import copies_report
from charlm.tasks.language_model.corpus import Corpus
from charlm.tasks.language_model.repeats import Repeats
from charlm.training.loss import perplexity

COPIES_PER_SECOND = 8_000_000  # training characters that are searched for copies


def data_facts(run: Run, corpus: Corpus, prepared: Prepared | None = None) -> DataFacts:
    """The text in words, the perplexity of simpler predictors, and the repeated passages.

    The predictors are those of `prepare_conclusion`, on the same part of the validation split.
    """
    facts = {
        "characters": f"{corpus.characters:,}",
        "different characters": f"{len(corpus.vocabulary):,}",
        "cleaning": corpus.cleaning,
    }
    if corpus.lines:
        facts["lines"] = f"{corpus.count_lines(*SPLITS):,}"
    if corpus.split_sizes[1] < run.task.min_split:
        return DataFacts(facts=facts)
    prepared = prepared or prepare_conclusion(run, corpus)
    baselines = {
        "character frequencies": perplexity(prepared.unigram),
        "n-gram": perplexity(prepared.ngram),
    }
    return DataFacts(facts=facts, baselines=baselines, blocks=_repeats(prepared.repeated))


def _repeats(repeated: Repeats) -> Sequence[str | Table]:
    rows = [
        (f"at least {window} characters", f"{each.training:.2%}", f"{each.itself:.2%}")
        for window, each in repeated.shares.items()
        if each is not None
    ]
    if not rows:
        return ()
    held_out, train = (
        f"{read:,} of {all_:,}" if read < all_ else f"{all_:,}"
        for read, all_ in (repeated.characters, repeated.train_characters)
    )
    return (
        "Held-out text that is also elsewhere, word for word: the share of its characters in "
        "passages of some length.",
        Table(("passages of", "in the training text", "earlier in the held-out text"), rows),
        f"Compared: {held_out} characters of held-out text with {train} of training text. On new "
        "text, a model cannot profit from passages that it has read.",
    )


def sample_facts(run: Run, corpus: Corpus, budget: float) -> Sequence[str | Table]:
    """What the last samples have copied, as ``charlm generate --show-copies`` says it."""
    if not run.samples:
        return ()
    last = run.samples[-1]["epoch"]
    texts = [each["text"][len(each["prefix"]) :] for each in run.samples if each["epoch"] == last]
    most = int(min(budget * COPIES_PER_SECOND, corpus.characters))
    if not any(texts):
        return ()
    return (
        "How many windows of the samples, without their prefixes, are also in the training text, "
        "word for word, beside held-out text of the same length.",
        *copies_report(corpus, texts, most).blocks,
    )
