"""``charlm generate --show-copies``: what a text has copied from the training text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from charlm.cli.output import Output
from charlm.corpus.splits import chosen_split
from charlm.errors import shown

if TYPE_CHECKING:
    from charlm.tasks.language_model.corpus import Corpus

SHOWN_PASSAGES = 10
SHOWN_CHARACTERS = 40  # of a passage


def show_copies(corpus: Corpus, texts: Sequence[str], output: Output) -> dict[str, Any]:
    """Print what texts of a model have copied, beside held-out text of the same length.

    Returns:
        The result for JSON: of each passage its start in all texts together, its length and its
        place in the train split, in characters from 0.
    """
    import numpy as np

    from charlm.tasks.language_model.copies import SHORTEST, WINDOWS, Copies, copies

    train, vocabulary = corpus.split("train"), corpus.vocabulary
    between = np.array([len(vocabulary)])  # no character, so that no passage is in two texts
    parts = [part for text in texts for part in (vocabulary.encode(text), between)]
    ids = np.concatenate(parts[:-1])
    found = copies(train, ids)
    split = chosen_split(None, corpus.split_sizes, 1)
    beside = Copies(dict.fromkeys(WINDOWS), [])
    if split != "train":
        beside = copies(train, corpus.split(split)[: len(ids)])

    def share(each: Copies, window: int) -> str:
        value = each.windows[window]
        return "-" if value is None else f"{value:.1%}"

    def longest(each: Copies) -> str:
        if each.windows[SHORTEST] is None:
            return "-"
        return f"{each.passages[0].length:,}" if each.passages else f"under {SHORTEST}"

    output.text("\ncopies of the training text, word for word, without the prefix")
    rows = [(f"windows of {n} characters", share(found, n), share(beside, n)) for n in WINDOWS]
    rows.append(("longest passage", longest(found), longest(beside)))
    output.table(("", "this text", f"{split} split"), rows)
    if found.passages:
        output.text(f"\nthe longest passages, and where they are in {len(train):,} characters")
        lines = []
        for start, length, place in found.passages[:SHOWN_PASSAGES]:
            text = vocabulary.decode(ids[start : start + min(length, SHOWN_CHARACTERS)])
            more = "..." if length > SHOWN_CHARACTERS else ""
            lines.append((f"{shown(text)}{more}", f"{length:,}", f"{place + 1:,}"))
        output.table(("passage", "characters", "from"), lines)
    return {**found.as_json(), "beside": {"split": split, **beside.as_json()}}
