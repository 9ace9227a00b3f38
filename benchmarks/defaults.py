"""Measure the default settings and the time of the commands, and write docs/results.md.

    python benchmarks/defaults.py

The corpora are the bundled texts and, if $CHARLM_CORPORA has them, The Time Machine, the Jay Chou
lyrics, Tiny Shakespeare and 5 MB of film reviews (from aclImdb.tar.gz).
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

from charlm.corpus import catalogue, locate
from charlm.tasks.language_model.config import LanguageTrainingSection

PAGE = Path(__file__).parents[1] / "docs" / "results.md"
REVIEWS = 5_000_000  # bytes
HELP_RUNS = 7


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


def charlm(folder: Path, *arguments: str) -> tuple[float, str]:
    """The seconds that a command took, and its stdout."""
    started = time.monotonic()
    command = [sys.executable, "-m", "charlm", *arguments]
    done = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
    return time.monotonic() - started, done.stdout


def measure(corpus: str, folder: Path) -> dict[str, Any]:
    """The results of train, generate and eval with the default settings."""
    print(corpus, file=sys.stderr, flush=True)
    train_seconds, out = charlm(folder, "train", "--corpus", corpus, "--json", "--quiet")
    trained = json.loads(out)
    prefix = trained["samples"][0]["prefix"]
    options = ("--prefix", prefix, "--seed", "0", "--quiet")
    generate_seconds, text = charlm(folder, "generate", *options)
    eval_seconds, out = charlm(folder, "eval", "--split", "valid", "--json", "--quiet")
    return {
        **trained,
        "command_seconds": (train_seconds, generate_seconds, eval_seconds),
        "text": text.rstrip(),
        "eval": json.loads(out),
    }


def row(result: dict[str, Any]) -> str:
    """One row of the table."""
    score, others = result["eval"], result["eval"]["baselines"]
    cells = [
        f"`{result['corpus']}`",
        f"{result['epochs']:.1f}",
        f"{result['characters_per_second']:,}",
        f"{score['characters']:,}",
        f"**{score['perplexity']:.3f}**",
        *(f"{others[name]['perplexity']:.3f}" for name in ("ngram", "xz", "unigram")),
        f"{score['bits_per_char']:.3f}",
        *(f"{seconds:.1f}" for seconds in result["command_seconds"]),
    ]
    return "| " + " | ".join(cells) + " |"


def help_seconds(folder: Path) -> list[float]:
    """The seconds of several calls of ``charlm --help``."""
    return [charlm(folder, "--help")[0] for _ in range(HELP_RUNS)]


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
            f"Written by `python benchmarks/defaults.py` on {time.strftime('%Y-%m-%d')}: torch "
            f"{torch.__version__}, Python {platform.python_version()}, {platform.machine()}, "
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
            "| corpus | epochs | characters/s | scored | perplexity | ngram | xz | unigram "
            "| bits/char | train s | generate s | eval s |",
            "|" + " --- |" * 12,
            *(row(result) for result in results),
            "",
            f"`charlm --help` takes {statistics.median(help_times):.2f} s (median of "
            f"{len(help_times)} calls, {min(help_times):.2f} to {max(help_times):.2f} s).",
            "",
            "## Generated texts",
            "",
            *samples,
        ]
    )


def main() -> None:
    """Measure and write."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        help_times = help_seconds(folder)
        corpora = [entry.name for entry in catalogue().values() if locate(entry)]
        long_text = reviews(folder)
        corpora += [str(long_text)] if long_text else []
        results = [measure(corpus, folder) for corpus in corpora]
    PAGE.write_text(page(results, help_times).rstrip() + "\n", encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
