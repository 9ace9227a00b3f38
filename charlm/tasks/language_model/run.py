"""The run of a language model, for use from Python."""

from __future__ import annotations

import itertools
import math
import operator
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

from charlm.config.seeds import seed_or_new
from charlm.corpus import clean
from charlm.corpus.vocabulary import UNKNOWN
from charlm.errors import CorpusError, UsageError, shown
from charlm.runs import Run
from charlm.tasks.language_model.config import TEMPERATURE, TOP_P
from charlm.tasks.language_model.lines import BOUNDARY

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from charlm.corpus import Vocabulary
    from charlm.tasks.language_model.config import LanguageModelConfig
    from charlm.tasks.language_model.mixture import Mixture
    from charlm.tasks.language_model.model import LanguageModel


@dataclass(frozen=True, kw_only=True)
class Score:
    """How well a language model predicts a text of T characters.

    Attributes:
        text: the T characters: the given text after the corpus's cleaning.
        surprisal: the bits of each character, given the characters before it, (T,). The first is
            NaN: nothing is before it, so it is not predicted and no mean counts it. A model of
            lines predicts all characters of a line and the line end. A character that the
            vocabulary lacks costs ``<unk>`` and its spelling, see docs/scores.md.
        nats_per_char: the mean cross-entropy in nats per predicted character.
        bits_per_char: the same in bits.
        perplexity: exp of ``nats_per_char``.
        model: "network", or "mixture" of the network and an n-gram.
    """

    text: str = field(repr=False)
    surprisal: NDArray[np.float64] = field(repr=False)
    nats_per_char: float
    model: str = "network"

    @property
    def bits_per_char(self) -> float:
        """The mean cross-entropy in bits."""
        return self.nats_per_char / math.log(2)

    @property
    def perplexity(self) -> float:
        """exp of `nats_per_char`."""
        from charlm.training.loss import perplexity

        return perplexity(self.nats_per_char)


