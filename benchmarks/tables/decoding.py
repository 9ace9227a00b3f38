"""Compare temperatures and top-p, and write docs/decoding.md.

    python -m benchmarks tables decoding                    trains, samples, and writes the page
    python -m benchmarks tables decoding --corpus NAME      trains and samples one corpus only

Runs and figures are in checkpoints/decoding; what is there is not made again. The Time Machine,
Tiny Shakespeare and the Jay Chou lyrics are read from $CHARLM_CORPORA. The program ends with an
error if its rule would choose another default than the package has.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.commands import CHARLM, run
from benchmarks.results import table
from charlm.strict_json import dumps
from charlm.tasks.language_model.config import TEMPERATURE, TOP_P
from charlm.tasks.language_model.sample_quality import COPIED

PAGE = Path(__file__).parents[2] / "docs" / "decoding.md"
RUNS = Path("checkpoints/decoding")
CORPORA = ("traveller", "timemachine", "tinyshakespeare", "night_train", "jaychou")
TEMPERATURES = (0.5, 0.6, 0.7, 0.8, 1.0)
TOP_PS = (None, 0.95, 0.9, 0.8)
SAMPLES, LENGTH = 32, 500
NGRAM = 4
DISTINCT = 0.9  # the least share that a default may have
FORMER = (0.7, None)


def train(corpus: str) -> None:
    """Train a run with the default settings, unless it exists."""
    folder = RUNS / corpus
    if not (folder / "summary.json").exists():
        run([*CHARLM, "train", "--corpus", corpus, "--run", str(folder), "--quiet"], Path.cwd())


def measure(name: str) -> dict[str, Any]:
    """The figures of a corpus: of its own held-out text, and of each cell of the grid."""
    from charlm.runs import Run
    from charlm.tasks.language_model import sample_quality
    from charlm.tasks.language_model.continuation import Ending, continue_text
    from charlm.tasks.language_model.decoding import Decoding

    opened = Run.open(RUNS / name)
    corpus, model = opened.load_corpus(), opened.load_model()
    known = corpus.text("train")
    words = sample_quality.has_words(known)
    prefix = opened.config.training.prefixes[0]
    ids = opened.vocabulary.encode(prefix).tolist()

    def figures(texts: list[str]) -> dict[str, float]:
        return {
            "made_up": sample_quality.made_up_share(texts, known),
            "distinct": sample_quality.distinct_share(texts, NGRAM, words=words),
            "copied": sample_quality.copied_share(texts, known),
        }

    def sample(decoding: Decoding) -> list[str]:
        texts = [prefix] * SAMPLES
        ending = Ending(length=LENGTH)
        for added in continue_text(
            model, opened.vocabulary, ids, ending=ending, decoding=decoding, num_samples=SAMPLES
        ):
            texts = [text + more for text, more in zip(texts, added, strict=True)]
        return texts

    grid = []
    for temperature, top_p in itertools.product(TEMPERATURES, TOP_PS):
        texts = sample(Decoding(temperature=temperature, top_p=top_p))
        cell = {"temperature": temperature, "top_p": top_p, **figures(texts)}
        print(name, cell, file=sys.stderr, flush=True)
        grid.append({**cell, "text": texts[0]})
    held_out = corpus.text("valid") + corpus.text("test")
    size = SAMPLES * LENGTH
    return {
        "words": words,
        "perplexity": min(row["valid_perplexity"] for row in opened.metrics),
        "held_out": {**figures([held_out[:size]]), "characters": len(held_out[:size])},
        "grid": grid,
    }


def results(name: str) -> dict[str, Any]:
    """The figures of a corpus, measured if they are not in a file yet."""
    path = RUNS / f"{name}.json"
    if not path.exists():
        train(name)
        path.write_text(dumps(measure(name)), encoding="utf-8")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def percents(figures: dict[str, Any]) -> str:
    """The three figures of a cell of the table."""
    return " / ".join(f"{figures[name]:.1%}"[:-1] for name in ("made_up", "distinct", "copied"))


def rows(found: dict[str, dict[str, Any]]) -> Iterator[list[str]]:
    """The table: a row for the held-out texts, and one for each cell of the grid."""
    yield ["held-out text", "", *(percents(each["held_out"]) for each in found.values())]
    for number, (temperature, top_p) in enumerate(itertools.product(TEMPERATURES, TOP_PS)):
        mark = "**" if (temperature, top_p) == (TEMPERATURE, TOP_P) else ""
        cells = [f"{temperature}", f"{top_p or 'none'}"]
        cells += [percents(each["grid"][number]) for each in found.values()]
        yield [f"{mark}{cell}{mark}" for cell in cells]


def means(found: dict[str, dict[str, Any]], share: str) -> dict[tuple[float, float | None], float]:
    """A share of each setting of the grid, as a mean over texts."""
    grids = zip(*(each["grid"] for each in found.values()), strict=True)
    settings = itertools.product(TEMPERATURES, TOP_PS)
    return {
        setting: statistics.mean(cell[share] for cell in cells)
        for setting, cells in zip(settings, grids, strict=True)
    }


def reason(found: dict[str, dict[str, Any]]) -> str:
    """Why the default is what it is, in two sentences."""
    made_up, distinct = means(found, "made_up"), means(found, "distinct")
    enough = [setting for setting in made_up if distinct[setting] >= DISTINCT]
    best = min(enough, key=made_up.__getitem__)
    words = means({name: each for name, each in found.items() if each["words"]}, "made_up")
    chosen = (
        f"Of the settings with a distinct share of at least {DISTINCT:.0%}, as a mean over the "
        f"{len(found)} texts, temperature {best[0]} and top-p {best[1]} has the lowest made-up "
        f"share. In the English texts {words[best]:.1%} of the words are made up, and "
        f"{words[FORMER]:.1%} with temperature {FORMER[0]} and no filter; settings with still "
        "fewer made-up words repeat themselves more."
    )
    if best != (TEMPERATURE, TOP_P):
        raise SystemExit(f"the default is {TEMPERATURE}, {TOP_P}. {chosen}")
    return chosen


def page(found: dict[str, dict[str, Any]]) -> str:
    """The whole page."""
    import torch

    perplexities = [f"{each['perplexity']:.4g} for `{name}`" for name, each in found.items()]
    return "\n".join(
        [
            "# Temperature and top-p",
            "",
            f"Written by `python -m benchmarks tables decoding` on {time.strftime('%Y-%m-%d')}: "
            f"torch {torch.__version__}, Python {platform.python_version()}, "
            f"{platform.machine()}, CPU.",
            "",
            "For each corpus a model was trained with `charlm train --corpus NAME`. The "
            f"best perplexities on the validation split are {', '.join(perplexities)}. Each model "
            f"then continued its first prefix {SAMPLES} times, by {LENGTH} characters each, with "
            "each temperature and top-p. The texts end as those of `charlm generate` do. Each cell "
            "has three figures, in percent:",
            "",
            "- **made-up**: the share of the words that stand nowhere in the training text, upper "
            "and lower case alike. Chinese has no spaces between words. There it is the share of "
            "the trigrams of characters that stand nowhere in the training text.",
            f"- **distinct**: the number of different {NGRAM}-grams divided by the number of all "
            f"{NGRAM}-grams, over the {SAMPLES} texts together. They are {NGRAM}-grams of words, "
            "in Chinese of characters. A low share means that the texts repeat themselves.",
            f"- **copied**: the share of the characters that lie in a run of at least {COPIED} "
            "characters that stands verbatim in the training text.",
            "",
            "The first row measures the held-out text of the corpus in the same way: up to "
            f"{SAMPLES * LENGTH:,} characters of it. The lyrics of `jaychou` repeat whole "
            "passages.",
            "",
            *table(["temperature", "top-p", *(f"`{name}`" for name in found)], rows(found)),
            "",
            "## The default",
            "",
            f"`charlm generate` samples with temperature {TEMPERATURE} and top-p {TOP_P}. "
            + reason(found),
            "",
            "The samples that `charlm train` shows have their own setting, "
            "`training.sample_temperature`, and no top-p.",
        ]
    )


def main(arguments: list[str]) -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks tables decoding", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--corpus", choices=CORPORA, help="measure this corpus only")
    chosen = parser.parse_args(arguments).corpus
    if chosen:
        results(chosen)
        return
    PAGE.write_text(page({name: results(name) for name in CORPORA}) + "\n", encoding="utf-8")
    print(PAGE)
