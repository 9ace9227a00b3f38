"""The scores of a language model beside the baselines, and what they say.

``docs/scores.md`` explains every figure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from charlm.errors import counted
from charlm.runs import Run
from charlm.task import Report, Table
from charlm.tasks.language_model.baselines import Baseline, Ids, baselines, best_order
from charlm.tasks.language_model.batches import id_tensor
from charlm.tasks.language_model.corpus import Corpus
from charlm.tasks.language_model.perplexity import PROTOCOLS
from charlm.tasks.language_model.repeats import (
    HIGH,
    Repeated,
    as_json,
    repeats,
    repeats_words,
)
from charlm.training.loss import perplexity

# The n-gram at the end of a training reads at most this many characters: about a second of work.
SAMPLE_TRAIN = 1_000_000
SAMPLE_SCORED = 100_000
FEW_EPOCHS = 5  # of a training that may be too short
FEW_CHARACTERS = 200  # training characters for each entry of the vocabulary
MANY_UNKNOWN = 0.01  # a larger share of unknown characters explains a bad score
UNITS = ("nats_per_char", "bits_per_char", "bits_per_byte")


def score(
    run: Run,
    corpus: Corpus | None,
    ids: Ids,
    text: str,
    *,
    what: str,
    protocol: str,
    device: torch.device,
    should_stop: Callable[[], bool],
    seen: bool,
) -> Report:
    """The loss of the run's best weights on a text, and of the baselines.

    Args:
        corpus: the run's, for the baselines; None: it is missing.
        ids: (N,) ids of the text, N >= 2.
        text: the same text as characters.
        what: the name of the text, for people.
        protocol: a name in ``PROTOCOLS``.
        seen: whether the model was trained on the text.

    Raises:
        Stopped: ``should_stop`` returned True.
    """
    model = run.load_model().to(device)
    tensor = id_tensor(ids, device)
    loss = PROTOCOLS[protocol](model, tensor, should_stop=should_stop)
    spelling = run.vocabulary.spelling_nats
    train, train_text = (None, "") if corpus is None else corpus.read("train")
    others = baselines(
        train,
        ids,
        len(run.vocabulary),
        train_text=train_text,
        scored_text=text,
        spelling=spelling,
        boundary=int(ids[0]) if run.config.corpus.lines else None,
    )
    unknown = loss.unknown.count
    nats = loss.mean + spelling * unknown / loss.count  # with none unknown, exactly the mean
    known_nats = loss.known.mean if unknown and loss.known.count else None
    model_score = Baseline(
        name="model", nats_per_char=nats, detail="", known_nats_per_char=known_nats
    )
    known = text[1:]
    if unknown:
        known = "".join(each for each, token in zip(known, ids[1:], strict=True) if token)
    sizes = [(loss.count, _bytes(text[1:])), (loss.known.count, _bytes(known))]
    repeated = None
    if corpus is not None and not seen:
        repeated = repeats(corpus.text("train"), text)
    conclusion = None
    if seen:
        conclusion = "the model and the baselines were trained on this text: see another split"
    elif corpus is not None and (ngram := others["ngram"]):
        conclusion = _compared(nats, ngram.nats_per_char, "the n-gram")
        if nats >= ngram.nats_per_char:
            conclusion += _reason(run, corpus, repeated, unknown / loss.count)
    content: dict[str, Any] = {
        "characters": loss.count,
        **_figures(model_score, sizes),
        "unknown_characters": unknown,
        "spelling_nats": spelling,
        "protocol": protocol,
        "baselines": {
            name: other and {**_figures(other, sizes), "detail": other.detail}
            for name, other in others.items()
        },
        "repeated": as_json(repeated),
        "conclusion": conclusion,
    }
    of_them = f", {unknown:,} of them unknown ({unknown / loss.count:.1%})" if unknown else ""
    blocks: list[str | Table] = [
        f"{what}: {counted(loss.count, 'character')} predicted{of_them}; protocol {protocol}",
        _table(run, {f"this model ({run.config.model.cell})": content, **content["baselines"]}),
    ]
    if repeated and any(each and max(each) > HIGH for each in repeated.values()):
        blocks.append(repeats_words(repeated, "scored text") or "")
    return Report(content=content, blocks=[*blocks, *([conclusion] if conclusion else [])])


def conclude(run: Run, corpus: Corpus, valid: float | None) -> Report:
    """What the end of a training says: better or worse than an n-gram, and repeated passages.

    The n-gram is that of ``baselines``, on at most the first ``SAMPLE_TRAIN`` characters of the
    train split, scored on at most the first ``SAMPLE_SCORED`` of the validation split. ``valid`` is
    the model's perplexity on the whole validation split; None: nothing is said.
    """
    content: dict[str, Any] = {"ngram_perplexity": None, "repeated": None, "conclusion": None}
    if valid is None:
        return Report(content=content, blocks=())
    (train, _), (scored, _) = corpus.read("train"), corpus.read("valid")
    ids, boundary = scored[:SAMPLE_SCORED], int(scored[0]) if corpus.lines else None
    _, each = best_order(train[:SAMPLE_TRAIN], ids, len(run.vocabulary), boundary=boundary)
    ngram, model = max(0.0, float(each.mean())), math.log(valid)
    than = "an n-gram"
    if len(train) > SAMPLE_TRAIN or len(scored) > SAMPLE_SCORED:
        than += f" of the first {min(len(train), SAMPLE_TRAIN):,} training characters"
    than += f" (perplexity {run.task.valid_metric.text(perplexity(ngram))})"
    repeated = repeats(corpus.text("train"), corpus.text("valid") + corpus.text("test"))
    conclusion = _compared(model, ngram, than)
    if model >= ngram:
        conclusion += _reason(run, corpus, repeated, 0.0)
    content = {
        "ngram_perplexity": perplexity(ngram),
        "repeated": as_json(repeated),
        "conclusion": conclusion,
    }
    words = repeats_words(repeated, "held-out text")
    return Report(content=content, blocks=[*([words] if words else []), conclusion])


def _compared(model: float, ngram: float, words: str) -> str:
    """Two scores, in nats per character, as a sentence in bits."""
    bits, than = abs(ngram - model) / math.log(2), ngram / math.log(2)
    how = "better" if model < ngram else "worse"
    percent = f" ({bits / than:.1%})" if bits < 10 * than else ""
    return f"the model is {how} than {words} by {bits:.3f} bits per character{percent}"


def _reason(
    run: Run, corpus: Corpus, repeated: Mapping[str, Repeated | None] | None, unknown: float
) -> str:
    """Why a model is probably worse than the n-gram, and what to try; the end of a sentence."""
    epochs = run.metrics[-1]["epoch"] if run.metrics else 0.0
    size, entries = corpus.split_sizes[0], len(run.vocabulary)
    if unknown > MANY_UNKNOWN:
        reason = "many characters are not in the training text; train on text of this kind"
    elif any(each and each.training > HIGH for each in (repeated or {}).values()):
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
