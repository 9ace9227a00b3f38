"""Language models in memory, and what a page can ask of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from charlm.corpus import clean
from charlm.errors import CorpusError, UsageError, shown
from charlm.serve.requests import Wanted
from charlm.tasks.language_model.copies import SHORTEST, copies
from charlm.tasks.language_model.lines import BOUNDARY
from charlm.tasks.language_model.mixture import read_mixture
from charlm.tasks.language_model.prefix import Prefix, text_start, unknown_notices
from charlm.tasks.language_model.steps import Step, steps
from charlm.tasks.language_model.surprisal import surprisal

if TYPE_CHECKING:
    import torch

    from charlm.tasks.language_model.mixture import Mixture
    from charlm.tasks.language_model.model import LanguageModel
    from charlm.tasks.language_model.run import LanguageModelRun


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
        found = surprisal(self.model, self.run.vocabulary, ids, read, None, should_stop=should_stop)
        skip = len(before)
        pairs = zip(found.likely[skip:].tolist(), found.probabilities[skip:].tolist(), strict=True)
        return {
            "characters": [*cleaned],
            "bits": found.bits[skip:].tolist(),
            "expected": [
                [*zip(self.run.vocabulary.decode(tokens), shares, strict=True)]
                for tokens, shares in pairs
            ],
            "bits_per_char": float(np.nanmean(found.bits)),
            "notices": notices,
        }

    def copies(self, text: str) -> dict[str, Any]:
        """What a text has copied from the training text, for JSON.

        Raises:
            CorpusError: the training text has moved or changed.
            UsageError: nothing is left of the text.
        """
        cleaned, notices = self._cleaned(text)
        train = self._train
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
        """The ids of the training text."""
        try:
            return self.run.load_corpus(self.corpora_dir).split("train")
        except CorpusError as error:
            raise CorpusError(
                f"copies are looked for in the run's text, but {error.message}", error.hint
            ) from None

    def _cleaned(self, text: str) -> tuple[str, list[str]]:
        """The text after the corpus's cleaning, and what the user should know of it."""
        cleaning = self.run.corpus["cleaning"]
        cleaned = clean(text, cleaning)
        if not cleaned:
            raise UsageError(f"the text {shown(text)} has no character to read")
        changed = [f"the text was cleaned as the corpus was ({cleaning})"]
        notices = changed if cleaned != text else []
        return cleaned, notices + unknown_notices(cleaned, self.run.vocabulary)