class LanguageModelRun(Run):
    """A trained language model: it writes text, scores text, and shows what it computes.

    Every method reads a text after the corpus's cleaning, and a character that the vocabulary
    lacks as ``<unk>``. It warns of both. A model that was trained on lines reads, writes and scores
    whole lines, each from its start.
    """

    if TYPE_CHECKING:
        config: LanguageModelConfig
        vocabulary: Vocabulary

        def load_model(self, weights: str = "best") -> LanguageModel: ...  # noqa: D102

    @overload
    def generate(
        self,
        prefix: str | None = None,
        length: int = 300,
        *,
        num_samples: None = None,
        exact_length: bool = False,
        stop: str | Sequence[str] = (),
        temperature: float = TEMPERATURE,
        top_k: int | None = None,
        top_p: float = TOP_P,
        seed: int | None = None,
        network_only: bool = False,
        device: str = "auto",
    ) -> str: ...

    @overload
    def generate(
        self,
        prefix: str | None = None,
        length: int = 300,
        *,
        num_samples: int,
        exact_length: bool = False,
        stop: str | Sequence[str] = (),
        temperature: float = TEMPERATURE,
        top_k: int | None = None,
        top_p: float = TOP_P,
        seed: int | None = None,
        network_only: bool = False,
        device: str = "auto",
    ) -> list[str]: ...

    def generate(
        self,
        prefix: str | None = None,
        length: int = 300,
        *,
        num_samples: int | None = None,
        exact_length: bool = False,
        stop: str | Sequence[str] = (),
        temperature: float = TEMPERATURE,
        top_k: int | None = None,
        top_p: float = TOP_P,
        seed: int | None = None,
        network_only: bool = False,
        device: str = "auto",
    ) -> str | list[str]:
        """Text that the model writes, the prefix included, as ``charlm generate`` does.

        A run with a mixture of the network and an n-gram writes with the mixture.

        Args:
            prefix: the text to continue; an empty one starts a new text; None: the first prefix of
                the run's samples.
            length: the number of characters after the prefix. The text goes on to the next end of
                a sentence or line.
            num_samples: None: one text. A number: a list with that number of texts.
            exact_length: end after exactly ``length`` characters.
            stop: end before this text, or before the first of several; it is left out.
            temperature: below 1 more predictable, above 1 less; 0: always the most probable
                character.
            top_k, top_p: draw from the most probable characters only, as in `Decoding`.
            seed: of the drawing; None: another text each time.
            network_only: leave the n-gram out.
            device: ``auto``, ``cpu``, ``cuda`` or ``mps``, as in the other methods.

        Raises:
            UsageError: nothing is left of the prefix, or an argument is out of range.

        >>> run = charlm.open("novel")
        >>> text = run.generate("The ", length=20, exact_length=True, seed=1)
        >>> text[:4], len(text)
        ('The ', 24)
        >>> texts = run.generate("The ", length=20, num_samples=3, temperature=1.0)
        >>> len(texts)
        3
        """
        from charlm.tasks.language_model.continuation import Ending, continue_text
        from charlm.tasks.language_model.decoding import Decoding, generate_lines
        from charlm.tasks.language_model.prefix import text_start

        lines = self.config.corpus.lines
        if num_samples is not None and num_samples < 1:
            raise UsageError(f"num_samples is {num_samples}; it must be 1 or more")
        if lines and (stop or exact_length):
            raise UsageError("stop and exact_length are for running texts, not for lines")
        stops = (stop,) if isinstance(stop, str) else tuple(stop)
        ending = Ending(length=length, stops=stops, exact=exact_length)
        decoding = Decoding(temperature=temperature, top_k=top_k, top_p=top_p)
        seed = seed_or_new(None if seed is None else operator.index(seed))  # also NumPy's
        if prefix is None:
            prefix = next(iter(self.config.training.prefixes), "")
        model, mixture = self._model_on(device), self._mixture(network_only)
        start = text_start(self, model, prefix)
        for notice in start.notices:
            warnings.warn(notice, stacklevel=2)
        if lines:
            every = generate_lines(
                model, start.ids, length=length, decoding=decoding, seed=seed, mixture=mixture
            )
            some = itertools.islice(every, num_samples or 1)
            texts = [start.text + self.vocabulary.decode(ids) for ids, _ in some]
        else:
            added = continue_text(
                model,
                self.vocabulary,
                start.ids,
                ending=ending,
                decoding=decoding,
                num_samples=num_samples or 1,
                seed=seed,
                mixture=mixture,
            )
            texts = [start.text + "".join(parts) for parts in zip(*added, strict=True)]
        return texts[0] if num_samples is None else texts

    def score(self, text: str, *, network_only: bool = False, device: str = "auto") -> Score:
        """How well the model predicts a text, as ``charlm eval --text`` computes it.

        With a run that has a mixture of the network and an n-gram, it is the mixture's score,
        unless ``network_only``; ``Score.model`` says which.

        Raises:
            CorpusError: there is no character to predict.
            UsageError: nothing is left of the text after the cleaning.

        >>> score = charlm.open("novel").score("The traveller sat down.")
        >>> score.surprisal.shape
        (23,)
        >>> 2.0**score.bits_per_char - score.perplexity < 1e-9
        True
        """
        import numpy as np

        from charlm.tasks.language_model.perplexity import character_nats

        model, mixture = self._model_on(device), self._mixture(network_only)

        def nats_of(ids: NDArray[np.integer]) -> NDArray[np.float64]:
            network = character_nats(model, ids)
            return network if mixture is None else mixture.nats(network, ids)[0]

        if self.config.corpus.lines:
            given = filter(str.strip, text.split(BOUNDARY))
            lines = [self._cleaned(line, stacklevel=3) + BOUNDARY for line in given]
            ids = [self.vocabulary.encode(BOUNDARY + line) for line in lines]
            nats = np.concatenate([np.empty(0), *map(nats_of, ids)])
            cleaned = "".join(lines)
        else:
            cleaned = self._cleaned(text, stacklevel=3)
            encoded = self.vocabulary.encode(cleaned)
            nats = np.insert(nats_of(encoded), 0, math.nan)
        if np.isnan(nats).all():
            raise CorpusError(f"the text {shown(text)} has no character to predict")
        # As `charlm eval` does: an unknown character costs <unk> and its spelling.
        nats[self.vocabulary.encode(cleaned) == UNKNOWN] += self.vocabulary.spelling_nats
        mean = float(np.nanmean(nats))
        return Score(
            text=cleaned,
            surprisal=nats / math.log(2),
            nats_per_char=mean,
            model="network" if mixture is None else "mixture",
        )

    def by_kind(
        self,
        split: str | None = None,
        *,
        file: str | None = None,
        protocol: str = "carried",
        whole: bool = False,
        corpora_dir: str | Path | None = None,
        device: str = "auto",
    ) -> list[dict[str, Any]]:
        """Where the bits go, as ``charlm eval --by-kind`` shows it: a row for each group.

        ``pandas.DataFrame(run.by_kind())`` makes a table. ``grouping`` is ``kind``,
        ``word_frequency`` (or ``character_frequency``) or ``after``, and each character is in one
        group of each grouping. docs/by-kind.md describes the other keys.

        Args:
            split: train, valid or test; None: test if there is one, else valid, else train.
            file: score this text instead, as ``--text``.
            protocol: ``carried`` or ``nanogpt``.
            whole: score all of a long text, not a sample.
            corpora_dir: a folder to look for the run's corpus in first.

        Raises:
            CorpusError: the text is missing or too short; without ``file``, also if the run's
                corpus is missing or has changed.
            UsageError: there is no such split or protocol.

        >>> rows = charlm.open("novel").by_kind("valid")
        >>> {row["grouping"] for row in rows} == {"kind", "word_frequency", "after"}
        True
        >>> abs(sum(row["bits_share"] for row in rows) - 3) < 1e-9
        True
        """
        from charlm.corpus.splits import chosen_split
        from charlm.device import select_device
        from charlm.tasks.language_model.eval_options import TextOptions

        options = TextOptions(text=file, protocol=protocol, whole=whole, by_kind=True)
        options.check_split(split)
        corpus = None
        try:
            corpus = self.load_corpus(corpora_dir)
        except CorpusError as error:
            if file is None:
                raise
            warnings.warn(f"{error.message}; {options.without_data()}", stacklevel=2)
        if corpus is not None and file is None:
            split = chosen_split(split, corpus.split_sizes, self.task.min_split)
        report = self.task.evaluate(
            self, corpus, split or "", select_device(device), lambda: False, options
        )
        for warning in report.warnings:
            warnings.warn(warning, stacklevel=2)
        found = report.content["by_kind"].items()
        return [
            {"grouping": name, **row}
            for name, rows in found
            if name != "conclusion"
            for row in rows
        ]

    def logits(self, text: str, *, device: str = "auto") -> NDArray[np.float32]:
        """The logits of the next character after each character of a text, (T, V).

        Column i belongs to the character with the id i in ``run.vocabulary``; column 0 is
        ``<unk>``.

        Raises:
            UsageError: the text is empty.

        >>> run = charlm.open("novel")
        >>> logits = run.logits("The ")
        >>> logits.shape == (4, len(run.vocabulary))
        True
        """
        model, ids, before = self._model_and_ids(text, device)
        logits, _ = model(ids, model.initial_state(1))
        array: NDArray[np.float32] = logits[before:, 0].float().cpu().numpy()
        return array

    def hidden(self, text: str, *, device: str = "auto") -> NDArray[np.float32]:
        """The output of each recurrent layer after each character of a text, (T, L, H).

        L layers from the bottom up, H units each. For an LSTM this is h, not the memory cell.

        Raises:
            UsageError: the text is empty.

        >>> charlm.open("novel").hidden("The ").shape
        (4, 1, 32)
        """
        import torch

        model, ids, before = self._model_and_ids(text, device)
        layers = model.stack.layer_outputs(*model.vectors(ids, model.initial_state(1))[:2])
        outputs = torch.stack(layers, dim=2)[before:, 0]  # (T, L, H)
        array: NDArray[np.float32] = outputs.float().cpu().numpy()
        return array

    def _model_and_ids(self, text: str, device: str) -> tuple[LanguageModel, Tensor, int]:
        """The model, the ids that it reads, (T, 1), and how many of them are before the text."""
        from charlm.tasks.language_model.batches import id_tensor

        before = BOUNDARY if self.config.corpus.lines else ""
        if before and before in text:
            raise UsageError(f"the text {shown(text)} has a line end", "give one line without it")
        ids = self.vocabulary.encode(before + self._cleaned(text, stacklevel=4))
        model = self._model_on(device)
        return model, id_tensor(ids, model.head.weight.device).unsqueeze(1), len(before)

    def _cleaned(self, text: str, *, stacklevel: int) -> str:
        """The text after the corpus's cleaning; a UsageError if nothing is left of it."""
        from charlm.tasks.language_model.prefix import unknown_notices

        cleaned = clean(text, self.corpus["cleaning"])
        if not cleaned:
            raise UsageError(f"the text {shown(text)} has no character to read")
        notices = unknown_notices(cleaned, self.vocabulary)
        if cleaned != text:
            notices.append(f"the text was cleaned as the corpus was ({self.corpus['cleaning']})")
        for notice in notices:
            warnings.warn(notice, stacklevel=stacklevel)
        return cleaned

    def load_mixture(self) -> Mixture | None:
        """The mixture of the network and an n-gram (``--mix-ngram``); None: there is none.

        It warns of a mixture that belongs to other weights, as while a training goes on.

        Raises:
            RunError: its files are damaged.
        """
        return self._mixture(network_only=False)

    def _mixture(self, network_only: bool) -> Mixture | None:
        """The mixture unless the network alone is wanted; called by what a user calls."""
        from charlm.tasks.language_model.mixture import read_mixture

        mixture, notice = (None, None) if network_only else read_mixture(self)
        if notice is not None:
            warnings.warn(notice, stacklevel=3)
        return mixture

    def _model_on(self, device: str) -> LanguageModel:
        from charlm.device import select_device

        return self.load_model().to(select_device(device)).requires_grad_(False)
