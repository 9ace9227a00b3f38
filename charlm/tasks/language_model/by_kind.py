"""Where the bits go: the losses of a model and of an n-gram by groups of characters.

``docs/by-kind.md`` describes the figures. K is the number of predicted characters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.report.plots import Bars, bars_picture
from charlm.task import Table
from charlm.tasks.language_model.kinds import COUNTED, Grouping

Nats = NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class Row:
    """The bits of a group of characters. Shares are from 0 to 1."""

    group: str
    characters: int
    characters_share: float  # of all characters
    bits: float  # of the model, in all
    bits_per_char: float
    bits_share: float  # of the model's bits on all characters
    ngram_bits_per_char: float | None  # None: there is no n-gram
    gain: float | None  # the n-gram's bits less the model's, divided by all characters


@dataclass(frozen=True, kw_only=True)
class ByKind:
    """The bits of the same characters in several groupings."""

    groupings: Mapping[str, str]  # the title of each grouping, by its name
    rows: Mapping[str, Sequence[Row]]  # of each grouping
    total: Row
    train_characters: int  # of the training text

    def as_json(self) -> dict[str, Any]:
        """The rows of each grouping, and the conclusion."""
        rows = {name: [*map(asdict, rows)] for name, rows in self.rows.items()}
        return {**rows, "conclusion": self.conclusion()}

    def blocks(self) -> list[str | Table]:
        """A table for each grouping."""
        words = "where the bits go; %: of all characters"
        header = ["characters", "%", "bits/char", "% of bits"]
        if self.total.gain is not None:
            words += "; gain: saved against ngram, in bits per character of the whole text"
            header += ["ngram", "gain"]
        blocks: list[str | Table] = ["", words]
        for name, title in self.groupings.items():
            rows = map(_cells, [*self.rows[name], self.total])
            blocks += ["", Table([title, *header], [*rows])]
        if self.train_characters > COUNTED:
            counted = f"{COUNTED:,} of {self.train_characters:,} training characters"
            blocks.append(f"how often: in the last {counted}")
        return [*blocks, ""]

    def conclusion(self) -> str:
        """What the model spends most bits on, and where it is better and worse than the n-gram."""
        # In a script without spaces most characters are of one kind.
        name = "character_frequency" if "character_frequency" in self.rows else "kind"
        of = "{}" if name == "kind" else "characters seen {} in training"
        rows = self.rows[name]
        most = max(rows, key=lambda row: row.bits)
        words = (
            f"the model spends most bits on {of.format(most.group)}: {most.bits_share:.1%} of the "
            f"bits, {most.characters_share:.1%} of the characters"
        )
        gains = {of.format(row.group): row.gain for row in rows if row.gain is not None}
        if not any(gains.values()):
            return words
        best, worst = (choose(gains, key=gains.__getitem__) for choose in (max, min))
        against = [f"gains most on {best} ({gains[best]:.3f})"] if gains[best] > 0 else []
        against += [f"loses most on {worst} ({-gains[worst]:.3f})"] if gains[worst] < 0 else []
        return (
            f"{words}; against the n-gram it {' and '.join(against)}, in bits per character of the "
            "whole text"
        )

    def picture(self, title: str, kind: str) -> bytes:
        """A file with a picture of the rows; ``kind`` is one of `charlm.report.drawing.KINDS`."""
        number = self.total.characters
        panels = []
        for name, heading in self.groupings.items():
            rows = self.rows[name]
            model = [row.bits / number for row in rows]
            gains = [row.gain for row in rows if row.gain is not None]
            than = [bits + gain for bits, gain in zip(model, gains, strict=False)]
            panels.append(
                Bars(
                    heading,
                    [row.group for row in rows],
                    {"model": model, **({"ngram": than} if than else {})},
                    [f"{row.bits_per_char:.2f} bits × {row.characters_share:.1%}" for row in rows],
                )
            )
        return bars_picture(panels, title, "bits per character of the whole text", kind)


def by_kind(
    groupings: Sequence[Grouping], nats: Nats, ngram: Nats | None, train_characters: int
) -> ByKind:
    """The (K,) losses of a model, and of an n-gram or None, in groups.

    In each grouping, characters, bits and gains of the rows add up to those of ``total``.
    """
    whole = Grouping("", "", ["all"], np.zeros(len(nats), np.uint8))
    (total,) = _rows(whole, nats, ngram)
    return ByKind(
        groupings={each.name: each.title for each in groupings},
        rows={each.name: _rows(each, nats, ngram) for each in groupings},
        total=total,
        train_characters=train_characters,
    )


def _rows(grouping: Grouping, nats: Nats, ngram: Nats | None) -> list[Row]:
    """A row for each group that has a character."""
    size = len(grouping.labels)
    counts = np.bincount(grouping.groups, minlength=size)
    bits = np.bincount(grouping.groups, nats, size) / math.log(2)
    than = None if ngram is None else np.bincount(grouping.groups, ngram, size) / math.log(2)
    number, total = int(counts.sum()), float(bits.sum())
    return [
        Row(
            group=grouping.labels[index],
            characters=int(counts[index]),
            characters_share=float(counts[index] / number),
            bits=float(bits[index]),
            bits_per_char=float(bits[index] / counts[index]),
            bits_share=float(bits[index] / total) if total else 0.0,
            ngram_bits_per_char=None if than is None else float(than[index] / counts[index]),
            gain=None if than is None else float((than[index] - bits[index]) / number),
        )
        for index in np.flatnonzero(counts).tolist()
    ]


def _cells(row: Row) -> list[str]:
    cells = [row.group, f"{row.characters:,}", f"{100 * row.characters_share:.1f}"]
    cells += [f"{row.bits_per_char:.3f}", f"{100 * row.bits_share:.1f}"]
    if row.gain is not None:
        cells += [f"{row.ngram_bits_per_char:.3f}", f"{row.gain:+.3f}"]
    return cells
