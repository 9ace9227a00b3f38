"""The scores of a language model beside the baselines, and what they say.

``docs/scores.md`` explains every figure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from charlm.corpus.id_cache import release_pages
from charlm.corpus.vocabulary import UNKNOWN
from charlm.errors import counted
from charlm.runs import Run
from charlm.task import Report, Table
from charlm.tasks.language_model.baselines import LEARNED, Baseline, Ids, baselines, best_order
from charlm.tasks.language_model.corpus import Characters, Corpus
from charlm.tasks.language_model.model import LanguageModel
from charlm.tasks.language_model.perplexity import PROTOCOLS, scored_parts
from charlm.tasks.language_model.repeats import HIGH, SHOWN, Repeats, repeats, repeats_words
from charlm.training.loss import perplexity

# Of a text with more than WHOLE characters, SAMPLE are scored. Of a larger model they are fewer: as
# many as need these multiplications, about ten seconds on a CPU, and at least LEAST.
WHOLE, SAMPLE, LEAST = 1_000_000, 500_000, 20_000
MULTIPLICATIONS = 4e11
# The n-gram at the end of a training reads at most this many characters: about a second of work.
SAMPLE_TRAIN = 1_000_000
SAMPLE_SCORED = 100_000
REPEATS_TRAIN = 20_000_000  # and these are compared to find passages that repeat
REPEATS_HELD_OUT = 500_000
REPEATS_PER_SECOND = 200_000  # of --minutes: the training characters that are compared, at most
CONTEXT = 5  # characters before a part of a text that the longest n-gram reads
FEW_EPOCHS = 5  # of a training that may be too short
FEW_CHARACTERS = 200  # training characters for each entry of the vocabulary
MANY_UNKNOWN = 0.01  # a larger share of unknown characters explains a bad score
CLOSE = 0.05  # a model that is worse than the n-gram by a smaller share comes close to it
BLOCK = 2**20  # characters whose bytes are counted at once
UNITS = ("nats_per_char", "bits_per_char", "bits_per_byte")


def score(
    run: Run,
    corpus: Corpus | None,
    ids: Ids,
    text: Characters,
    *,
    what: str,
    protocol: str,
    whole: bool,
    device: torch.device,
    should_stop: Callable[[], bool],
    seen: bool,
) -> Report:
    """The loss of the run's best weights on a text, and of the baselines.

    Args:
        corpus: the run's, for the baselines; None: it is missing.
        ids: (N,) ids of the text, N >= 2.
        text: the characters of ``ids``.
        what: the name of the text, for people.
        protocol: a name in ``PROTOCOLS``.
        whole: score all of a text with more than ``WHOLE`` characters, not a sample.
        seen: whether the model was trained on the text.

    Raises:
        Stopped: ``should_stop`` returned True.
    """
    model = run.load_model().to(device)
    at_most = None if whole or len(ids) - 1 <= WHOLE else sample_size(model)
    loss = PROTOCOLS[protocol](model, ids, at_most=at_most, should_stop=should_stop)
    parts = scored_parts(protocol, ids, at_most)
    spelling = run.vocabulary.spelling_nats
    train, train_text = None, ""
    if corpus is not None:
        train, characters = corpus.read("train")
        train_text = characters[max(0, len(characters) - LEARNED) :]
    joined, scored = _joined(ids, parts)
    others = baselines(
        train,
        joined,
        len(run.vocabulary),
        train_text=train_text,
        scored_text=text[:] if len(parts) == 1 else "".join(text[a:b] for a, b in parts),
        spelling=spelling,
        boundary=int(ids[0]) if run.config.corpus.lines else None,
        scored=scored,
    )
    unknown = loss.unknown.count
    nats = loss.mean + spelling * unknown / loss.count  # with none unknown, exactly the mean
    known_nats = loss.known.mean if unknown and loss.known.count else None
    model_score = Baseline(
        name="model", nats_per_char=nats, detail="", known_nats_per_char=known_nats
    )
    sizes = _sizes(ids, text, parts)
    repeated = None
    if corpus is not None and not seen:
        repeated = repeats(corpus.split("train"), ids)
    conclusion = None
    if seen:
        conclusion = "the model and the baselines were trained on this text: see another split"
    elif corpus is not None and (ngram := others["ngram"]):
        conclusion = _compared(nats, ngram.nats_per_char, "the n-gram")
        if nats >= ngram.nats_per_char:
            worse = nats / ngram.nats_per_char - 1 if ngram.nats_per_char else math.inf
            conclusion += _reason(run, corpus, repeated, unknown / loss.count, worse)
    content: dict[str, Any] = {
        "characters": loss.count,
        "characters_in_text": loss.characters,
        "standard_error": loss.standard_error,
        **_figures(model_score, sizes),
        "unknown_characters": unknown,
        "spelling_nats": spelling,
        "protocol": protocol,
        "train_characters": None if train is None else len(train),
        "baselines": {
            name: other
            and {
                **_figures(other, sizes),
                "detail": other.detail,
                "learned_from": other.learned_from,
            }
            for name, other in others.items()
        },
        **(repeated.as_json() if repeated else {"repeated": None}),
        "conclusion": conclusion,
    }
    of_them = f", {unknown:,} of them unknown ({unknown / loss.count:.1%})" if unknown else ""
    number = counted(loss.count, "character")
    if loss.count < loss.characters:
        number = f"{loss.count:,} of {counted(loss.characters, 'character')}"
    blocks: list[str | Table] = [f"{what}: {number} predicted{of_them}; protocol {protocol}"]
    if loss.count < loss.characters:
        words = f"a sample of {counted(len(parts), 'part')}, spread evenly"
        if loss.standard_error is not None:
            error = loss.standard_error / math.log(2)
            words += f"; standard error of the model {error:.4f} bits/char"
        blocks.append(f"{words} (--whole scores all)")
    blocks.append(
        _table(run, {f"this model ({run.config.model.cell})": content, **content["baselines"]})
    )
    if train is not None and len(train) > LEARNED:
        blocks.append(
            f"ngram and xz learned from the last {LEARNED:,} of {len(train):,} training characters"
        )
    if repeated and max(repeated.most()) > HIGH:
        blocks.append(repeats_words(repeated, "scored text") or "")
    return Report(content=content, blocks=[*blocks, *([conclusion] if conclusion else [])])


def sample_size(model: LanguageModel) -> int:
    """The characters of a long text that are scored.

    It follows from the sizes of the model alone, so a score does not depend on the clock.
    """
    layers = sum(each.numel() for each in model.stack.parameters())
    each_character = layers + model.head.weight.numel()  # multiplications
    return int(min(SAMPLE, max(LEAST, MULTIPLICATIONS / each_character)))


class Prepared(NamedTuple):
    """The part of the conclusion that needs no model."""

    ngram: float  # nats per character of an n-gram
    than: str  # the name of the n-gram
    repeated: Repeats  # held-out text that repeats


def prepare_conclusion(run: Run, corpus: Corpus) -> Prepared:
    """The n-gram to compare a model with, and the repeated passages.

    The n-gram is that of ``baselines``, on at most the last ``SAMPLE_TRAIN`` characters of the
    train split, scored on at most ``SAMPLE_SCORED`` of the validation split, in parts that are
    spread evenly.
    """
    (train, _), (ids, _) = corpus.read("train"), corpus.read("valid")
    parts = scored_parts("lines" if corpus.lines else "carried", ids, SAMPLE_SCORED)
    joined, scored = _joined(ids, parts)
    read = train[max(0, len(train) - SAMPLE_TRAIN) :]
    boundary = int(ids[0]) if corpus.lines else None
    _, each = best_order(read, joined, len(run.vocabulary), boundary=boundary, scored=scored[1:])
    ngram = max(0.0, float(each.mean()))
    than = "an n-gram"
    if len(read) < len(train):
        than += f" of the last {len(read):,} of {len(train):,} training characters"
    than += f" (perplexity {run.task.valid_metric.text(perplexity(ngram))})"
    seconds = 60 * (run.config.training.minutes or math.inf)
    repeated = repeats(
        corpus.split("train"),
        corpus.ids[corpus.split_sizes[0] :],
        most_train=int(min(REPEATS_TRAIN, seconds * REPEATS_PER_SECOND)),
        most_text=REPEATS_HELD_OUT,
    )
    return Prepared(ngram, than, repeated)


def conclude(
    run: Run, corpus: Corpus, valid: float | None, prepared: Prepared | None = None
) -> Report:
    """What the end of a training says: better or worse than an n-gram, and repeated passages.

    ``valid`` is the model's perplexity on the validation split, or on a sample of a large one;
    None: nothing is said.
    """
    content: dict[str, Any] = {"ngram_perplexity": None, "repeated": None, "conclusion": None}
    if valid is None:
        return Report(content=content, blocks=())
    ngram, than, repeated = prepared or prepare_conclusion(run, corpus)
    model = math.log(valid)
    conclusion = _compared(model, ngram, than)
    if model >= ngram:
        worse = model / ngram - 1 if ngram else math.inf
        conclusion += _reason(run, corpus, repeated, 0.0, worse)
    content = {
        "ngram_perplexity": perplexity(ngram),
        **repeated.as_json(),
        "conclusion": conclusion,
    }
    words = repeats_words(repeated, "held-out text") if max(repeated.most()) >= SHOWN else None
    return Report(content=content, blocks=[*([words] if words else []), conclusion])


def _joined(ids: Ids, parts: Sequence[tuple[int, int]]) -> tuple[Ids, NDArray[np.bool_]]:
    """Parts of a text with the characters that are their context, and which ones are scored."""
    begins = [max(0, begin - CONTEXT) for begin, _ in parts]
    joined = [ids[first:end] for first, (_, end) in zip(begins, parts, strict=True)]
    scored = [
        np.arange(first, end) >= begin for first, (begin, end) in zip(begins, parts, strict=True)
    ]
    text = np.concatenate(joined)
    release_pages()  # each part may bring 1 MiB of a mapped text into memory
    return text, np.concatenate(scored)


def _sizes(ids: Ids, text: Characters, parts: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The characters and bytes of the scored parts: of all, and of the known characters."""
    count = size = unknown = unknown_size = 0
    for first, last in parts:
        for begin in range(first, last, BLOCK):
            end = min(begin + BLOCK, last)
            block = text[begin:end]
            count, size = count + len(block), size + _bytes(block)
            where = np.flatnonzero(ids[begin:end] == UNKNOWN).tolist()
            unknown += len(where)
            unknown_size += _bytes("".join(block[index] for index in where))
    return [(count, size), (count - unknown, size - unknown_size)]


