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
    Assignments,
    Backend,
    BatchSize,
    Bidirectional,
    Cell,
    ClipNorm,
    ConfigFile,
    CorporaDir,
    Deterministic,
    Device,
    DryRun,
    Encoding,
    Epochs,
    HiddenSize,
    LearningRate,
    Minutes,
    MovedData,
    NewRun,
    NumLayers,
    Patience,
    Quiet,
    Resume,
    RunFolder,
    Seed,
    Split,
    TrainDevice,
    Version,
    chosen_split,
    lines_given,
    open_run,
    open_with_data,
    preset_option,
    settings_layers,
)
from charlm.cli.output import Output, figure
from charlm.cli.training import open_to_resume, train_examples
from charlm.config import FEATURES, ClassifyConfig, Layer
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
CHARACTERS = 1_500  # of a text that are kept, unless told: about as much as 300 words
Preset = Annotated[str | None, preset_option("classify")]


@app.command()
def train(
    data: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FOLDER|FILE",
            help="Labelled texts: imdb; a folder or .tar.gz of train/LABEL/*.txt; a .csv or "
            ".jsonl file of texts and labels. [default: imdb]",
        ),
    ] = None,
    preset: Preset = None,
    config: ConfigFile = None,
    assignments: Assignments = None,
    encoding: Encoding = None,
    text_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of the texts in a .csv or .jsonl file.")
    ] = None,
    label_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of the labels in a .csv or .jsonl file.")
    ] = None,
    tokens: Annotated[
        str | None, typer.Option(metavar="words|characters", help="What a text is made of.")
    ] = None,
    length: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Keep N words or characters of a text. [default: 400 words or 1,500 characters]",
        ),
    ] = None,
    cell: Cell = None,
    backend: Backend = None,
    hidden_size: HiddenSize = None,
    num_layers: NumLayers = None,
    bidirectional: Bidirectional = None,
    features: Annotated[
        str | None,
        typer.Option(metavar="|".join(FEATURES), help="What is made of the outputs over time."),
    ] = None,
    from_run: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Begin with the layers of a trained language model."),
    ] = None,
    frozen: Annotated[
        bool, typer.Option("--frozen", help="With --from-run: its layers stay as they are.")
    ] = False,
    batch_size: BatchSize = None,
    epochs: Epochs = None,
    minutes: Minutes = None,
    patience: Patience = None,
    lr: LearningRate = None,
    clip_norm: ClipNorm = None,
    seed: Seed = None,
    device: TrainDevice = None,
    run: NewRun = None,
    resume: Resume = False,
    deterministic: Deterministic = False,
    dry_run: DryRun = False,
    corpora_dir: CorporaDir = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """Train a classifier: embedding, recurrent layers, features over time, a head.

    A part of the train texts is held out for validation, the weights with the best accuracy on it
    are kept, and the test texts are scored with them at the end.

    Settings are taken from the defaults, then --preset, then --config, then the options, then
    --set. See them all with --dry-run.
    """
    options: Layer = {
        "corpus": {
            "source": data,
            "encoding": encoding,
            "text_column": text_column,
            "label_column": label_column,
            "tokens": tokens,
            "length": length,
        },
        "model": {
            "cell": cell,
            "backend": backend,
            "hidden_size": hidden_size,
            "num_layers": num_layers,
            "bidirectional": bidirectional,
            "features": features,
            "from_run": from_run and str(from_run.resolve() if resume else from_run),
            "tune": False if frozen else None,
        },
        "training": {
            "batch_size": batch_size,
            "epochs": epochs,
            "minutes": minutes,
            "patience": patience,
            "lr": lr,
            "clip_norm": clip_norm,
            "seed": seed,
            "device": device,
            "deterministic": deterministic or None,
        },
    }
    layers = settings_layers(ClassifyConfig, preset, config, options, assignments)
    output = Output(as_json=as_json, quiet=quiet)
    from charlm.corpus.reviews import load_reviews
    from charlm.runs import ClassifierRun

    opened = None
    if resume:
        opened = open_to_resume(ClassifierRun, run, layers, output)
        settings, corpus = opened.config, opened.load_corpus(corpora_dir)
    else:
        settings, source = _with_layers_of_a_run(layers, output)
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


def _with_layers_of_a_run(layers: list[Layer], output: Output) -> tuple[ClassifyConfig, Run | None]:
    """The settings, and the language model whose layers the classifier begins with.

    Raises:
        UsageError: the user's settings are not those of that run.
        RunError: there is no such run, or it has learned nothing yet.
    """
    from charlm.runs import Run

    config = ClassifyConfig.from_layers(layers)
    characters: Layer = {"corpus": {"length": CHARACTERS}}
    if config.model.from_run is None:
        if config.corpus.tokens == "characters":
            config = ClassifyConfig.from_layers([characters, *layers])
        return config, None
    given = Path(config.model.from_run)
    run = Run.open(given)
    for notice in run.notices:
        output.warn(notice)
    run.read_weights("best")  # before a folder is made for what could not begin
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
            if value != wanted and any(key in layer.get(section, {}) for layer in layers):
                raise UsageError(
                    f"{section}.{key} is {wanted} in {run.folder}, not {value}",
                    "leave it out: the run brings its own",
                )
    own["model"]["from_run"] = str(given.resolve())
    # A state that was trained on whole texts does not know gaps in them.
    suited = {
        **characters,
        "model": {"standardise": True, "word_dropout": 0.0, "input_dropout": 0.0},
    }
    return ClassifyConfig.from_layers([suited, *layers, own]), run


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

    from charlm.evaluation.classification import class_logits
    from charlm.models.build import select_device
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
    from charlm.models.build import select_device
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
