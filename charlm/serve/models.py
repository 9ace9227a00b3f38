"""Language models in memory, and what a page can ask of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from charlm.corpus import clean
from charlm.errors import CorpusError, UsageError, counted, shown
from charlm.serve.requests import Wanted
from charlm.tasks.language_model.batches import id_tensor
from charlm.tasks.language_model.copies import SHORTEST, copies
from charlm.tasks.language_model.lines import BOUNDARY
from charlm.tasks.language_model.mixture import read_mixture
from charlm.tasks.language_model.prefix import Prefix, text_start, unknown_notices
from charlm.tasks.language_model.recording import Recording, Unit, record
from charlm.tasks.language_model.steps import Step, steps
from charlm.tasks.language_model.surprisal import count_ngrams, surprisal
from charlm.tasks.language_model.units import find_units, untrained_model

if TYPE_CHECKING:
    import torch

    from charlm.tasks.language_model.mixture import Mixture
    from charlm.tasks.language_model.model import LanguageModel
    from charlm.tasks.language_model.ngram import NGram
    from charlm.tasks.language_model.run import LanguageModelRun

LEAST_FOR_UNITS = 500  # characters: in fewer, features are too rare


@dataclass(eq=False, kw_only=True)
class Served:
    """A run whose model is in memory, in evaluation mode."""

    name: str
    run: LanguageModelRun
    model: LanguageModel
    mixture: Mixture | None = None
    corpora_dir: Path | None = field(default=None, repr=False)

    @classmethod
    def load(
        cls, run: LanguageModelRun, device: torch.device, corpora_dir: Path | None = None
    ) -> tuple[Served, str | None]:
        """A run's model on a device, and what the user should know of it, if anything.

        Raises:
            RunError: the files of its mixture are damaged.
        """
        mixture, notice = read_mixture(run)
        model = run.load_model().to(device).requires_grad_(False).eval()
        name = run.folder.resolve().name
        served = cls(name=name, run=run, model=model, mixture=mixture, corpora_dir=corpora_dir)
        return served, notice

    def about(self) -> dict[str, Any]:
        """The facts that the page shows."""
        return {
            "name": self.name,
            "cell": str(self.run.config.model.cell),
            "parameters": self.run.training["parameters"] if self.run.training else None,
            "corpus": str(self.run.corpus["name"]),
            "prefix": next(iter(self.run.config.training.prefixes), ""),
            "characters": len(self.run.vocabulary.characters),
            "lines": self.run.config.corpus.lines,
            "mixture": None if self.mixture is None else self.mixture.words,
        }

    def start(self, wanted: Wanted) -> Prefix:
        """What the model reads before it writes: the prefix, then what is written already."""
        read = text_start(self.run, self.model, wanted.prefix)
        if self.run.config.corpus.lines and BOUNDARY in wanted.written:
            raise UsageError("this model writes single lines, and the line has ended")
        ids = (*read.ids, *self.run.vocabulary.encode(wanted.written).tolist())
        return Prefix(read.text + wanted.written, ids, read.notices)

    def write(self, start: Prefix, wanted: Wanted) -> Iterator[Step | None]:
        """The steps of a text, as of `steps`."""
        return steps(
            self.model, start.ids, decoding=wanted.decoding, seed=wanted.seed, mixture=self.mixture
        )

    def ends(self, step: Step) -> bool:
        """Whether a step is the end of a line that ends the text."""
        return self.run.config.corpus.lines and self.character(step.token) == BOUNDARY

    def character(self, token: int) -> str:
        """The character of an id."""
        return self.run.vocabulary.decode([token])

    def distribution(self, step: Step, most: int | None = None) -> dict[str, Any]:
        """The first alternatives of a step, for JSON: characters and their probabilities."""
        return {
            "likely": [*self.run.vocabulary.decode(step.likely[:most])],
            "drawn": [round(share, 6) for share in step.drawn[:most]],
            "own": [round(share, 6) for share in step.own[:most]],
        }

    def surprisal(self, text: str, should_stop: Callable[[], bool]) -> dict[str, Any]:
        """The bits of each character of a text, and what the network expected, for JSON.

        Beside them are the bits of an n-gram, unless the training text is missing: of the one that
        the network is mixed with, or else of the training text.

        Raises:
            UsageError: there is no character to predict.
            Stopped: ``should_stop`` returned True.
        """
        cleaned, notices = self._cleaned(text)
        # A line is predicted from its start; of a running text the first character is not.
        before = BOUNDARY if self.run.config.corpus.lines else ""
        if before and before in cleaned:
            raise UsageError("this model reads single lines", "give one line")
        read = before + cleaned
        if len(read) < 2:
            raise UsageError("surprisal needs at least two characters", "give a longer text")
        ids = self.run.vocabulary.encode(read)
        ngram, missing = self._ngram()
        found = surprisal(
            self.model, self.run.vocabulary, ids, read, ngram, should_stop=should_stop
        )
        skip = len(before)
        pairs = zip(found.likely[skip:].tolist(), found.probabilities[skip:].tolist(), strict=True)
        return {
            "characters": [*cleaned],
            "bits": found.bits[skip:].tolist(),
            "ngram_bits": None if found.ngram is None else found.ngram[skip:].tolist(),
            "expected": [
                [*zip(self.run.vocabulary.decode(tokens), shares, strict=True)]
                for tokens, shares in pairs
            ],
            "bits_per_char": float(np.nanmean(found.bits)),
            "notices": notices + missing,
        }

    def units(self, text: str, wanted: str, should_stop: Callable[[], bool]) -> dict[str, Any]:
        """The values of units at each character of a text, for JSON.

        Args:
            wanted: a unit, such as ``1.hidden.17``; empty: those that track something in the text,
                found with the controls of `find_units`.

        Raises:
            UsageError: the text is too short, or there is no such unit.
            Stopped: ``should_stop`` returned True.
        """
        if self.run.config.corpus.lines:
            raise UsageError("units need a running text, and this model reads single lines")
        cleaned, notices = self._cleaned(text)
        least = 2 if wanted else LEAST_FOR_UNITS
        if len(cleaned) < least:
            raise UsageError(
                f"the text has {counted(len(cleaned), 'character')}; units need {least:,}",
                "give a longer text" + ("" if wanted else ", or name a unit"),
            )
        ids = id_tensor(self.run.vocabulary.encode(cleaned))
        rows: list[dict[str, Any]]
        if wanted:
            recording = record(self.model, ids, should_stop=should_stop)
            rows = [{"unit": wanted, "levels": _levels(recording, _unit(wanted, recording))}]
        else:
            bare = untrained_model(self.run.config.model, len(self.run.vocabulary))
            bare = bare.to(self.model.head.weight.device).eval()
            found = find_units(self.model, bare, ids, cleaned, should_stop=should_stop)
            recording = found.recording
            rows = [
                {
                    "unit": str(each.unit),
                    "levels": _levels(recording, each.unit),
                    "tracks": each.words,
                    "knows": each.share,
                    "untrained": each.untrained,
                }
                for each in found.named
            ]
        characters = [*cleaned[: len(recording.nats)]]
        return {"characters": characters, "units": rows, "notices": notices}

    def copies(self, text: str) -> dict[str, Any]:
        """What a text has copied from the training text, for JSON.

        Raises:
            CorpusError: the training text has moved or changed.
            UsageError: nothing is left of the text.
        """
        cleaned, notices = self._cleaned(text)
        try:
            train = self._train
        except CorpusError as error:
            raise CorpusError(
                f"to look for copies, charlm needs the run's text, but {error.message}", error.hint
            ) from None
        found = copies(train, self.run.vocabulary.encode(cleaned))
        return {
            "characters": [*cleaned],
            **found.as_json(),
            "shortest": SHORTEST,
            "train_characters": len(train),
            "notices": notices,
        }

    @cached_property
    def _train(self) -> Any:
        """The ids of the training text; a CorpusError if it has moved or changed."""
        return self.run.load_corpus(self.corpora_dir).split("train")

    def _ngram(self) -> tuple[NGram | None, list[str]]:
        """The n-gram beside the network, and what the user should know if there is none."""
        if self.mixture is not None:
            return self.mixture.ngram, []
        try:
            return self._counted, []
        except CorpusError as error:
            return None, [f"no n-gram, because {error.message}"]

    @cached_property
    def _counted(self) -> NGram:
        """The n-grams of the training text."""
        vocabulary = self.run.vocabulary
        lines = self.run.config.corpus.lines
        boundary = int(vocabulary.encode(BOUNDARY)[0]) if lines else None
        return count_ngrams(self._train, vocabulary, boundary)

    def _cleaned(self, text: str) -> tuple[str, list[str]]:
        """The text after the corpus's cleaning, and what the user should know of it."""
        cleaning = self.run.corpus["cleaning"]
        cleaned = clean(text, cleaning)
        if not cleaned:
            raise UsageError(f"the text {shown(text)} has no character to read")
        changed = [f"the text was cleaned as the corpus was ({cleaning})"]
        notices = changed if cleaned != text else []
        return cleaned, notices + unknown_notices(cleaned, self.run.vocabulary)


def _unit(wanted: str, recording: Recording) -> Unit:
    """The unit of a name."""
    known = {f"{layer}.{part}": (layer, part) for layer, part in recording.values}
    name, _, number = wanted.rpartition(".")
    if name in known and number.isascii() and number.isdecimal():
        key = known[name]
        if int(number[:9]) < recording.values[key].shape[1]:
            return Unit(*key, int(number[:9]))
    parts = [f"{name}.0 to {recording.values[key].shape[1] - 1}" for name, key in known.items()]
    raise UsageError(f"there is no unit {shown(wanted)}", f"there are {', '.join(parts)}")


def _levels(recording: Recording, unit: Unit) -> list[int]:
    """The values of a unit in steps from the median, -3 to 3; of nearly the largest it is 3."""
    values = recording.of(unit).astype(np.float64)
    distance = values - np.median(values)
    largest = max(float(np.quantile(np.abs(distance), 0.98)), 1e-9)
    steps: list[int] = np.rint(3 * np.clip(distance / largest, -1, 1)).astype(int).tolist()
    return steps
