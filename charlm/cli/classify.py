"""``charlm classify``: tell texts apart, such as good and bad reviews."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from charlm.cli.output import Output, figure
from charlm.cli.settings import takes_settings, warn_of_idle_settings
from charlm.cli.training import open_to_resume, train_examples
from charlm.config import (
    SETTINGS_FOR_CHARACTERS,
    SETTINGS_FOR_PRETRAINED,
    ClassificationConfig,
    Settings,
)
from charlm.errors import UsageError

if TYPE_CHECKING:
    import torch

    from charlm.corpus.reviews import Reviews
    from charlm.evaluation.classification import ClassScores
    from charlm.runs import ClassifierRun, Run

app = typer.Typer(
    help="Train a network to label texts, such as reviews, and use it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
@takes_settings(ClassificationConfig)
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
    """Train a classifier: embedding, recurrent layers, features over time, output layer.

    A part of the train texts is used for validation. The weights with the best validation accuracy
    are kept, and the test texts are scored with them at the end.

    Settings are merged in this order, and the last one wins: the defaults, --preset, --config, the
    options, --set. --dry-run shows the result.
    """
    output = Output(as_json=as_json, quiet=quiet)
    from charlm.corpus.reviews import load_reviews
    from charlm.runs import ClassifierRun

    opened = None
    if resume:
        opened = open_to_resume(ClassifierRun, run, [*map(_absolute, given)], output)
        settings, corpus = opened.config, opened.load_corpus(corpora_dir)
    else:
        settings, source = _with_layers_of_a_run(given, output)
        warn_of_idle_settings(settings, given, output)
        known = None if source is None else source.vocabulary
        corpus = load_reviews(settings.corpus, corpora_dir, tokens=known)
    labels = list(corpus.data.labels)
    train_examples(
        ClassifierRun,
        opened,
        settings,
        corpus,
        run,
        dry_run=dry_run,
        words=f"texts with {len(labels)} labels",
        plan={"labels": labels},
        score=("test_accuracy", lambda *where: _score(*where).accuracy),
        next_command='predict "a text of yours"',
        output=output,
    )


def _absolute(settings: Settings) -> Settings:
    """The settings with the absolute path of the language model's run, as run.json has it."""
    model = dict(settings.get("model", {}))
    if isinstance(model.get("from_run"), str) and model["from_run"] != "none":
        model["from_run"] = str(Path(model["from_run"]).resolve())
    return {**settings, "model": model}


def _with_layers_of_a_run(
    given: list[Settings], output: Output
) -> tuple[ClassificationConfig, Run | None]:
    """The configuration, and the run of the language model that the classifier starts from.

    Raises:
        UsageError: the user's settings differ from those of that run.
        RunError: there is no such run, or it has no checkpoint yet.
    """
    from charlm.runs import Run

    config = ClassificationConfig.from_settings(given)
    if config.model.from_run is None:
        if config.corpus.tokens == "characters":
            config = ClassificationConfig.from_settings([SETTINGS_FOR_CHARACTERS, *given])
        return config, None
    folder = Path(config.model.from_run)
    run = Run.open(folder)
    for notice in run.notices:
        output.warn(notice)
    run.read_weights("best")  # raises before the new run's folder is created
    model = run.config.model
    own = {
        "corpus": {"tokens": "characters", "cleaning": run.corpus["cleaning"]},
        "model": {
            "cell": model.cell,
            "backend": model.backend,
            "hidden_size": model.hidden_size,
            "num_layers": model.num_layers,
            "bidirectional": False,
            "embedding": "one-hot" if model.embedding == "one-hot" else "learned",
            "embedding_size": (
                model.hidden_size if model.embedding == "tied" else model.embedding_size
            ),
            "ngrams": 1,
        },
    }
    for section, values in own.items():
        for key, wanted in values.items():
            value = getattr(getattr(config, section), key)
            if value != wanted and any(key in each.get(section, {}) for each in given):
                raise UsageError(
                    f"{section}.{key} is {wanted} in {run.folder}, not {value}",
                    "leave it out: it is taken from the run",
                )
    own["model"]["from_run"] = str(folder.resolve())
    return ClassificationConfig.from_settings([SETTINGS_FOR_PRETRAINED, *given, own]), run


