"""``charlm eval``."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charlm.cli.interrupts import polled
from charlm.cli.options import AsJson, CorporaDir, Device, Quiet, RunFolder, Version, open_run
from charlm.cli.output import Output, figure
from charlm.errors import CorpusError, UsageError

if TYPE_CHECKING:
    from charlm.corpus import Corpus
    from charlm.runs import Run


def evaluate(
    run: RunFolder = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="train|valid|test",
            help="The part of the run's corpus to score. [default: valid, or train where nothing "
            "is held out]",
        ),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A text of yours to score in place of the corpus."),
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of --text. [default: the corpus's]")
    ] = None,
    device: Device = "auto",
    corpora_dir: CorporaDir = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """Score a trained model on a text, beside what simpler predictors make of the same text.

    The predictors have learned from the train split too: the frequencies of the characters
    (unigram), of the sequences of up to six (ngram, modified Kneser-Ney), and xz.
    """
    if split and text:
        raise UsageError("--split is a part of the run's corpus, --text another text: give one")
    import torch

    from charlm.device import select_device
    from charlm.evaluation.baselines import baselines
    from charlm.evaluation.perplexity import evaluate as score

    output = Output(as_json=as_json, quiet=quiet)
    started = time.monotonic()
    from charlm.runs import Run

    opened = open_run(Run, run, output)
    corpus = opened.load_corpus(corpora_dir)
    scored, name = corpus, split or _default_split(corpus)
    if text is not None:
        scored, name = _own(opened, text, encoding)
        for notice in scored.notices:
            output.warn(notice)
    ids, characters = scored.split(name), scored.text(name)
    if len(ids) < 2:
        what = f"the {name} split of {corpus.name}" if text is None else text
        counted = "one character" if len(ids) else "no character"
        raise CorpusError(f"{what} has {counted}; scoring takes two at least")
    model = opened.load_model().to(select_device(device))
    tokens = torch.from_numpy(ids.copy()).to(model.head.weight.device)
    with polled() as stop:
        loss = score(model, tokens, should_stop=stop)
    others = baselines(
        corpus.split("train"),
        ids,
        len(corpus.vocabulary),
        train_text=corpus.text("train"),
        scored_text=characters,
    )
    num_bytes = len(characters[1:].encode("utf-8", "surrogatepass"))
    content: dict[str, Any] = {
        "run": str(opened.folder),
        **({"text": text} if text else {"split": name}),
        "characters": loss.count,
        **_figures(loss.nats_per_char, loss.count, num_bytes),
        "baselines": {
            key: {**_figures(other.nats_per_char, loss.count, num_bytes), "detail": other.detail}
            for key, other in others.items()
        },
        "seconds": round(time.monotonic() - started, 2),
    }
    output.json(content)
    output.text(f"{text or f'{corpus.name}, {name} split'}: {loss.count:,} characters predicted")
    header = ("", "perplexity", "nats/char", "bits/char", "bits/byte")
    rows = {f"this model ({opened.config.model.cell})": content, **content["baselines"]}
    output.table(header, [(label, *_cells(row)) for label, row in rows.items()])


def _default_split(corpus: Corpus) -> str:
    return "valid" if len(corpus.split("valid")) >= 2 else "train"


def _own(run: Run, text: str, encoding: str | None) -> tuple[Corpus, str]:
    """A text of the user's, all of it, cleaned and encoded as the run's corpus."""
    from charlm.corpus import load_corpus

    if not (text == "-" or (text and Path(text).exists())):
        raise CorpusError(f"no file {text!r}", "give --text a file, or - for standard input")
    path = text if text == "-" else str(Path(text).resolve())
    corpus = load_corpus(
        path,
        cleaning=run.corpus["cleaning"],
        encoding=encoding or run.config.corpus.encoding,
        split=(1.0, 0.0, 0.0),
        vocabulary=run.vocabulary,
    )
    return corpus, "train"


def _figures(nats_per_char: float, count: int, num_bytes: int) -> dict[str, float]:
    from charlm.evaluation.perplexity import perplexity

    bits = nats_per_char / math.log(2)
    return {
        "nats_per_char": nats_per_char,
        "perplexity": perplexity(nats_per_char),
        "bits_per_char": bits,
        "bits_per_byte": bits * count / num_bytes,
    }


def _cells(row: dict[str, float]) -> tuple[str, str, str, str]:
    rest = [f"{row[key]:.4f}" for key in ("nats_per_char", "bits_per_char", "bits_per_byte")]
    return figure(row["perplexity"]), rest[0], rest[1], rest[2]
