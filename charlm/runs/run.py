"""The run folder: everything that is needed to use, judge and repeat a training.

::

    corpus.txt           the text, where it came through standard input
    run.json             configuration, corpus (with its hash), versions
    vocabulary.json      the characters, in the order of their ids
    metrics.jsonl        a line for each epoch
    samples.jsonl        a line for each sample
    best.safetensors     the weights with the lowest validation perplexity
    last.safetensors     the weights at the end
    summary.json         what `charlm train` reports at the end

Without a validation split, best and last are the same.
"""

from __future__ import annotations

import json
import os.path
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from charlm.config import Config, CorpusConfig
from charlm.corpus import Corpus, Vocabulary, load_corpus
from charlm.errors import CorpusError, RunError, UsageError
from charlm.models.build import build_language_model
from charlm.models.language_model import LanguageModel
from charlm.runs.checkpoint import (
    encode_json,
    load_weights,
    read_json,
    save_weights,
    write_file,
    write_json,
)

FORMAT = 1
CORPUS_KEYS = ("name", "source", "cleaning", "sha256", "characters", "split")
CHECKPOINTS = Path("checkpoints")


@dataclass(kw_only=True)
class Run:
    """A run folder; see the module's docstring for its files.

    Attributes:
        corpus: name, source, cleaning, sha256, characters and split sizes of the text.
        created: local time, ISO 8601.
    """

    folder: Path
    config: Config
    vocabulary: Vocabulary
    corpus: dict[str, Any]
    versions: dict[str, str]
    created: str
    metrics: list[dict[str, Any]] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def create(
        cls, folder: Path | None, config: Config, corpus: Corpus, kept: Path | None = None
    ) -> Run:
        """Make the folder and write run.json.

        Args:
            folder: None: ``checkpoints/<time>-<corpus>-<cell>``.
            kept: a text to keep a copy of, as it cannot be read again.

        Raises:
            UsageError: the folder holds something already.
            RunError: it cannot be made or written to.
        """
        try:
            if folder is None:
                folder = _make_new_folder(f"{corpus.name}-{config.model.cell}")
            else:
                folder = _make_folder(folder)
        except OSError as error:
            raise RunError(f"cannot make the folder {error.filename}: {error.strerror}") from None
        run = cls(
            folder=folder,
            config=config,
            vocabulary=corpus.vocabulary,
            corpus={
                "name": corpus.name,
                "source": corpus.source,
                "cleaning": corpus.cleaning,
                "sha256": corpus.sha256,
                "characters": corpus.characters,
                "split": list(corpus.split_sizes),
            },
            versions={
                "charlm": version("charlm"),
                "torch": torch.__version__,
                "numpy": version("numpy"),
                "python": platform.python_version(),
            },
            created=time.strftime("%Y-%m-%dT%H:%M:%S"),
        )
        write_json(folder / "vocabulary.json", run.vocabulary.to_json())
        if kept is not None:
            write_file(folder / "corpus.txt", kept.read_bytes())
        # Written last: a folder with a run.json is a run.
        write_json(
            folder / "run.json",
            {
                "format": FORMAT,
                "created": run.created,
                "config": config.to_dict(),
                "corpus": run.corpus,
                "versions": run.versions,
            },
        )
        return run

    @classmethod
    def open(cls, folder: Path) -> Run:
        """Read a run folder.

        Raises:
            RunError: there is none, or it is damaged.
        """
        if not os.path.isfile(folder / "run.json"):  # Path.is_file raises on a long name
            known = ", ".join(path.name for path in run_folders()[:3])
            hint = f"the newest under {CHECKPOINTS}: {known}" if known else "train one first"
            raise RunError(f"{folder} is not a run folder: it has no run.json", hint)
        about = read_json(folder / "run.json")
        try:
            if about["format"] != FORMAT:
                raise RunError(
                    f"{folder} has the format {about['format']}; this version reads {FORMAT}"
                )
            return cls(
                folder=folder,
                config=Config.from_layers([about["config"]]),
                vocabulary=Vocabulary.from_json(read_json(folder / "vocabulary.json")),
                corpus={name: about["corpus"][name] for name in CORPUS_KEYS},
                versions=dict(about["versions"]),
                created=str(about["created"]),
                metrics=_read_lines(folder / "metrics.jsonl"),
                samples=_read_lines(folder / "samples.jsonl"),
            )
        except CorpusError as error:
            raise RunError(f"{folder / 'vocabulary.json'} is damaged: {error}") from None
        except (KeyError, TypeError, ValueError, AttributeError, UsageError) as error:
            raise RunError(f"{folder / 'run.json'} is damaged: {error}") from None

    def load_corpus(self, corpora_dir: Path | None = None) -> Corpus:
        """The text that the run was trained on, read again and split as it was then.

        Raises:
            CorpusError: it is not to be had, or has changed since.
        """
        kept = self.folder / "corpus.txt" if self.config.corpus.source == "-" else None
        corpus = load_run_corpus(self.config.corpus, kept, corpora_dir, self.vocabulary)
        if corpus.sha256 != self.corpus["sha256"]:
            raise CorpusError(
                f"{corpus.source} is not the text that {self.folder} was trained on: its SHA-256 "
                f"is {corpus.sha256[:12]}..., not {self.corpus['sha256'][:12]}...",
                "score a text of its own with --text FILE",
            )
        return corpus

    def load_model(self, weights: str = "best") -> LanguageModel:
        """The trained model on the CPU, in evaluation mode.

        Args:
            weights: "best" or "last".

        Raises:
            RunError: the weights are missing or damaged, or of another model.
        """
        model = build_language_model(self.config.model, len(self.vocabulary))
        load_weights(self.folder / f"{weights}.safetensors", model)
        return model.eval()

    def save(self, *, best: Mapping[str, Tensor], last: Mapping[str, Tensor]) -> None:
        """Write both weights, the metrics and the samples.

        Raises:
            RunError: the disk is full, or the folder cannot be written to.
        """
        save_weights(self.folder / "best.safetensors", best)
        save_weights(self.folder / "last.safetensors", last)
        for name, rows in (("metrics", self.metrics), ("samples", self.samples)):
            write_file(self.folder / f"{name}.jsonl", b"".join(map(encode_json, rows)))

    def summary(self) -> dict[str, Any] | None:
        """What training reported at its end; None where it did not get there.

        Raises:
            RunError: the file is damaged.
        """
        path = self.folder / "summary.json"
        if not path.exists():
            return None
        summary = read_json(path)
        if not isinstance(summary, dict):
            raise RunError(f"{path} is damaged: it is not a JSON object")
        return summary


