"""Language models: predict each character of a text from the characters before it."""

from __future__ import annotations

import dataclasses
import os.path
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from charlm.config import Settings
from charlm.corpus import SPLITS, Vocabulary, catalogue
from charlm.corpus.addresses import check_is_no_address
from charlm.corpus.text import source_words
from charlm.errors import CorpusError, UsageError, counted
from charlm.task import (
    DataFacts,
    EvalOptions,
    Metric,
    Plan,
    Report,
    Table,
    Task,
    with_absolute_source,
)
from charlm.tasks.from_run import check_given, open_source
from charlm.tasks.language_model.config import LanguageModelConfig
from charlm.tasks.language_model.corpus import Corpus, load_corpus
from charlm.tasks.language_model.eval_options import TextOptions
from charlm.tasks.language_model.from_run import idle_characters, network, take_weights, taken_over
from charlm.tasks.language_model.plan import Text, planned_settings

if TYPE_CHECKING:
    import torch

    from charlm.runs import Run
    from charlm.tasks.language_model.model import LanguageModel
    from charlm.tasks.language_model.objective import CharacterObjective
    from charlm.tasks.language_model.run import LanguageModelRun

_START = 200  # characters in which a prefix for samples is found
PERPLEXITY = Metric(
    name="perplexity",
    bits="bits per character",
    meaning="A model with perplexity P is as unsure of the next character as if P characters were "
    "equally likely; lower is better.",
)


