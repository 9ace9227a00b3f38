"""Tagging: predict the tag of each word, such as the places and times in a question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charlm.errors import UsageError, shown
from charlm.task import DataFacts, EvalOptions, Metric, Report, Table, Task
from charlm.tasks.tagging.config import TaggingConfig

if TYPE_CHECKING:
    import torch

    from charlm.runs import Run
    from charlm.tasks.tagging.model import Tagger
    from charlm.tasks.tagging.objective import TagOfWord
    from charlm.tasks.tagging.run import TaggerRun
    from charlm.tasks.tagging.slots import Slots, TaggerVocabulary

_SHOWN = 20  # slots, in a report


class TaggingTask(Task):
    """Predict the tag of each word."""

    command = "charlm tag"
    help = "Train and use taggers of the words of a sentence."
    train_help = """Train a tagger of words.

    The weights with the best F1 on the validation sentences are kept. Training ends with their F1
    on the test sentences. It trains for 20 epochs unless --epochs or --minutes is given.

    Settings come from the defaults, then --preset, then --config, then the options, then --set;
    later ones win. --dry-run shows all settings.
    """
    eval_help = """Score a tagger: precision, recall and F1 of the spans."""
    config_type = TaggingConfig
    preset_package = __name__
    unit = "words"
    train_metric = Metric(name="loss")
    valid_metric = Metric(
        name="f1",
        label="F1",
        percent=True,
        higher_is_better=True,
        meaning="F1 is the harmonic mean of precision, the share of the predicted spans that are "
        "right, and recall, the share of the true spans that are found.",
    )
    predict_argument = (
        "SENTENCE",
        "One or more sentences; - reads one sentence per line of standard input.",
    )
    predict_help = "Tag the words of sentences with a trained tagger."

    def run_type(self) -> type[TaggerRun]:
        """`TaggerRun`."""
        from charlm.tasks.tagging.run import TaggerRun

        return TaggerRun

    def load_corpus(
        self,
        config: TaggingConfig,
        corpora_dir: str | Path | None,
        *,
        vocabulary: TaggerVocabulary | None = None,
        kept: Path | None = None,
        progress: bool = False,
    ) -> Slots:
        """The tagged sentences; the vocabulary is made anew, so that changed ones are noticed."""
        from charlm.tasks.tagging.slots import load_slots

        return load_slots(config.corpus, corpora_dir, progress=progress)

    def read_vocabulary(self, content: Any) -> TaggerVocabulary:
        """The words and the tags."""
        from charlm.tasks.tagging.slots import TaggerVocabulary

        return TaggerVocabulary.from_json(content)

    def facts(self, corpus: Slots) -> tuple[str, dict[str, Any]]:
        """The tags."""
        tags = list(corpus.vocabulary.tags)
        return f"sentences with {len(tags)} tags", {"tags": tags}

    def data_facts(self, run: Run, corpus: Slots, prepared: Any = None) -> DataFacts:
        """The F1 of giving each word its most frequent tag, and the spans of each kind."""
        from charlm.tasks.tagging.frequent import frequent_tags
        from charlm.tasks.tagging.scores import tags_of
        from charlm.tasks.tagging.spans import score_spans

        splits, of_words = corpus.data.splits, run.vocabulary.tags_are_of_words(run.config.corpus)
        found = frequent_tags(splits["train"], splits["valid"])
        scores = score_spans(tags_of(splits["valid"]), found, of_words=of_words)
        by_count = sorted(scores.kinds.items(), key=lambda item: -item[1].gold)
        kind, unit = ("tag", "words") if of_words else ("slot", "spans")
        return DataFacts(
            facts={
                "data": self.facts(corpus)[0],
                "different words": f"{len(run.vocabulary):,}",
            },
            baselines={"the most frequent tag of each word": scores.overall.f1},
            blocks=[
                f"The {unit} of the most frequent {kind}s in the validation sentences, and the F1 "
                "of giving each word its most frequent tag.",
                Table(
                    (kind, unit, "F1"),
                    [(name, f"{of.gold:,}", f"{of.f1:.2f}%") for name, of in by_count[:_SHOWN]],
                ),
            ],
        )

    def build_model(self, config: TaggingConfig, vocabulary: TaggerVocabulary) -> Tagger:
        """A freshly initialised model; torch's global generator decides its weights."""
        from charlm.tasks.tagging.model import build_tagger

        return build_tagger(config, vocabulary)

    def objective(self, run: Run, corpus: Slots, device: torch.device) -> TagOfWord:
        """Batches of sentences."""
        from charlm.tasks.tagging.objective import TagOfWord

        return TagOfWord(run, corpus, device)

    def evaluate(
        self,
        run: Run,
        corpus: Slots,
        split: str,
        device: torch.device,
        should_stop: Callable[[], bool],
        options: EvalOptions | None = None,
    ) -> Report:
        """Precision, recall and F1 of all spans and of each kind, and the words' accuracy.

        If the tags are of words, each word with another tag than O is a span.
        """
        from charlm.tasks.tagging.scores import Sentences, predict_tags, tags_of, words_of
        from charlm.tasks.tagging.spans import score_spans

        sentences, vocabulary = corpus.data.splits[split], run.vocabulary
        read = Sentences(words_of(sentences), vocabulary, run.config.corpus, device)
        model = run.load_model().to(device)
        found = predict_tags(model, read, vocabulary.tags, should_stop=should_stop)
        gold = tags_of(sentences)
        pairs = [*zip(chain(*gold), chain(*found), strict=True)]
        accuracy = 100 * sum(a == b for a, b in pairs) / len(pairs)
        of_words = vocabulary.tags_are_of_words(run.config.corpus)
        scores, text = score_spans(gold, found, of_words=of_words), self.valid_metric.text
        kind, unit = ("tag", "words") if of_words else ("slot", "spans")
        overall = scores.overall
        by_count = sorted(scores.kinds.items(), key=lambda item: -item[1].gold)
        return Report(
            content={
                "split": split,
                "sentences": len(sentences),
                self.valid_metric.key(split): overall.f1,
                f"{split}_precision": overall.precision,
                f"{split}_recall": overall.recall,
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
            },
            blocks=[
                f"{self.valid_metric.title(split)} {text(overall.f1)} (precision "
                f"{text(overall.precision)}, recall {text(overall.recall)}) of {overall.gold:,} "
                f"{unit} in {len(sentences):,} sentences; correct tags: {text(accuracy)}\n",
                Table(
                    (kind, unit, "precision", "recall", "F1"),
                    [
                        (kind, f"{of.gold:,}", text(of.precision), text(of.recall), text(of.f1))
                        for kind, of in by_count
                    ],
                ),
            ],
        )

    def predict(self, run: Run, texts: Sequence[str], device: torch.device) -> Report:
        """The most probable tag of each word, and the spans that the tags make.

        A span has its label, its text, the first character of it in the sentence as it was given
        and the one after the last, and the same of its words. A blank text has no words.

        Raises:
            UsageError: there is no word, or a sentence or a word is too long.
        """
        from charlm.tasks.tagging.scores import Sentences, predict_tags
        from charlm.tasks.tagging.spans import spans
        from charlm.tasks.tagging.tagged_files import word_places
        from charlm.tasks.tagging.tagged_sentences import MAX_CHARACTERS, MAX_WORDS

        places = [word_places(text) for text in texts]
        words_of = [
            [text[slice(*place)] for place in each]
            for text, each in zip(texts, places, strict=True)
        ]
        sentences = [words for words in words_of if words]
        if not sentences:
            example = 'for example: charlm tag predict "to boston"'
            raise UsageError("there is no word to tag", example)
        for words in sentences:
            if len(words) > MAX_WORDS or max(map(len, words)) > MAX_CHARACTERS:
                raise UsageError(
                    f"{shown(' '.join(words[:20]))} is too long for a sentence: it has more than "
                    f"{MAX_WORDS:,} words, or a word of more than {MAX_CHARACTERS:,} characters",
                    "write each sentence on a separate line",
                )
        vocabulary = run.vocabulary
        read = Sentences(sentences, vocabulary, run.config.corpus, device)
        tags = iter(predict_tags(run.load_model().to(device), read, vocabulary.tags))
        of_words = vocabulary.tags_are_of_words(run.config.corpus)
        predictions: list[dict[str, Any]] = []
        blocks: list[str | Table] = []
        for text, words, place in zip(texts, words_of, places, strict=True):
            found = next(tags) if words else []
            found_spans = []
            for span in spans(found, of_words=of_words):
                start, end = place[span.start][0], place[span.end - 1][1]
                found_spans.append(
                    {
                        "label": span.kind,
                        "text": text[start:end],
                        "start": start,
                        "end": end,
                        "start_word": span.start,
                        "end_word": span.end,
                    }
                )
            predictions.append({"text": text, "words": words, "tags": found, "spans": found_spans})
            blocks += ["", Table(("word", "tag"), list(zip(words, found, strict=True)), left=2)]
        return Report(content={"predictions": predictions}, blocks=blocks[1:])

    def next_command(self, run: Run) -> str:
        """Tag a sentence."""
        return 'charlm tag predict "a sentence of words"'


TAGGING = TaggingTask()
