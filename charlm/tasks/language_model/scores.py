"""The scores of a language model beside the baselines, and what they say.

``docs/scores.md`` explains every figure.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from charlm.corpus.vocabulary import UNKNOWN
from charlm.errors import counted
from charlm.runs import Run
from charlm.task import Report, Table
from charlm.tasks.language_model.baselines import LEARNED, Baseline, baselines
from charlm.tasks.language_model.by_kind import by_kind
from charlm.tasks.language_model.conclusion import compared, likely_reason, parts_with_context
from charlm.tasks.language_model.corpus import Characters, Corpus
from charlm.tasks.language_model.eval_options import TextOptions
from charlm.tasks.language_model.evaluation_modes import (
    DYNAMIC,
    NAMES,
    Text,
    prepare_modes,
    score_modes,
)
from charlm.tasks.language_model.kinds import groupings
from charlm.tasks.language_model.mixture import read_mixture
from charlm.tasks.language_model.model import LanguageModel
from charlm.tasks.language_model.ngram import Floats, Ids
from charlm.tasks.language_model.perplexity import PROTOCOLS, scored_parts
from charlm.tasks.language_model.repeats import HIGH, repeats, repeats_words
from charlm.training.loss import perplexity

# Of a text with more than WHOLE characters, SAMPLE are scored. Of a larger model they are fewer: as
# many as need these multiplications, about ten seconds on a CPU, and at least LEAST.
WHOLE, SAMPLE, LEAST = 1_000_000, 500_000, 20_000
MULTIPLICATIONS = 4e11
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
    options: TextOptions,
    device: torch.device,
    should_stop: Callable[[], bool],
    split: str | None,
) -> Report:
    """The loss of the run's best weights on a text, of the baselines, and of other modes.

    Args:
        corpus: the run's, for the baselines; None: it is missing.
        ids: (N,) ids of the text, N >= 2.
        text: the characters of ``ids``.
        what: the name of the text, for people.
        protocol: a name in ``PROTOCOLS``.
        options: ``whole`` scores all of a long text, not a sample; and the modes.
        split: the split that the text is; None: it is another text.

    Raises:
        Stopped: ``should_stop`` returned True.
        UsageError, RunError: as in `prepare_modes`.
    """
    runs = prepare_modes(run, corpus, options)
    seen, in_text = split == "train", len(ids) - 1
    model = run.load_model().to(device)
    mixture, notice = read_mixture(run)
    if options.dynamic and not options.whole:
        ids, text = ids[: DYNAMIC + 1], Characters(text.vocabulary, text.ids[: DYNAMIC + 1])
    at_most = None if options.whole or len(ids) - 1 <= WHOLE else sample_size(model)
    each = mixture is not None or options.has_modes or options.by_kind
    loss = PROTOCOLS[protocol](model, ids, at_most=at_most, each=each, should_stop=should_stop)
    parts = scored_parts(protocol, ids, at_most)
    spelling = run.vocabulary.spelling_nats
    train, characters, train_text, size = None, None, "", 0
    if corpus is not None:
        (train, characters), size = corpus.read("train"), corpus.split_sizes[0]
        train_text = characters[max(0, len(characters) - LEARNED) :]
    joined, scored = parts_with_context(ids, parts)
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
        repeated = repeats(corpus.split("train"), ids[1:] if corpus.lines else ids)
    modes: dict[str, Any] = dict.fromkeys(NAMES)
    about_modes = []
    if loss.each is not None:
        scored_text = Text(
            run=run,
            corpus=corpus,
            others=runs,
            model=model,
            ids=ids,
            joined=joined,
            scored=scored[1:],
            network=loss.each,
            protocol=protocol,
            at_most=at_most,
            on_valid=split == "valid",
            should_stop=should_stop,
        )
        is_unknown = joined[scored] == UNKNOWN
        for mode in score_modes(scored_text, options, mixture):
            figures = _figures(_score(mode.name, mode.nats, is_unknown, spelling), sizes)
            modes[mode.name] = {**figures, "protocol": protocol, **mode.about}
            about_modes.append(f"{mode.name}: {mode.words}")
    conclusion = None
    if seen:
        conclusion = "the model and the baselines were trained on this text: see another split"
    elif corpus is not None and (other := others["ngram"]):
        reads_on = ", which reads on from window to window," if protocol == "nanogpt" else ""
        conclusion = compared(nats, other.nats_per_char, f"the n-gram{reads_on}")
        if nats >= other.nats_per_char:
            worse = nats / other.nats_per_char - 1 if other.nats_per_char else math.inf
            conclusion += likely_reason(run, corpus, repeated, unknown / loss.count, worse)
        if mixture is not None:
            mixed = modes["mixture"]["nats_per_char"]
            words = compared(mixed, other.nats_per_char, "the n-gram", "the mixture")
            conclusion += f"; {words}"
    content: dict[str, Any] = {
        "characters": loss.count,
        "characters_in_text": in_text,
        "standard_error": loss.standard_error,
        **_figures(model_score, sizes),
        "unknown_characters": unknown,
        "spelling_nats": spelling,
        "protocol": protocol,
        "mode": "static",
        "train_characters": None if corpus is None else size,
        "baselines": {
            name: other
            and {
                **_figures(other, sizes),
                "detail": other.detail,
                "learned_from": min(other.learned_from, size),  # not the line end before lines
            }
            for name, other in others.items()
        },
        **modes,
        **(repeated.as_json() if repeated else {"repeated": None}),
        "conclusion": conclusion,
    }
    kinds = None
    if options.by_kind and loss.each is not None:
        spelled = np.where(joined[scored] == UNKNOWN, spelling, 0.0)  # (K,)
        ngram = None if seen or others["ngram"] is None else others["ngram"].each
        kinds = by_kind(
            groupings(text, parts, characters),
            loss.each + spelled,
            None if ngram is None else ngram + spelled,
            size,
        )
        content["by_kind"] = kinds.as_json()
    of_them = f", {unknown:,} of them unknown ({unknown / loss.count:.1%})" if unknown else ""
    number = counted(loss.count, "character")
    if loss.count < in_text:
        number = f"{loss.count:,} of {counted(in_text, 'character')}"
    blocks: list[str | Table] = [f"{what}: {number} predicted{of_them}; protocol {protocol}"]
    if loss.count < loss.characters:
        words = f"a sample of {counted(len(parts), 'part')}, spread evenly"
        if loss.standard_error is not None:
            error = loss.standard_error / math.log(2)
            words += f"; standard error of the model {error:.4f} bits/char"
        blocks.append(f"{words} (--whole scores all)")
    elif loss.count < in_text:
        blocks.append("the first ones, because --dynamic takes long (--whole scores all)")
    present = {name: mode for name, mode in modes.items() if mode is not None}
    network = f"this model ({run.config.model.cell})"
    blocks.append(_table(run, {network: content, **content["baselines"], **present}))
    blocks += about_modes
    if size > LEARNED:
        blocks.append(
            f"ngram and xz learned from the last {LEARNED:,} of {size:,} training characters"
        )
    if repeated and max(repeated.most()) > HIGH:
        blocks.append(repeats_words(repeated, "scored text") or "")
    blocks += kinds.blocks() if kinds else []
    blocks += [conclusion] if conclusion else []
    picture = None
    if kinds:
        blocks.append(kinds.conclusion())
        picture = functools.partial(kinds.picture, f"{what}; {run.config.model.cell}")
    warnings = [] if notice is None else [notice]
    return Report(content=content, blocks=blocks, warnings=warnings, picture=picture)


def sample_size(model: LanguageModel) -> int:
    """The characters of a long text that are scored.

    It follows from the sizes of the model alone, so a score does not depend on the clock.
    """
    layers = sum(each.numel() for each in model.stack.parameters())
    each_character = layers + model.head.weight.numel()  # multiplications
    return int(min(SAMPLE, max(LEAST, MULTIPLICATIONS / each_character)))


def _score(name: str, nats: Floats, unknown: NDArray[np.bool_], spelling: float) -> Baseline:
    """The score of (K,) losses; ``spelling`` nats are added to each unknown character."""
    known = nats[~unknown] if unknown.any() else nats[:0]
    return Baseline(
        name=name,
        nats_per_char=float(nats.mean()) + spelling * float(unknown.mean()),
        detail="",
        known_nats_per_char=float(known.mean()) if len(known) else None,
    )


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
    header += ["known bits/char"] if unknown else []
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
