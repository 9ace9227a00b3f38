"""The end of a training in a sentence or two: the model beside an n-gram, and their mixture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.corpus.id_cache import release_pages
from charlm.device import select_device
from charlm.runs import Run
from charlm.task import Report
from charlm.tasks.language_model.baselines import LEARNED, NGRAM_ORDERS, unigram
from charlm.tasks.language_model.corpus import Corpus
from charlm.tasks.language_model.mixture import MAX_ORDER, fit, write_mixture
from charlm.tasks.language_model.ngram import Ids, NGram
from charlm.tasks.language_model.perplexity import PROTOCOLS, scored_parts
from charlm.tasks.language_model.repeats import HIGH, SHOWN, Repeats, repeats, repeats_words
from charlm.training.loss import perplexity

# The n-gram at the end of a training reads at most this many characters: about a second of work.
SAMPLE_TRAIN = 1_000_000
SAMPLE_SCORED = 100_000
REPEATS_TRAIN = 20_000_000  # and these are compared to find passages that repeat
REPEATS_HELD_OUT = 500_000
REPEATS_PER_SECOND = 200_000  # of --minutes: the training characters that are compared, at most
CONTEXT = MAX_ORDER - 1  # characters before a part of a text that the longest n-gram reads
FEW_EPOCHS = 5  # of a training that may be too short
FEW_CHARACTERS = 200  # training characters for each entry of the vocabulary
MANY_UNKNOWN = 0.01  # a larger share of unknown characters explains a bad score
CLOSE = 0.05  # a model that is worse than the n-gram by a smaller share comes close to it


class Prepared(NamedTuple):
    """The part of the conclusion that needs no model."""

    ngram: float  # nats per character of an n-gram
    than: str  # the name of the n-gram
    unigram: float  # nats per character of character frequencies, on the same text
    repeated: Repeats  # held-out text that repeats
    counted: NGram | None = None  # for --mix-ngram: the n-grams of the train split
    learned_from: int = 0  # the characters that they were counted on


def prepare_conclusion(run: Run, corpus: Corpus) -> Prepared:
    """The n-gram to compare a model with, and the repeated passages.

    The n-gram is that of ``baselines``, on at most the last ``SAMPLE_TRAIN`` characters of the
    train split, scored on at most ``SAMPLE_SCORED`` of the validation split, in parts that are
    spread evenly. With ``mix_ngram`` it is the one of the mixture.
    """
    train, _ = corpus.read("train")
    sample = _sample_of_valid(corpus)
    mix = run.config.training.mix_ngram
    read = train[max(0, len(train) - (LEARNED if mix else SAMPLE_TRAIN)) :]
    order = MAX_ORDER if mix else NGRAM_ORDERS
    counted = NGram.count(read, len(run.vocabulary), order, sample.boundary)
    by_order = counted.predict(sample.joined).nats[:, sample.scored]
    ngram = max(0.0, min(float(each.mean()) for each in by_order))
    frequencies = unigram(read, sample.joined, len(run.vocabulary))[sample.scored]
    than = "an n-gram"
    if len(read) < len(train):
        size = corpus.split_sizes[0]
        than += f" of the last {len(read):,} of {size:,} training characters"
    than += f" (perplexity {run.task.valid_metric.text(perplexity(ngram))})"
    seconds = 60 * (run.config.training.minutes or math.inf)
    repeated = repeats(
        corpus.split("train"),
        corpus.ids[corpus.split_sizes[0] :],
        most_train=int(min(REPEATS_TRAIN, seconds * REPEATS_PER_SECOND)),
        most_text=REPEATS_HELD_OUT,
    )
    single = float(frequencies.mean())
    return Prepared(ngram, than, single, repeated, *((counted, len(read)) if mix else ()))


class _Sample(NamedTuple):
    """The validation split, or parts of it, K characters to score."""

    ids: Ids  # of the whole split, (N,)
    protocol: str
    joined: Ids  # (M,) the parts with the characters before them
    scored: NDArray[np.bool_]  # (M - 1,) which ones of ``joined[1:]`` are scored
    boundary: int | None  # the id of a line end, if each line is an example


def _sample_of_valid(corpus: Corpus) -> _Sample:
    ids, _ = corpus.read("valid")
    protocol = "lines" if corpus.lines else "carried"
    joined, scored = parts_with_context(ids, scored_parts(protocol, ids, SAMPLE_SCORED))
    return _Sample(ids, protocol, joined, scored[1:], int(ids[0]) if corpus.lines else None)


def conclude(
    run: Run, corpus: Corpus, valid: float | None, prepared: Prepared | None = None
) -> Report:
    """What the end of a training says: better or worse than an n-gram, and repeated passages.

    ``valid`` is the model's perplexity on the validation split, or on a sample of a large one;
    None: nothing is said.
    """
    content: dict[str, Any] = {"ngram_perplexity": None, "repeated": None, "conclusion": None}
    content["mixture"] = None
    if valid is None:
        return Report(content=content, blocks=())
    prepared = prepared or prepare_conclusion(run, corpus)
    ngram, than, _, repeated, *_ = prepared
    model = math.log(valid)
    conclusion = compared(model, ngram, than)
    if model >= ngram:
        worse = model / ngram - 1 if ngram else math.inf
        conclusion += likely_reason(run, corpus, repeated, 0.0, worse)
    content = {
        "ngram_perplexity": perplexity(ngram),
        **repeated.as_json(),
        "conclusion": conclusion,
        "mixture": None,
    }
    words = repeats_words(repeated, "held-out text") if max(repeated.most()) >= SHOWN else None
    blocks = [*([words] if words else []), conclusion]
    if prepared.counted is not None:
        content["mixture"], sentence = _mix(run, corpus, prepared.counted, prepared.learned_from)
        blocks.append(sentence)
    return Report(content=content, blocks=blocks)


def _mix(run: Run, corpus: Corpus, counted: NGram, learned_from: int) -> tuple[dict[str, Any], str]:
    """Fit a mixture of the network and an n-gram on the validation split, and keep it in the run.

    Returns:
        What it is, and which of the three predicts the held-out text best, as a sentence.
    """
    sample = _sample_of_valid(corpus)
    model = run.load_model().to(select_device(run.config.training.device))
    loss = PROTOCOLS[sample.protocol](model, sample.ids, at_most=SAMPLE_SCORED, each=True)
    assert loss.each is not None
    mixture = fit(loss.each, counted, sample.joined, sample.scored, learned_from)
    write_mixture(run, mixture)
    mixed, ngram = mixture.nats(loss.each, sample.joined, sample.scored)
    nats = {"network": loss.each, "n-gram": ngram, "mixture": mixed}
    of = {name: perplexity(float(each.mean())) for name, each in nats.items()}
    best = min(of, key=of.__getitem__)
    text = {name: run.task.valid_metric.text(value) for name, value in of.items()}
    about = {f"{name.replace('-', '')}_perplexity": value for name, value in of.items()}
    sentence = (
        f"of the network (perplexity {text['network']}), the n-gram of order {mixture.order} "
        f"({text['n-gram']}) and their mixture ({text['mixture']}), the {best} is best on the "
        "held-out text, on which the mixture's weights were chosen"
    )
    return {**mixture.about(), "characters": loss.count, **about, "best": best}, sentence


def parts_with_context(ids: Ids, parts: Sequence[tuple[int, int]]) -> tuple[Ids, NDArray[np.bool_]]:
    """Parts of a text with the characters that are their context, and which ones are scored."""
    begins = [max(0, begin - CONTEXT) for begin, _ in parts]
    joined = [ids[first:end] for first, (_, end) in zip(begins, parts, strict=True)]
    scored = [
        np.arange(first, end) >= begin for first, (begin, end) in zip(begins, parts, strict=True)
    ]
    text = np.concatenate(joined)
    release_pages()  # each part may bring 1 MiB of a mapped text into memory
    return text, np.concatenate(scored)


def compared(model: float, ngram: float, words: str, who: str = "the model") -> str:
    """Two scores, in nats per character, as a sentence in bits."""
    bits, than = abs(ngram - model) / math.log(2), ngram / math.log(2)
    how = "better" if model < ngram else "worse"
    percent = f" ({bits / than:.1%})" if bits < 10 * than else ""
    return f"{who} is {how} than {words} by {bits:.3f} bits per character{percent}"


def likely_reason(
    run: Run, corpus: Corpus, repeated: Repeats | None, unknown: float, worse: float
) -> str:
    """Why a model is probably worse than the n-gram, and what to try; the end of a sentence.

    ``worse`` is by how much, as a share of the n-gram's nats.
    """
    epochs = run.metrics[-1]["epoch"] if run.metrics else 0.0
    size, entries = corpus.split_sizes[0], len(run.vocabulary)
    if unknown > MANY_UNKNOWN:
        reason = "many characters are not in the training text; train on text of this kind"
    elif repeated and repeated.most().training > HIGH:
        part = f"it has read only {epochs:.1%} of the training text, and " if epochs < 1 else ""
        reason = f"{part}the n-gram knows repeated passages by heart; hold out a text that is new"
    elif size < FEW_CHARACTERS * entries:
        reason = (
            f"{size:,} training characters are few for {entries:,} different ones, and counts "
            f"learn more from little text; use a longer text"
        )
        if not run.config.training.mix_ngram:
            reason += ", or mix the network with the n-gram: --resume --mix-ngram"
    elif epochs < FEW_EPOCHS:
        times = "once" if epochs == 1 else f"{epochs:.3g} times"
        reason = (
            f"it has read the training text only {times}; train longer: --resume with more "
            f"--epochs or --minutes"
        )
    elif worse < CLOSE:
        return ", so it comes close; try a larger --hidden-size, or train longer"
    else:
        reason = "the network does not suit the text; try a larger --hidden-size or another --lr"
    return f", probably because {reason}"