def _compared(model: float, ngram: float, words: str) -> str:
    """Two scores, in nats per character, as a sentence in bits."""
    bits, than = abs(ngram - model) / math.log(2), ngram / math.log(2)
    how = "better" if model < ngram else "worse"
    percent = f" ({bits / than:.1%})" if bits < 10 * than else ""
    return f"the model is {how} than {words} by {bits:.3f} bits per character{percent}"


def _reason(
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
        reason = "the n-gram knows repeated passages by heart; hold out a text that is new"
    elif size < FEW_CHARACTERS * entries:
        reason = (
            f"{size:,} training characters are few for {entries:,} different ones, and counts "
            f"learn more from little text; use a longer text"
        )
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


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _figures(score: Baseline, sizes: list[tuple[int, int]]) -> dict[str, Any]:
    """A score in all its units; ``sizes`` are the characters and bytes of all and of the known."""
    known = score.known_nats_per_char
    return {
        **_units(score.nats_per_char, *sizes[0]),
        "known_only": None
        if known is None
        else {"characters": sizes[1][0], **_units(known, *sizes[1])},
    }


def _units(nats_per_char: float, count: int, num_bytes: int) -> dict[str, float]:
    """A mean cross-entropy in nats per character, and in the other usual units."""
    bits = nats_per_char / math.log(2)
    return {
        "nats_per_char": nats_per_char,
        "perplexity": perplexity(nats_per_char),
        "bits_per_char": bits,
        "bits_per_byte": bits * count / num_bytes,
    }


def _table(run: Run, rows: Mapping[str, Mapping[str, Any] | None]) -> Table:
    """A row for each score, with a column for the known characters if there are others."""
    unknown = any(row and row["known_only"] for row in rows.values())
    header = ["", "perplexity", "nats/char", "bits/char", "bits/byte"]
    header += ["known only, bits/char"] if unknown else []
    text, cells = run.task.valid_metric.text, []
    for label, row in rows.items():
        if row is None:
            cells.append([label, *["-"] * (len(header) - 1)])
            continue
        line = [label, text(row["perplexity"]), *(f"{row[unit]:.4f}" for unit in UNITS)]
        if unknown:
            known = row["known_only"]
            line.append("-" if known is None else f"{known['bits_per_char']:.4f}")
        cells.append(line)
    return Table(header, cells)
