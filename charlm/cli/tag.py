"""``charlm tag``: tag the words of sentences, such as the places and times of a question."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from charlm.cli.interrupts import polled
from charlm.cli.options import (
    AsJson,
    CorporaDir,
    Device,
    DryRun,
    MovedData,
    NewRun,
    Quiet,
    Resume,
    RunFolder,
    Split,
    Version,
    chosen_split,
    lines_given,
    open_run,
    open_with_data,
)
from charlm.cli.output import Output
from charlm.cli.settings import takes_settings, warn_of_idle_settings
from charlm.cli.training import open_to_resume, train_examples
from charlm.config import Settings, TaggingConfig
from charlm.errors import UsageError, shown

if TYPE_CHECKING:
    import torch

    from charlm.corpus.slots import Slots
    from charlm.evaluation.spans import SpanScores
    from charlm.runs import TaggerRun

app = typer.Typer(
    help="Train a network to tag the words of sentences, and use it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
@takes_settings(TaggingConfig)
def train(
    given: list[Settings],
    run: NewRun = None,
    resume: Resume = False,
    dry_run: DryRun = False,
    corpora_dir: CorporaDir = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """Train a tagger: words and their n-grams, recurrent layers, a tag for each word.

    The weights with the best F1 on the validation sentences are kept, and the test sentences are
    scored with them at the end.

    Settings are merged in this order, and the last one wins: the defaults, --preset, --config, the
    options, --set. --dry-run shows the result.
    """
    output = Output(as_json=as_json, quiet=quiet)
    from charlm.corpus.slots import load_slots
    from charlm.runs import TaggerRun

    opened = None
    if resume:
        opened = open_to_resume(TaggerRun, run, given, output)
        settings, corpus = opened.config, opened.load_corpus(corpora_dir)
    else:
        settings = TaggingConfig.from_settings(given)
        warn_of_idle_settings(settings, given, output)
        corpus = load_slots(settings.corpus, corpora_dir)
    train_examples(
        TaggerRun,
        opened,
        settings,
        corpus,
        run,
        dry_run=dry_run,
        words=f"sentences with {len(corpus.vocabulary.tags)} tags",
        plan={"tags": list(corpus.vocabulary.tags)},
        score=("test_f1", lambda *where: _score(*where)[0].overall.f1),
        next_command='predict "a sentence of words"',
        output=output,
    )


@app.command()
def predict(
    sentences: Annotated[
        list[str],
        typer.Argument(metavar="SENTENCE", help="A sentence, or more; - for lines of stdin."),
    ],
    run: RunFolder = None,
    device: Device = "auto",
    corpora_dir: CorporaDir = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """Tag the words of sentences with a trained tagger."""
    from charlm.corpus.tagged_sentences import MAX_CHARACTERS, MAX_WORDS
    from charlm.device import select_device
    from charlm.evaluation.spans import spans
    from charlm.evaluation.tagging import Sentences, predict_tags
    from charlm.runs import TaggerRun

    output = Output(as_json=as_json, quiet=quiet)
    opened = open_run(TaggerRun, run, output)
    split = [words for line in lines_given(sentences) if (words := line.split())]
    if not split:
        raise UsageError("there is no word to tag", 'for example: charlm tag predict "to boston"')
    for words in split:
        if len(words) > MAX_WORDS or max(map(len, words)) > MAX_CHARACTERS:
            raise UsageError(
                f"{shown(' '.join(words[:20]))} is no sentence: it has more than {MAX_WORDS:,} "
                f"words, or a word of more than {MAX_CHARACTERS:,} characters",
                "put each sentence in a line of its own",
            )
    where = select_device(device)
    read = Sentences(split, opened.vocabulary, opened.config.corpus, where)
    tags = predict_tags(opened.load_model().to(where), read, opened.vocabulary.tags)
    output.json(
        {
            "run": str(opened.folder),
            "task": "tag",
            "predictions": [
                {
                    "words": words,
                    "tags": found,
                    "spans": [
                        {"kind": span.kind, "text": " ".join(words[span.start : span.end])}
                        for span in spans(found)
                    ],
                }
                for words, found in zip(split, tags, strict=True)
            ],
        }
    )
    for number, (words, found) in enumerate(zip(split, tags, strict=True)):
        if number:
            output.text("")
        output.table(("word", "tag"), list(zip(words, found, strict=True)), left=2)


@app.command("eval")
def evaluate(
    run: RunFolder = None,
    split: Split = None,
    data: MovedData = None,
    device: Device = "auto",
    corpora_dir: CorporaDir = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """Score a tagger: precision, recall and F1 of the spans, of all and of each kind."""
    from charlm.device import select_device
    from charlm.runs import TaggerRun

    output = Output(as_json=as_json, quiet=quiet)
    begun = time.monotonic()
    opened = open_with_data(TaggerRun, run, data, output)
    corpus = opened.load_corpus(corpora_dir)
    name = chosen_split(split, corpus.split_sizes)
    with polled() as stop:
        scores, accuracy = _score(opened, corpus, name, select_device(device), stop)
    overall = scores.overall
    output.json(
        {
            "run": str(opened.folder),
            "task": "tag",
            "parameters": opened.training["parameters"],
            "split": name,
            "sentences": len(corpus.data.splits[name]),
            f"{name}_f1": overall.f1,
            f"{name}_precision": overall.precision,
            f"{name}_recall": overall.recall,
            "word_accuracy": accuracy,
            "slots": {
                kind: {
                    "precision": counts.precision,
                    "recall": counts.recall,
                    "f1": counts.f1,
                    "spans": counts.gold,
                }
                for kind, counts in scores.kinds.items()
            },
            "seconds": round(time.monotonic() - begun, 2),
        }
    )
    output.text(
        f"{name} F1 {overall.f1:.2f}% (precision {overall.precision:.2f}%, recall "
        f"{overall.recall:.2f}%) of {overall.gold:,} spans in "
        f"{len(corpus.data.splits[name]):,} sentences; tags right: {accuracy:.2f}%\n"
    )
    by_count = sorted(scores.kinds.items(), key=lambda item: -item[1].gold)
    output.table(
        ("slot", "spans", "precision", "recall", "F1"),
        [
            (
                kind,
                f"{counts.gold:,}",
                *(f"{each:.2f}%" for each in (counts.precision, counts.recall, counts.f1)),
            )
            for kind, counts in by_count
        ],
    )


def _score(
    run: TaggerRun,
    corpus: Slots,
    split: str,
    device: torch.device,
    should_stop: Callable[[], bool],
) -> tuple[SpanScores, float]:
    """The best weights on a split: the spans, and the tags that are right, in percent.

    Raises:
        Stopped: ``should_stop`` said so.
    """
    from charlm.evaluation.spans import score_spans
    from charlm.evaluation.tagging import Sentences, predict_tags, tags_of, words_of

    sentences, vocabulary = corpus.data.splits[split], run.vocabulary
    read = Sentences(words_of(sentences), vocabulary, run.config.corpus, device)
    model = run.load_model().to(device)
    found = predict_tags(model, read, vocabulary.tags, should_stop=should_stop)
    gold = tags_of(sentences)
    right = sum(a == b for row in zip(gold, found, strict=True) for a, b in zip(*row, strict=True))
    return score_spans(gold, found), 100 * right / sum(map(len, gold))