def load_run_corpus(
    config: CorpusConfig,
    kept: Path | None,
    corpora_dir: Path | None,
    vocabulary: Vocabulary | None = None,
) -> Corpus:
    """The corpus that a configuration describes.

    Args:
        kept: read this file in place of the configuration's source.
        vocabulary: of a trained model; None: the text's own.

    Raises:
        CorpusError: as `charlm.corpus.load_corpus`.
        UsageError: likewise.
    """
    return load_corpus(
        config.source if kept is None else str(kept),
        corpora_dir=corpora_dir,
        cleaning=config.cleaning,
        encoding=config.encoding,
        max_chars=config.max_chars,
        vocabulary_from=config.vocabulary_from,
        split=config.split,
        vocabulary=vocabulary,
    )


def run_folders() -> list[Path]:
    """The run folders under ``checkpoints``, the newest first."""
    found = [path.parent for path in CHECKPOINTS.glob("*/run.json")]
    return sorted(found, key=lambda folder: (folder / "run.json").stat().st_mtime, reverse=True)


def newest_run() -> Path:
    """The newest run folder under ``checkpoints`` that has weights.

    Raises:
        RunError: there is none.
    """
    for folder in run_folders():
        if (folder / "best.safetensors").exists():
            return folder
    raise RunError(f"no trained run under {CHECKPOINTS.resolve()}", "train one: charlm train")


def _make_folder(folder: Path) -> Path:
    """Make it; or take it as it is, where it is empty."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        occupied = any(folder.iterdir())
    except FileExistsError:  # it is no folder
        occupied = True
    if occupied:
        raise UsageError(f"{folder} exists already", "give --run a new folder")
    return folder


def _make_new_folder(name: str) -> Path:
    """Make one under ``checkpoints`` that no other run has, even if it starts this moment."""
    stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{name}"
    CHECKPOINTS.mkdir(parents=True, exist_ok=True)
    folder, number = CHECKPOINTS / stem, 1
    while True:
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            number += 1
            folder = CHECKPOINTS / f"{stem}-{number}"


def _read_lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    try:
        # Not splitlines(): a sample may have a U+2028, which does not end a line of JSON.
        lines = path.read_text(encoding="utf-8").split("\n")
        rows = [json.loads(line) for line in lines if line]
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise RunError(f"{path} is damaged: a line is not JSON") from None
    if not all(isinstance(row, dict) for row in rows):
        raise RunError(f"{path} is damaged: a line is not a JSON object")
    return rows
