"""Measure --lines on a sorted list of words, and print the figures of docs/lines.md.

    python -m benchmarks tables lines FOLDER

It writes FOLDER/words.txt: the 32,000 most frequent words of 2 to 15 letters in the training
reviews of IMDB (aclImdb.tar.gz in $CHARLM_CORPORA), one per line in alphabetical order. Then it
trains with and without --lines, scores both runs, and generates lines at several temperatures.
"""

from __future__ import annotations

import argparse
import os
import re
import tarfile
from collections import Counter
from pathlib import Path

from benchmarks.commands import charlm

NUM_WORDS = 32_000
NUM_SAMPLES = 1000
DECODINGS = ((0.5, 0.9), (0.7, 0.9), (1.0, 1.0))  # temperature and top-p


def words() -> list[str]:
    """The most frequent words, sorted."""
    archive = Path(os.environ.get("CHARLM_CORPORA", "corpora")) / "aclImdb.tar.gz"
    counts: Counter[str] = Counter()
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile() and re.search(r"/train/(pos|neg)/", member.name):
                file = tar.extractfile(member)
                assert file is not None
                text = file.read().decode().replace("<br />", " ").lower()
                counts.update(re.findall("[a-z]+", text))
    known = [word for word in counts if 2 <= len(word) <= 15]
    return sorted(sorted(known, key=lambda word: (-counts[word], word))[:NUM_WORDS])


def main(arguments: list[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks tables lines", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    folder = parser.parse_args(arguments).folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "words.txt").write_text("".join(f"{word}\n" for word in words()))
    print("| | epochs | characters/s | scored | perplexity | bits/char | ngram | unigram |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for option in ("--lines", ""):
        run = ["--run", f"checkpoints/words{option}"]
        trained = charlm(folder, "train", "--corpus", "words.txt", *option.split(), *run)
        for split in ("valid", "test"):
            scores = charlm(folder, "eval", *run, "--split", split)
            others = (scores["baselines"][name]["perplexity"] for name in ("ngram", "unigram"))
            cells = [
                *(f"{option or 'without'}, {split}", f"{trained['epochs']:.1f}"),
                *(f"{trained['characters_per_second']:,}", f"{scores['characters']:,}"),
                *(f"**{scores['perplexity']:.3f}**", f"{scores['bits_per_char']:.3f}"),
                *(f"{other:.3f}" for other in others),
            ]
            print("|", " | ".join(cells), "|", flush=True)
    print("\n| temperature | top-p | not in the text | distinct |\n| --- | --- | --- | --- |")
    for temperature, top_p in DECODINGS:
        options = ["--temperature", str(temperature), "--top-p", str(top_p), "--seed", "0"]
        options += ["--num-samples", str(NUM_SAMPLES)]
        found = charlm(folder, "generate", "--run", "checkpoints/words--lines", *options)
        new, distinct = sum(found["new"]), len(set(found["samples"]))
        shares = f"{new / NUM_SAMPLES:.1%} | {distinct / NUM_SAMPLES:.1%}"
        print(f"| {temperature} | {top_p} | {shares} |")
