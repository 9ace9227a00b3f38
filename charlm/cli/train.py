"""``charlm train``."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from charlm.cli.interrupts import polled
from charlm.cli.options import AsJson, CorporaDir, DryRun, NewRun, Quiet, Resume, Version
from charlm.cli.output import Output
from charlm.cli.settings import takes_settings, warn_of_idle_settings
from charlm.cli.training import (
    conclude,
    follow,
    open_to_resume,
    run_option,
    show_plan,
    with_resolved_source,
)
from charlm.config import LanguageModelConfig, Settings, settings_for_text
from charlm.errors import CorpusError

if TYPE_CHECKING:
    import torch

    from charlm.corpus import Corpus
    from charlm.runs import Run


@takes_settings(LanguageModelConfig)
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
    """Train a language model. With no options it trains on a bundled short story.

    Settings are merged in this order, and the last one wins: the defaults, settings that suit the
    size of the text, --preset, --config, the options, --set. --dry-run shows the result.
    """
    output = Output(as_json=as_json, quiet=quiet)
    if resume:
        _resume(given, run, corpora_dir, dry_run=dry_run, output=output)
    else:
        _train(given, run, corpora_dir, dry_run=dry_run, output=output)


def _train(
    given: list[Settings],
    folder: Path | None,
    corpora_dir: Path | None,
    *,
    dry_run: bool,
    output: Output,
) -> None:
    from charlm.device import select_device
    from charlm.runs import Run, load_run_corpus
    from charlm.training.language import check_train_split

    config = LanguageModelConfig.from_settings(given)
    device = select_device(config.training.device)
    with _standard_input_as_file(config.corpus.source) as kept:
        corpus = load_run_corpus(config.corpus, kept, corpora_dir)
        for notice in corpus.notices:
            output.note(notice)
        suited = settings_for_text(corpus.split_sizes[0], len(corpus.vocabulary))
        config = _resolve(LanguageModelConfig.from_settings([suited, *given]), corpus, output)
        warn_of_idle_settings(config, given, output)
        check_train_split(config.training, corpus.split_sizes[0])
        if dry_run:
            _show_plan(config, corpus, str(device), output)
            return
        run = Run.create(folder, config, corpus, kept)
    _follow_to_the_end(run, corpus, device, output)


def _resume(
    given: list[Settings],
    folder: Path | None,
    corpora_dir: Path | None,
    *,
    dry_run: bool,
    output: Output,
) -> None:
    from charlm.device import select_device
    from charlm.runs import Run

    run = open_to_resume(Run, folder, given, output)
    device = select_device(run.config.training.device)
    corpus = run.load_corpus(corpora_dir)
    run.config = _resolve(run.config, corpus, output)
    if dry_run:
        _show_plan(run.config, corpus, str(device), output)
        return
    _follow_to_the_end(run, corpus, device, output)


def _follow_to_the_end(run: Run, corpus: Corpus, device: torch.device, output: Output) -> None:
    with polled() as stop:
        started, finished = follow(run, corpus, device, stop, output)
        last = {row["prefix"]: row["text"] for row in run.samples}
        samples = [{"prefix": prefix, "text": text} for prefix, text in last.items()]
        conclude(run, corpus, started, finished, {"samples": samples}, output)
        prefix = shlex.quote(run.config.training.prefixes[0])
        output.text(f"next: charlm generate{run_option(run)} --prefix {prefix}")
        if finished.interrupted:  # else the signal came too late to matter
            stop.raise_if_set()


@contextmanager
def _standard_input_as_file(source: str) -> Iterator[Path | None]:
    """Standard input can be read but once: within, it lies in a file. None for other sources."""
    if source != "-":
        yield None
        return
    with TemporaryDirectory() as folder:
        path = Path(folder) / "stdin.txt"
        path.write_bytes(sys.stdin.buffer.read())
        try:
            yield path
        except CorpusError as error:  # the user knows of no such file
            message = error.message.replace(str(path), "standard input")
            raise CorpusError(message, error.hint) from None


def _resolve(config: LanguageModelConfig, corpus: Corpus, output: Output) -> LanguageModelConfig:
    """Fill in what depends on the text: where it lies for good, and the prefixes."""
    from charlm.corpus import catalogue
    from charlm.generation.prefix import prepare_prefix

    entry = catalogue().get(config.corpus.source)
    wanted = config.training.prefixes or (entry.prefixes if entry else ())
    if not wanted:
        wanted = (_beginning(corpus.text("valid") or corpus.text("train")),)
    prefixes = [prepare_prefix(prefix, corpus.cleaning, corpus.vocabulary) for prefix in wanted]
    for prefix in prefixes:
        for notice in prefix.notices:
            output.warn(notice)
    return dataclasses.replace(
        with_resolved_source(config, corpus),
        training=dataclasses.replace(
            config.training, prefixes=tuple(prefix.text for prefix in prefixes)
        ),
    )


def _beginning(text: str) -> str:
    """A word or two from the start of a text, to sample after."""
    words = text[:200].split()
    if not words:
        return text[:1]
    words = words[1:] or words  # the text may begin within a word
    start = " ".join(words[:2])
    return start if len(start) <= 12 else words[0][:12]


def _show_plan(config: LanguageModelConfig, corpus: Corpus, device: str, output: Output) -> None:
    """What ``--dry-run`` prints."""
    from charlm.runs import Run

    parameters = Run.model_of(config, corpus.vocabulary).num_parameters()
    train, valid, test = corpus.split_sizes
    output.text(
        f"corpus {corpus.name}: {corpus.characters:,} characters (train {train:,}, valid "
        f"{valid:,}, test {test:,}), vocabulary {len(corpus.vocabulary):,}"
    )
    content = {"characters": corpus.characters}
    show_plan(config, corpus, parameters, device, content, output)