@app.command()
def predict(
    texts: Annotated[
        list[str], typer.Argument(metavar="TEXT", help="A text, or more; - for lines of stdin.")
    ],
    run: RunFolder = None,
    device: Device = "auto",
    corpora_dir: CorporaDir = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """Label texts with a trained classifier."""
    import torch

    from charlm.device import select_device
    from charlm.evaluation.classification import class_logits
    from charlm.runs import ClassifierRun
    from charlm.sequences import Sequences

    output = Output(as_json=as_json, quiet=quiet)
    opened = open_run(ClassifierRun, run, output)
    texts = lines_given(texts)
    where, labels = select_device(device), opened.vocabulary.labels
    encoded = [opened.vocabulary.encode(text, opened.config.corpus) for text in texts]
    sequences = Sequences([torch.from_numpy(ids) for ids in encoded], where)
    logits = class_logits(opened.load_model().to(where), sequences)
    parts = logits.double().softmax(1)
    rows: list[dict[str, Any]] = []
    for text, ids, probabilities in zip(texts, encoded, parts.tolist(), strict=True):
        unknown = int((ids == opened.vocabulary.unknown).sum())
        if unknown == len(ids):
            output.warn(f"nothing in {text[:40]!r} is in the vocabulary: the label is a guess")
        by_label = dict(zip(labels, probabilities, strict=True))
        rows.append(
            {"text": text, "label": max(by_label, key=by_label.__getitem__), "labels": by_label}
        )
    output.json({"run": str(opened.folder), "task": "classify", "predictions": rows})
    for row in rows:
        start = "" if len(rows) == 1 else f"  {' '.join(row['text'][:60].split())}"
        output.text(f"{row['label']}  {100 * row['labels'][row['label']]:.1f}%{start}")


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
    """Score a classifier: accuracy, loss, and which labels it takes for which."""
    from charlm.device import select_device
    from charlm.runs import ClassifierRun

    output = Output(as_json=as_json, quiet=quiet)
    begun = time.monotonic()
    opened = open_with_data(ClassifierRun, run, data, output)
    corpus = opened.load_corpus(corpora_dir)
    name = chosen_split(split, corpus.split_sizes)
    with polled() as stop:
        scores = _score(opened, corpus, name, select_device(device), stop)
    labels = opened.vocabulary.labels
    by_label = {label: scores.of_label(index) for index, label in enumerate(labels)}
    output.json(
        {
            "run": str(opened.folder),
            "task": "classify",
            "parameters": opened.training["parameters"],
            "split": name,
            "texts": scores.count,
            f"{name}_accuracy": scores.accuracy,
            f"{name}_loss": scores.loss,
            "majority_accuracy": scores.majority,
            "confusion": {
                label: dict(zip(labels, row, strict=True))
                for label, row in zip(labels, scores.confusion, strict=True)
            },
            "labels": {
                label: dict(zip(("precision", "recall", "f1"), values, strict=True))
                for label, values in by_label.items()
            },
            "seconds": round(time.monotonic() - begun, 2),
        }
    )
    output.text(
        f"{name} accuracy {scores.accuracy:.2f}% of {scores.count:,} texts "
        f"(always the most frequent label: {scores.majority:.2f}%)\n"
        f"{name} loss {figure(scores.loss)} nats per text\n"
    )
    output.table(
        ("label (rows), given (columns)", *labels),
        [
            (label, *(f"{count:,}" for count in row))
            for label, row in zip(labels, scores.confusion, strict=True)
        ],
    )
    output.text("")
    output.table(
        ("label", "precision", "recall", "F1"),
        [(label, *(f"{value:.2f}%" for value in row)) for label, row in by_label.items()],
    )


def _score(
    run: ClassifierRun,
    corpus: Reviews,
    split: str,
    device: torch.device,
    should_stop: Callable[[], bool],
) -> ClassScores:
    """The best weights on a split.

    Raises:
        Stopped: ``should_stop`` said so.
    """
    from charlm.evaluation.classification import class_logits, class_scores
    from charlm.training.classification import load_sequences

    sequences = load_sequences(corpus, split, device)
    logits = class_logits(run.load_model().to(device), sequences, should_stop=should_stop)
    return class_scores(logits, corpus.labels(split))
