"""Large texts for the benchmarks, made from small ones; the same size gives the same bytes.

A text is drawn word by word, or character by character in Chinese: each is one that follows the one
before it somewhere in the small text. So words, their frequencies and the vocabulary are those of
the small text, and long passages are not repeated as they would be in copies of it.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from charlm.corpus import catalogue, locate

MEGABYTE = 1_000_000
PART = 10 * MEGABYTE  # bytes that are made at once
CHAINS = 2_000  # texts that are drawn side by side and put one behind the other
HAN, COMMON_HAN = 0x4E00, 3_000  # without the lyrics: characters by Zipf's law
LAST_LINE = b"%08d\n"


def english(folder: Path, megabytes: float) -> Path:
    """A text with the words of the bundled English story."""
    story = locate(catalogue()["traveller"])
    assert story is not None
    words = re.findall(r"\S+\s+", story.read_text(encoding="utf-8"))
    return _write(folder / f"english-{megabytes:g}.txt", words, megabytes)


def reviews(folder: Path, number: int) -> Path:
    """A table of labelled texts, about as long as film reviews; the labels mean nothing."""
    words = english(folder, number * 0.0015).read_text(encoding="utf-8").split()
    lengths = np.random.default_rng(0).lognormal(5.2, 0.6, number).astype(int)
    starts = lengths.cumsum() % (len(words) // 2)
    rows = (
        f"{' '.join(words[start : start + length])}\t{('bad', 'good')[row % 2]}\n"
        for row, (start, length) in enumerate(zip(starts, lengths, strict=True))
    )
    path = folder / f"reviews-{number}.tsv"
    path.write_text("text\tlabel\n" + "".join(rows).replace('"', ""), encoding="utf-8")
    return path


def chinese(folder: Path, megabytes: float) -> Path:
    """A text with the characters of the Jay Chou lyrics, or of Zipf's law without them."""
    text = lyrics()
    if text is None:
        shares = 1 / np.arange(1, COMMON_HAN + 1)
        drawn = np.random.default_rng(0).choice(COMMON_HAN, 65_000, p=shares / shares.sum())
        text = "".join(map(chr, HAN + drawn))
    return _write(folder / f"chinese-{megabytes:g}.txt", text, megabytes)


def lyrics() -> str | None:
    """The Jay Chou lyrics, if they are on this machine."""
    entry = catalogue()["jaychou"]
    path = locate(entry)
    if path is None:
        return None
    with zipfile.ZipFile(path) as archive:
        return archive.read(entry.member or "jaychou_lyrics.txt").decode("utf-8")


def _write(path: Path, tokens: Sequence[str], megabytes: float) -> Path:
    """Write a text of that size, unless the file is there."""
    if path.exists():
        return path
    size = round(megabytes * MEGABYTE) - len(LAST_LINE % 0)
    distinct = sorted({*tokens})
    numbers = {token: number for number, token in enumerate(distinct)}
    chain = np.array([numbers[token] for token in tokens])
    before, after = chain, np.roll(chain, -1)  # the last one is followed by the first
    order = np.argsort(before, kind="stable")
    followers = after[order]  # of token 0, then of token 1, ...
    counts = np.bincount(before, minlength=len(distinct))
    starts = np.cumsum(counts) - counts
    generator = np.random.default_rng(0)
    width = len("".join(tokens).encode("utf-8")) / len(tokens)  # mean bytes of a token
    with path.open("wb") as file:
        while (missing := size - file.tell()) >= 4:
            length = int(1.1 * min(missing, PART) / width / CHAINS) + 1
            drawn = np.empty((length, CHAINS), dtype=np.int64)
            current = generator.choice(chain, CHAINS)
            for step in range(length):
                drawn[step] = current
                chosen = starts[current] + generator.integers(0, counts[current])
                current = followers[chosen]
            part = "".join(map(distinct.__getitem__, drawn.T.ravel().tolist()))
            kept = part.encode("utf-8")[: min(missing, PART)]
            file.write(kept.decode("utf-8", "ignore").encode("utf-8"))  # no half character
        file.write(LAST_LINE % 0)
    return path


def renew(path: Path) -> None:
    """Change the last line, so that nothing that was kept of the text before can be used."""
    length = len(LAST_LINE % 0)
    with path.open("r+b") as file:
        file.seek(-length, 2)
        number = int(file.read())
        file.seek(-length, 2)
        file.write(LAST_LINE % (number + 1))
