"""Texts of a model, printed while they grow."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from charlm.cli.interrupts import StopFlag, polled
from charlm.cli.output import Output
from charlm.config.seeds import seed_or_new

if TYPE_CHECKING:
    from charlm.runs import Run
    from charlm.tasks.language_model.continuation import Ending
    from charlm.tasks.language_model.decoding import Decoding
    from charlm.tasks.language_model.mixture import Mixture
    from charlm.tasks.language_model.model import LanguageModel


class Writer:
    """Continues texts with the model of a run, and prints them as they grow."""

    def __init__(
        self,
        run: Run,
        model: LanguageModel,
        output: Output,
        *,
        mixture: Mixture | None = None,
        silent: bool = False,
    ) -> None:
        self.run, self.model, self.output = run, model, output
        self.mixture = mixture  # of the model and an n-gram, which then writes
        self.silent = silent  # print no text

    def write(
        self,
        prefix: str,
        ending: Ending,
        decoding: Decoding,
        seed: int | None,
        num_samples: int = 1,
        *,
        with_prefix: bool = True,
    ) -> tuple[list[str], int | None, StopFlag]:
        """Continue a prefix until each sample ends or a signal arrives.

        Args:
            seed: None draws a new one.
            with_prefix: print the prefix before its continuation.

        Returns:
            The texts with the prefix, the seed (None if nothing is drawn), and the signal's flag.
        """
        from charlm.tasks.language_model.continuation import continue_text
        from charlm.tasks.language_model.prefix import text_start

        if self.run.config.corpus.lines:
            ending = ending.of_a_line()
        start = text_start(self.run, self.model, prefix)
        for notice in start.notices:
            self.output.warn(notice)
        seed = self.seed(decoding, seed)
        parts = [[start.text] for _ in range(num_samples)]
        with polled() as flag:
            growing = continue_text(
                self.model,
                self.run.vocabulary,
                start.ids,
                ending=ending,
                decoding=decoding,
                num_samples=num_samples,
                seed=seed or 0,
                mixture=self.mixture,
            )
            first = list(itertools.islice(growing, 1))  # it may tell of compiling functions
            # The first text is printed as it grows, the others after it.
            self.print("--- 1 ---\n" if num_samples > 1 else "")
            self.print(start.text if with_prefix else "")
            for added in itertools.chain(first, growing):
                for part, more in zip(parts, added, strict=True):
                    part.append(more)
                self.print(added[0])
                if flag():
                    break
        self.print("\n")
        texts = ["".join(part) for part in parts]
        if not flag():
            self.print("".join(blocks(texts)[1:]))
        return texts, seed, flag

    def seed(self, decoding: Decoding, seed: int | None) -> int | None:
        """The seed, or a new one, which is printed; None if nothing is drawn."""
        if decoding.temperature == 0:
            return None
        seed = seed_or_new(seed)
        self.output.note(f"seed: {seed}")
        return seed

    def print(self, text: str) -> None:
        """Print a part of a text, unless the writer is silent."""
        if text and not self.silent:
            self.output.text(text, end="")


def blocks(texts: list[str]) -> list[str]:
    """The texts as they are printed, each with a line end, and a heading if there are several."""
    if len(texts) == 1:
        return [f"{texts[0]}\n"]
    return [f"--- {number} ---\n{text}\n" for number, text in enumerate(texts, start=1)]
