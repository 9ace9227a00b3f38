"""Classification: predict the label of a text, such as whether a review is good or bad."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charlm.config import Settings
from charlm.corpus import SPLITS
from charlm.errors import UsageError, shown
from charlm.task import DataFacts, EvalOptions, Metric, Plan, Report, Table, Task
from charlm.tasks.classification.config import (
    SETTINGS_FOR_CHARACTERS,
    SETTINGS_FOR_PRETRAINED,
    ClassificationConfig,
)
from charlm.tasks.from_run import check_given, network_settings, open_source

if TYPE_CHECKING:
    import torch

    from charlm.corpus import Vocabulary
    from charlm.runs import Run
    from charlm.tasks.classification.model import Classifier
    from charlm.tasks.classification.objective import LabelOfText
    from charlm.tasks.classification.reviews import Reviews, ReviewVocabulary
    from charlm.tasks.classification.run import ClassifierRun


class ClassificationTask(Task):
    """Predict the label of a text."""

    command = "charlm classify"
    help = "Train and use classifiers of texts, such as movie reviews."
    train_help = """Train a classifier of texts.

    If the data has no validation split, a part of the train texts becomes one. The weights with
    the best validation accuracy are kept. Training ends with their accuracy on the test texts.

    Settings come from the defaults, then --preset, then --config, then the options, then --set;
    later ones win. --dry-run shows all settings.
    """
    eval_help = """Score a classifier: accuracy, loss and confusion matrix."""
    config_type = ClassificationConfig
    preset_package = __name__
    unit = "texts"
    train_metric = Metric(name="loss")
    valid_metric = Metric(
        name="accuracy",
        percent=True,
        higher_is_better=True,
        meaning="Accuracy is the share of the texts that get the right label.",
    )
    predict_argument = ("TEXT", "One or more texts; - reads one text per line of standard input.")
    predict_help = "Label texts with a trained classifier."

    def run_type(self) -> type[ClassifierRun]:
        """`ClassifierRun`."""
        from charlm.tasks.classification.run import ClassifierRun

        return ClassifierRun

    def load_corpus(
        self,
        config: ClassificationConfig,
        corpora_dir: str | Path | None,
        *,
        vocabulary: ReviewVocabulary | None = None,
        kept: Path | None = None,
        progress: bool = False,
    ) -> Reviews:
        """The labelled texts, with the characters of a language model if one is given."""
        from charlm.tasks.classification.reviews import load_reviews

        # Without a language model, the words are collected anew, so that changed texts are noticed.
        tokens = None
        if config.model.from_run is not None and vocabulary is not None:
            tokens = vocabulary.tokens
        return load_reviews(config.corpus, corpora_dir, tokens=tokens, progress=progress)

    def read_vocabulary(self, content: Any) -> ReviewVocabulary:
        """The words or characters, and the labels."""
        from charlm.tasks.classification.reviews import ReviewVocabulary

        return ReviewVocabulary.from_json(content)

    def plan(
        self, settings: Sequence[Settings], corpora_dir: str | Path | None, *, progress: bool
    ) -> Plan:
        """As every task; with ``from_run``, the language model brings settings and characters.

        Raises:
            UsageError: the settings contradict those of the language model.
            RunError: there is no such run, or it has no weights yet.
        """
        from charlm.tasks.classification.reviews import load_reviews

        config = ClassificationConfig.from_settings(settings)
        tokens: Vocabulary | None = None
        warnings: Sequence[str] = ()
        if config.model.from_run is not None:
            source = open_source(config.model)
            config = _with_source(config, source, settings)
            tokens, warnings = source.vocabulary, source.notices
        elif config.corpus.tokens == "characters":
            config = ClassificationConfig.from_settings([SETTINGS_FOR_CHARACTERS, *settings])
        corpus = load_reviews(config.corpus, corpora_dir, tokens=tokens, progress=progress)
        return dataclasses.replace(self.complete(config, corpus), warnings=warnings)

    def complete(self, config: ClassificationConfig, corpus: Reviews) -> Plan:
        """As every task; states the class weights.

        Raises:
            UsageError: the class weights are not those of labels.
        """
        plan = super().complete(config, corpus)
        if config.training.class_weights is None:
            return plan
        weights = corpus.class_weights(config.training.class_weights).items()
        some = ", ".join(f"{shown(label)} {weight:.3g}" for label, weight in [*weights][:10])
        more = ", ..." if len(weights) > 10 else ""
        notice = f"weights in the training loss, not in the scores: {some}{more}"
        return dataclasses.replace(plan, notices=(notice,))

    def facts(self, corpus: Reviews) -> tuple[str, dict[str, Any]]:
        """The labels."""
        labels = list(corpus.data.labels)
        return f"texts with {len(labels)} labels", {"labels": labels}

    def data_facts(self, run: Run, corpus: Reviews, prepared: Any = None) -> DataFacts:
        """The texts of each label, and the accuracy of always saying the most frequent one."""
        from collections import Counter

        counts = {split: Counter(corpus.labels(split)) for split in SPLITS}
        (label, _), *_ = counts["train"].most_common(1)
        names, valid = run.vocabulary.labels, counts["valid"]
        rows = [
            (name, *(f"{counts[split][index]:,}" for split in SPLITS))
            for index, name in enumerate(names)
        ]
        always = {f"always {shown(names[label])}": 100 * valid[label] / valid.total()}
        return DataFacts(
            facts={"data": self.facts(corpus)[0], "vocabulary": f"{len(run.vocabulary):,}"},
            baselines=always if valid else {},
            blocks=["The texts of each label.", Table(("label", *SPLITS), rows)],
        )

    def build_model(self, config: ClassificationConfig, vocabulary: ReviewVocabulary) -> Classifier:
        """A freshly initialised model; torch's global generator decides its weights."""
        from charlm.tasks.classification.model import build_classifier

        return build_classifier(config, vocabulary)

    def first_model(self, config: ClassificationConfig, vocabulary: ReviewVocabulary) -> Classifier:
        """A new model; with ``from_run``, its embedding and layers are the language model's.

        Raises:
            RunError: the run of the language model is missing or damaged.
            UsageError: its layers are not those of the configuration.
        """
        model = self.build_model(config, vocabulary)
        if config.model.from_run is not None:
            model.take_layers(open_source(config.model).load_model())
        return model

    def objective(self, run: Run, corpus: Reviews, device: torch.device) -> LabelOfText:
        """Batches of texts."""
        from charlm.tasks.classification.objective import LabelOfText

        return LabelOfText(run, corpus, device)

    def evaluate(
        self,
        run: Run,
        corpus: Reviews,
        split: str,
        device: torch.device,
        should_stop: Callable[[], bool],
        options: EvalOptions | None = None,
    ) -> Report:
        """Accuracy and loss, the confusion matrix, and precision, recall and F1 of each label."""
        from charlm.tasks.classification.objective import load_sequences
        from charlm.tasks.classification.scores import class_logits, class_scores

        sequences = load_sequences(corpus, split, device)
        logits = class_logits(run.load_model().to(device), sequences, should_stop=should_stop)
        scores = class_scores(logits, corpus.labels(split))
        labels, metric = run.vocabulary.labels, self.valid_metric
        by_label = {label: scores.of_label(index) for index, label in enumerate(labels)}
        confusion = dict(zip(labels, scores.confusion, strict=True))
        return Report(
            content={
                "split": split,
                "texts": scores.count,
                metric.key(split): scores.accuracy,
                f"{split}_loss": scores.loss,
                "majority_accuracy": scores.majority,
                "confusion": {
                    label: dict(zip(labels, row, strict=True)) for label, row in confusion.items()
                },
                "labels": {
                    label: dict(zip(("precision", "recall", "f1"), values, strict=True))
                    for label, values in by_label.items()
                },
            },
            blocks=[
                f"{metric.title(split)} {metric.text(scores.accuracy)} of {scores.count:,} texts "
                f"(always the most frequent label: {metric.text(scores.majority)})\n"
                f"{split} loss {self.train_metric.text(scores.loss)} nats per text\n",
                Table(
                    ("label (rows), predicted (columns)", *labels),
                    [(label, *(f"{count:,}" for count in row)) for label, row in confusion.items()],
                ),
                "",
                Table(
                    ("label", "precision", "recall", "F1"),
                    [(label, *map(metric.text, values)) for label, values in by_label.items()],
                ),
            ],
        )

    def predict(self, run: Run, texts: Sequence[str], device: torch.device) -> Report:
        """The most probable label of each text, and the probabilities of all labels.

        A blank text has no label.

        Raises:
            UsageError: all texts are blank.
        """
        import torch

        from charlm.tasks.classification.scores import class_logits
        from charlm.tasks.sequences import Sequences

        labels, unknown = run.vocabulary.labels, run.vocabulary.unknown
        written = [text for text in texts if text.strip()]
        if not written:
            raise UsageError("there is no text to label", 'for example: "a quiet film"')
        encoded = [run.vocabulary.encode(text, run.config.corpus) for text in written]
        sequences = Sequences([torch.from_numpy(ids) for ids in encoded], device)
        logits = class_logits(run.load_model().to(device), sequences)
        predictions: list[dict[str, Any]] = []
        rows = iter(logits.double().softmax(1).tolist())
        for text in texts:
            by_label = dict(zip(labels, next(rows), strict=True)) if text.strip() else {}
            best = max(by_label, key=by_label.__getitem__, default=None)
            predictions.append({"text": text, "label": best, "labels": by_label})
        return Report(
            content={"predictions": predictions},
            warnings=[
                f"no word of {text[:40]!r} is in the vocabulary: the label is a guess"
                for text, ids in zip(written, encoded, strict=True)
                if (ids == unknown).all()
            ],
            blocks=[
                f"{row['label']}  {100 * row['labels'][row['label']]:.1f}%"
                + ("" if len(texts) == 1 else f"  {' '.join(row['text'][:60].split())}")
                if row["labels"]
                else ""
                for row in predictions
            ],
        )

    def next_command(self, run: Run) -> str:
        """Label a text."""
        return 'charlm classify predict "your text"'


def _with_source(
    config: ClassificationConfig, run: Run, settings: Sequence[Settings]
) -> ClassificationConfig:
    """The configuration of a classifier that starts from a language model.

    Raises:
        UsageError: the user's settings contradict those of the language model.
    """
    model = run.config.model
    own: dict[str, dict[str, Any]] = {
        "corpus": {"tokens": "characters", "cleaning": run.corpus["cleaning"]},
        "model": {
            **network_settings(run),
            "bidirectional": False,
            "embedding": "one-hot" if model.embedding == "one-hot" else "learned",
            "embedding_size": (
                model.hidden_size if model.embedding == "tied" else model.embedding_size
            ),
            "ngrams": 1,
            "ngram_order": model.ngram_order,
            "ngram_rows": model.ngram_rows,
        },
    }
    check_given(config, own, run, settings)
    return ClassificationConfig.from_settings([SETTINGS_FOR_PRETRAINED, *settings, own])


CLASSIFICATION = ClassificationTask()