class LanguageModelTask(Task):
    """Predict the next character."""

    command = "charlm"
    help = "Train, inspect and compare character-level recurrent language models."
    train_help = """Train a language model.

    With no options it trains for about 30 seconds on a bundled short story. On other texts it
    trains for 40 epochs or 96 seconds, whichever ends first, unless --epochs or --minutes is given.

    Settings come from the defaults (some depend on the length of the text), then --preset, then
    --config, then the options, then --set; later ones win. --dry-run shows all settings.
    """
    eval_help = """Score a language model, and compare it with simpler predictors.

    The simpler predictors are trained on the same train split: character frequencies (unigram),
    n-grams of up to six characters (ngram, modified Kneser-Ney smoothing), and the compressor xz.
    docs/scores.md says what each figure means.

    --dynamic, --temperature, several --run and the mixture of a run made with --mix-ngram add rows;
    the first row is always the network alone, with fixed weights.
    """
    config_type = LanguageModelConfig
    preset_package = __name__
    eval_options = TextOptions
    source_option = "--corpus"
    unit = "characters"
    short_unit = "chars"
    train_metric = PERPLEXITY
    valid_metric = PERPLEXITY
    has_samples = True
    tests_at_end = False
    corpus_facts: ClassVar[Mapping[str, tuple[type, ...]]] = {
        "cleaning": (str,),
        "characters": (int,),
    }
    min_split = 2

    def run_type(self) -> type[LanguageModelRun]:
        """`LanguageModelRun`."""
        from charlm.tasks.language_model.run import LanguageModelRun

        return LanguageModelRun

    def load_corpus(
        self,
        config: LanguageModelConfig,
        corpora_dir: str | Path | None,
        *,
        vocabulary: Vocabulary | None = None,
        kept: Path | None = None,
        progress: bool = False,
    ) -> Corpus:
        """The text; its vocabulary is made anew, so that a changed text is noticed."""
        section = config.corpus
        source = str(kept) if kept is not None and section.source == "-" else section.source
        return load_corpus(
            source,
            corpora_dir=corpora_dir,
            cleaning=section.cleaning,
            encoding=section.encoding,
            lines=section.lines,
            distinct=section.distinct,
            include=section.include,
            exclude=section.exclude,
            max_chars=section.max_chars,
            vocabulary_from=section.vocabulary_from,
            min_count=section.min_count,
            split=section.split,
            progress=progress,
        )

    def read_vocabulary(self, content: Any) -> Vocabulary:
        """The characters."""
        return Vocabulary.from_json(content)

    def plan(
        self, settings: Sequence[Settings], corpora_dir: str | Path | None, *, progress: bool
    ) -> Plan:
        """As every task, with defaults that suit the length of the text.

        With ``from_run``, another language model brings its network and its cleaning.

        Raises:
            UsageError: also if the settings contradict those of the other language model.
            RunError: there is no such run, or it has no weights yet.
        """
        config = self.config_type.from_settings(settings)
        own: Settings = {}
        source = None
        if config.model.from_run is not None:
            source = open_source(config.model)
            own = {"model": network(source)}
            check_given(config, own, source, settings)
            settings = [{"corpus": {"cleaning": source.corpus["cleaning"]}}, *settings]
            config = self.config_type.from_settings([*settings, own])
        corpus = self.load_corpus(config, corpora_dir, progress=progress)
        if (config.corpus.include or config.corpus.exclude) and not Path(corpus.source).is_dir():
            raise UsageError(
                f"--include and --exclude choose files of a folder, and {corpus.source} is not a "
                "folder",
                "leave them out, or name the folder",
            )
        from charlm.device import select_device

        train_lines = corpus.count_lines("train") if corpus.lines else None
        text = Text(corpus.split_sizes[0], len(corpus.vocabulary), train_lines)
        sized = source is not None or _sets(settings, "model", "hidden_size")
        connections = ("num_layers", "residual", "skip")
        layered = any(_sets(settings, "model", key) for key in connections)
        chosen = ("optimiser", "lr", "clip_norm")
        tuned = source is not None or any(_sets(settings, "training", key) for key in chosen)
        device = select_device(config.training.device)
        suited = planned_settings(
            text,
            config,
            sized=sized,
            layered=layered,
            tuned=tuned,
            speed=_speed(config, device),
            device=device.type,
        )
        if source is not None:
            notices = (*corpus.notices, *taken_over(source, corpus))
            corpus = dataclasses.replace(corpus, notices=notices)
        plan = self.complete(self.config_type.from_settings([suited, *settings, own]), corpus)
        from charlm.tasks.language_model.objective import check_train_split

        if not corpus.lines:
            check_train_split(plan.config.training, corpus.split_sizes[0])
        if source is not None:
            warnings = [*source.notices, *idle_characters(plan, source), *plan.warnings]
            plan = dataclasses.replace(plan, warnings=warnings)
        return plan

    def complete(self, config: LanguageModelConfig, corpus: Corpus) -> Plan:
        """Fill in the absolute source and the prefixes of the samples.

        Raises:
            UsageError: a mixture is wanted, and there is no validation split for its weights.
        """
        if config.training.mix_ngram and corpus.split_sizes[1] < self.min_split:
            raise UsageError(
                "--mix-ngram chooses its weights on the validation split, and there is none",
                "hold some of the text out with --set split=0.9,0.05,0.05, or leave it out",
            )
        from charlm.tasks.language_model.prefix import prepare_prefix

        entry = catalogue().get(config.corpus.source)
        wanted = config.training.prefixes or (entry.prefixes if entry else ())
        if corpus.lines:
            wanted = config.training.prefixes or ("",)
        elif not wanted:
            wanted = (_beginning(corpus.text("valid", _START) or corpus.text("train", _START)),)
        prefixes = [
            prepare_prefix(each, corpus.cleaning, corpus.vocabulary, lines=corpus.lines)
            for each in wanted
        ]
        training = dataclasses.replace(
            config.training, prefixes=tuple(prefix.text for prefix in prefixes)
        )
        return Plan(
            config=dataclasses.replace(with_absolute_source(config, corpus), training=training),
            corpus=corpus,
            warnings=[
                *corpus.warnings,
                *(notice for prefix in prefixes for notice in prefix.notices),
            ],
        )

    def facts(self, corpus: Corpus) -> tuple[str, dict[str, Any]]:
        """The number of characters, and of lines where they are examples."""
        words, facts = f"{corpus.characters:,} characters", {"characters": corpus.characters}
        if corpus.lines:
            facts["lines"] = corpus.count_lines(*SPLITS)
            words += f" in {counted(facts['lines'], 'line')}"
        return words, facts

    def build_model(self, config: LanguageModelConfig, vocabulary: Vocabulary) -> LanguageModel:
        """A freshly initialised model; torch's global generator decides its weights."""
        from charlm.tasks.language_model.model import build_language_model

        return build_language_model(config.model, len(vocabulary))

    def first_model(self, config: LanguageModelConfig, vocabulary: Vocabulary) -> LanguageModel:
        """A new model; with ``from_run``, with the weights of another language model.

        Characters that both know keep their weights. The others get new ones.

        Raises:
            RunError: the run of the other language model is missing or damaged.
            UsageError: its layers are not those of the configuration.
        """
        model = self.build_model(config, vocabulary)
        if config.model.from_run is not None:
            take_weights(model, config.model, vocabulary)
        return model

    def objective(self, run: Run, corpus: Corpus, device: torch.device) -> CharacterObjective:
        """Batches of characters, of a running text or of lines."""
        from charlm.tasks.language_model.objective import NextCharacter, NextCharacterOfLine

        return (NextCharacterOfLine if corpus.lines else NextCharacter)(run, corpus, device)

    def evaluate(
        self,
        run: Run,
        corpus: Corpus | None,
        split: str,
        device: torch.device,
        should_stop: Callable[[], bool],
        options: EvalOptions | None = None,
    ) -> Report:
        """The cross-entropy of a split, or of another text, in all its units, beside baselines.

        Raises:
            CorpusError: the text has fewer than two characters.
        """
        from charlm.tasks.language_model.scores import score

        options = options if isinstance(options, TextOptions) else TextOptions()
        where: dict[str, Any]
        if options.text is None:
            assert corpus is not None
            scored, where, what = corpus, {"split": split}, f"{corpus.name}, {split} split"
        else:
            scored, split = self.own_text(run, options.text, options.encoding), "train"
            where, what = {"text": options.text}, source_words(options.text)
        ids, characters = scored.read(split)
        if len(ids) < 2:
            few = "one character" if len(ids) else "no character"
            raise CorpusError(f"{what} has {few}; scoring needs at least two")
        protocol = options.protocol
        if scored.lines:
            if protocol != "carried":
                raise UsageError(
                    f"--protocol {protocol} is for running texts, and {run.folder} was trained "
                    "with --lines",
                    "leave it out: each line is read from a zero state",
                )
            lines, protocol = scored.line_hashes(split), "lines"
            where["lines"], where["lines_in_train"] = len(lines), None
            what += f", {counted(len(lines), 'line')}"
            if corpus is not None:
                import numpy as np

                known = corpus.line_hashes("train")
                where["lines_in_train"] = int(np.isin(lines, known).sum())
                what += f" of which {where['lines_in_train']:,} are also in train"
        report = score(
            run,
            corpus,
            ids,
            characters,
            what=what,
            protocol=protocol,
            options=options,
            device=device,
            should_stop=should_stop,
            split=None if options.text is not None else split,
        )
        warnings = () if options.text is None else (*scored.notices, *scored.warnings)
        warnings = (*warnings, *report.warnings)
        return dataclasses.replace(report, content=where | report.content, warnings=warnings)

    def prepare_conclusion(self, run: Run, corpus: Corpus) -> Any:
        """The n-gram and the repeated passages."""
        from charlm.tasks.language_model.conclusion import prepare_conclusion

        return prepare_conclusion(run, corpus)

    def conclude(
        self, run: Run, corpus: Corpus, valid: float | None, prepared: Any = None
    ) -> Report:
        """The n-gram beside the model, and the held-out text that repeats."""
        from charlm.tasks.language_model.conclusion import conclude

        return conclude(run, corpus, valid, prepared)

    def data_facts(self, run: Run, corpus: Corpus, prepared: Any = None) -> DataFacts:
        """The text, the perplexity of an n-gram, and the held-out text that repeats."""
        from charlm.tasks.language_model.run_facts import data_facts

        return data_facts(run, corpus, prepared)

    def sample_facts(self, run: Run, corpus: Corpus, budget: float) -> Sequence[str | Table]:
        """What the last samples have copied from the training text."""
        from charlm.tasks.language_model.run_facts import sample_facts

        return sample_facts(run, corpus, budget)

    def own_text(self, run: Run, text: str, encoding: str | None) -> Corpus:
        """A text of the user's, cleaned and encoded as the run's corpus; all of it is "train"."""
        check_is_no_address(text)
        if not (text == "-" or (text and os.path.exists(text))):
            raise CorpusError(f"no file {text!r}", "give --text a file, or - for standard input")
        return load_corpus(
            text if text == "-" else str(Path(text).resolve()),
            cleaning=run.corpus["cleaning"],
            encoding=encoding or run.config.corpus.encoding,
            lines=run.config.corpus.lines,
            split=(1.0, 0.0, 0.0),
            vocabulary=run.vocabulary,
        )

    def next_command(self, run: Run) -> str:
        """Generate text."""
        if run.config.corpus.lines:
            return "charlm generate --num-samples 20"
        return f"charlm generate --prefix {shlex.quote(run.config.training.prefixes[0])}"


def _sets(settings: Sequence[Settings], section: str, key: str) -> bool:
    """Whether the user gives a value for a setting."""
    return any(key in each.get(section, {}) for each in settings)


def _speed(config: LanguageModelConfig, device: torch.device) -> float | None:
    """The speed of a training with a budget of minutes; None: it has none."""
    if config.training.minutes is None:
        return None
    from charlm.device import select_precision
    from charlm.speed import training_speed

    bfloat16 = select_precision(config.training.precision, device).bfloat16
    # A long training may look longer for a moment in which nothing else runs.
    seconds = min(max(0.4, 0.003 * 60 * config.training.minutes), 5.0)
    return training_speed(device, bfloat16=bfloat16, seconds=seconds)


def _beginning(text: str) -> str:
    """One or two words from the start of a text, as a prefix for samples."""
    words = text.split()
    if not words:
        return text[:1]
    words = words[1:] or words  # the text may begin within a word
    start = " ".join(words[:2])
    return start if len(start) <= 12 and " " in text else words[0][:12]


LANGUAGE_MODEL = LanguageModelTask()
