"""Measure the default settings and the time of the commands, and write docs/results.md.

    python -m benchmarks tables defaults

The corpora are the bundled texts and, if $CHARLM_CORPORA has them, The Time Machine, the Jay Chou
lyrics, Tiny Shakespeare and 5 MB of film reviews (from aclImdb.tar.gz).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.commands import CHARLM, run, seconds
from benchmarks.results import table
from charlm.corpus import catalogue, locate
from charlm.tasks.language_model.config import LanguageTrainingSection

PAGE = Path(__file__).parents[2] / "docs" / "results.md"
REVIEWS = 5_000_000  # bytes
HELP_RUNS = 7
HEADER = [
    *("corpus", "epochs", "characters/s", "scored", "perplexity", "ngram", "xz", "unigram"),
    *("bits/char", "train s", "generate s", "eval s"),
]
UNSEEN_HEADER = [
    *("corpus", "split", "scored", "network", "ngram", "mixture"),
    *("network below ngram", "mixture below ngram"),
]


def reviews(folder: Path) -> Path | None:
    """A file with about 5 MB of positive film reviews, one per line, in the archive's order."""
    archive = Path(os.environ.get("CHARLM_CORPORA", "corpora")) / "aclImdb.tar.gz"
    if not archive.is_file():
        return None
    path = folder / "reviews.txt"
    with tarfile.open(archive) as tar, path.open("wb") as text:
        for member in tar:
            if member.isfile() and "/train/pos/" in member.name:
                file = tar.extractfile(member)
                assert file is not None
                text.write(file.read().replace(b"<br />", b" ") + b"\n")
            if text.tell() > REVIEWS:
                break
    return path


def timed(folder: Path, *arguments: str) -> tuple[float, str]:
    """The seconds that a command took, and its standard output."""
    started = time.monotonic()
    text = run([*CHARLM, *arguments], folder)
    return time.monotonic() - started, text


def measure(corpus: str, folder: Path) -> dict[str, Any]:
    """The results of train, generate and eval with the default settings."""
    print(corpus, file=sys.stderr, flush=True)
    train_seconds, out = timed(folder, "train", "--corpus", corpus, "--json", "--quiet")
    trained = json.loads(out)
    prefix = trained["samples"][0]["prefix"]
    options = ("--prefix", prefix, "--seed", "0", "--quiet")
    generate_seconds, text = timed(folder, "generate", *options)
    eval_seconds, out = timed(folder, "eval", "--split", "valid", "--json", "--quiet")
    words = ("train", "--resume", "--run", trained["run"], "--mix-ngram", "--json", "--quiet")
    run([*CHARLM, *words], folder)
    return {
        **trained,
        "command_seconds": (train_seconds, generate_seconds, eval_seconds),
        "text": text.rstrip(),
        "eval": json.loads(out),
        "unseen": json.loads(run([*CHARLM, "eval", "--json", "--quiet"], folder)),
    }


def row(result: dict[str, Any]) -> list[str]:
    """One row of the table."""
    score, others = result["eval"], result["eval"]["baselines"]
    return [
        f"`{result['corpus']}`",
        f"{result['epochs']:.1f}",
        f"{result['characters_per_second']:,}",
        f"{score['characters']:,}",
        f"**{score['perplexity']:.3f}**",
        *(f"{others[name]['perplexity']:.3f}" for name in ("ngram", "xz", "unigram")),
        f"{score['bits_per_char']:.3f}",
        *(f"{seconds:.1f}" for seconds in result["command_seconds"]),
    ]


def unseen_row(result: dict[str, Any]) -> list[str]:
    """The scores of network, n-gram and mixture on the test split, if there is one."""
    score = result["unseen"]
    network, ngram, mixture = (
        each["perplexity"] for each in (score, score["baselines"]["ngram"], score["mixture"])
    )
    return [
        f"`{result['corpus']}`",
        score["split"],
        f"{score['characters']:,}",
        *(f"{perplexity:.3f}" for perplexity in (network, ngram, mixture)),
        *(f"{1 - perplexity / ngram:.1%}" for perplexity in (network, mixture)),
    ]


def help_seconds(folder: Path) -> list[float]:
    """The seconds of several calls of ``charlm --help``."""
    return [seconds([*CHARLM, "--help"], folder) for _ in range(HELP_RUNS)]


def page(results: list[dict[str, Any]], help_times: list[float]) -> str:
    """The whole page."""
    import torch

    defaults = LanguageTrainingSection()
    samples = []
    for result in results:
        entry = catalogue().get(result["corpus"])
        if entry and entry.licence.startswith("third-party"):
            continue  # the model may repeat the text, which may not be published
        lines = "\n".join(f"    {line}" for line in result["text"].splitlines())
        prefix = result["samples"][0]["prefix"]
        command = f'charlm generate --prefix "{prefix}" --seed 0'
        samples.append(f"`{result['corpus']}`, `{command}`:\n\n{lines}\n")
    return "\n".join(
        [
            "# Results of the default settings",
            "",
            f"Written by `python -m benchmarks tables defaults` on {time.strftime('%Y-%m-%d')}: "
            f"torch {torch.__version__}, Python {platform.python_version()}, {platform.machine()}, "
            f"CPU, {os.cpu_count()} cores of a shared machine.",
            "",
            "For each corpus these commands were run: `charlm train --corpus NAME`, `charlm "
            "generate`, and `charlm eval --split valid`, with all other settings at their "
            f"defaults. The model is an LSTM, trained for {defaults.epochs} epochs or "
            f"{60 * (defaults.minutes or 0):.0f} seconds, whichever comes first. Perplexities are "
            'per character, on the validation split. "ngram" is modified Kneser-Ney of the order '
            'up to 6 that is best on the validation split itself. "xz" reads the train split '
            "first. Seconds are for the whole command. The default settings were chosen by "
            "validation perplexity, mostly on The Time Machine, so these figures are slightly "
            "optimistic.",
            "",
            *table(HEADER, map(row, results)),
            "",
            "Then `charlm train --resume --mix-ngram` mixed each network with an n-gram, and "
            "`charlm eval` scored the test split. Nothing was chosen on it but the order of "
            '"ngram": the weights of the mixture come from the validation split. Tiny Shakespeare '
            "has no test split, so its row is slightly optimistic.",
            "",
            *table(UNSEEN_HEADER, map(unseen_row, results)),
            "",
            f"`charlm --help` takes {statistics.median(help_times):.2f} s (median of "
            f"{len(help_times)} calls, {min(help_times):.2f} to {max(help_times):.2f} s).",
            "",
            "## Generated texts",
            "",
            *samples,
        ]
    )


def main(arguments: list[str]) -> None:
    """Measure and write."""
    argparse.ArgumentParser(
        prog="python -m benchmarks tables defaults", description=(__doc__ or "").splitlines()[0]
    ).parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        help_times = help_seconds(folder)
        texts = (entry for entry in catalogue().values() if entry.cleaning)
        corpora = [entry.name for entry in texts if locate(entry)]
        long_text = reviews(folder)
        corpora += [str(long_text)] if long_text else []
        results = [measure(corpus, folder) for corpus in corpora]
    PAGE.write_text(page(results, help_times).rstrip() + "\n", encoding="utf-8")
    print(PAGE)
