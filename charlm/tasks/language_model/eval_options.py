"""The options of ``charlm eval``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from charlm.config import setting
from charlm.config.settings import check
from charlm.errors import UsageError, shown
from charlm.task import EvalOptions


@dataclass(frozen=True, kw_only=True)
class TextOptions(EvalOptions):
    """The additional options of ``charlm eval``."""

    text: str | None = setting(
        None,
        "Score this text instead of a split of the run's corpus; - reads standard input.",
        option="--text",
        metavar="FILE",
        none_means="a split of the corpus",
    )
    encoding: str | None = setting(
        None,
        "The encoding of --text.",
        option="--encoding",
        metavar="NAME",
        none_means="that of the corpus",
    )
    protocol: str = setting(
        "carried",
        "How the text is read. carried: as one, so that each character is predicted from all "
        "before it. nanogpt: in windows of 256 characters, each from a zero state.",
        option="--protocol",
        choices=("carried", "nanogpt"),
    )
    whole: bool = setting(
        False,
        "Score every character of a text with more than 1,000,000 characters, not a sample of "
        "at most 500,000.",
        option="--whole",
    )
    dynamic: bool = setting(
        False,
        "Also score by dynamic evaluation: the weights learn from the characters that were already "
        "scored. Its settings are found on the validation split. Of a text with more than 50,000 "
        "characters, only the first 50,000 are scored, unless --whole is given.",
        option="--dynamic",
    )
    temperature: str | None = setting(
        None,
        "Also score with the logits divided by a number; auto: the best one on the validation "
        "split.",
        option="--temperature",
        metavar="F|auto",
        none_means="1",
    )
    ensemble: tuple[str, ...] = setting(
        (), "Other runs: also score the mean of all probabilities. --run can be repeated."
    )
    by_kind: bool = setting(
        False,
        "Show where the bits go: by kind of character, by how often a word occurs in the training "
        "text, and by the character before.",
        option="--by-kind",
    )
    plot: str | None = setting(
        None,
        "With --by-kind: also draw the result, as a picture in this file.",
        option="--plot",
        metavar="FILE.png|.svg|.pdf",
        none_means="no picture",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            ok = self.temperature in (None, "auto") or 0.01 <= float(self.temperature or 0) <= 100
        except ValueError:
            ok = False
        check(
            ok,
            f"--temperature is {shown(self.temperature)}; it must be auto, or a number from 0.01 "
            "to 100",
        )
        check(
            self.encoding is None or self.text is not None,
            "--encoding is the encoding of --text",
            "give both",
        )
        check(
            self.plot is None or self.by_kind, "--plot draws the result of --by-kind", "give both"
        )

    @property
    def has_modes(self) -> bool:
        """Whether more is scored than the network with fixed weights."""
        return bool(self.dynamic or self.temperature or self.ensemble)

    def with_runs(self, runs: Sequence[str]) -> TextOptions:
        """With other runs as an ensemble."""
        return dataclasses.replace(self, ensemble=tuple(runs))

    def picture_file(self) -> Path | None:
        """The file of ``--plot``."""
        return None if self.plot is None else Path(self.plot)

    def check_split(self, split: str | None) -> None:
        """Raise a UsageError if both a split of the corpus and another text are given."""
        if split is not None and self.text is not None:
            raise UsageError(
                "--split is a split of the run's corpus, and --text is another text",
                "give only one of them",
            )

    def without_data(self) -> str | None:
        """Another text can be scored without the run's corpus."""
        words = "the unigram, the n-gram and xz are left out"
        words += ", and the frequency of words" if self.by_kind else ""
        return None if self.text is None else words
