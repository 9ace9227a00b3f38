"""Other ways to score a language model than its network alone, with fixed weights.

A mixture with an n-gram, dynamic evaluation, a softmax temperature, and an ensemble of runs. Each
has its own row and its own key: none is the score of the network. All score the same K characters.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from charlm.errors import UsageError, counted
from charlm.runs import Run
from charlm.tasks.language_model.dynamic import Dynamic, search
from charlm.tasks.language_model.eval_options import TextOptions
from charlm.tasks.language_model.mixture import Mixture
from charlm.tasks.language_model.model import LanguageModel
from charlm.tasks.language_model.ngram import Floats, Ids
from charlm.tasks.language_model.perplexity import PROTOCOLS, WINDOW

if TYPE_CHECKING:
    from charlm.tasks.language_model.corpus import Corpus

DYNAMIC = 50_000  # the most characters that are scored with --dynamic: a minute or two
SEARCHED = 5_000  # of the validation split, on which the settings of --dynamic are found
TEMPERATURE_SAMPLE = 50_000  # of the validation split, on which a temperature is found
_TEMPERATURES = (0.5, 2.0)  # between which it is looked for
_HALVINGS = 12
_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True, kw_only=True)
class Text:
    """A text, or a sample of it, and the static scores of a run's network on its characters."""

    run: Run
    corpus: Corpus | None  # of the run
    others: Sequence[Run]  # of the ensemble
    model: LanguageModel  # on its device, in evaluation mode
    ids: Ids  # (N,)
    joined: Ids  # (M,) the scored parts, with characters before each
    scored: NDArray[np.bool_]  # (M - 1,) the K characters of ``joined[1:]`` that are scored
    network: Floats  # (K,) nats
    protocol: str
    at_most: int | None  # as of the protocol's function
    on_valid: bool  # whether it is the validation split, on which settings are chosen
    should_stop: Callable[[], bool]

    def nats(self, model: LanguageModel) -> Floats:
        """The (K,) nats of another model."""
        loss = PROTOCOLS[self.protocol](
            model, self.ids, at_most=self.at_most, each=True, should_stop=self.should_stop
        )
        assert loss.each is not None
        return loss.each

    @property
    def valid(self) -> Ids:
        """The ids of the validation split, on which the settings of a mode are chosen."""
        assert self.corpus is not None  # `prepare_modes` has checked it
        return self.corpus.read("valid")[0]


@dataclass(frozen=True, kw_only=True)
class Mode:
    """The score of one mode."""

    name: str  # of its row, and in JSON
    words: str  # what it is, in a line for people
    nats: Floats  # (K,)
    about: dict[str, Any] = field(default_factory=dict)  # for JSON


NAMES = ("mixture", "temperature", "dynamic", "ensemble")
"""The keys of the modes in JSON."""


def prepare_modes(run: Run, corpus: Corpus | None, options: TextOptions) -> list[Run]:
    """Check that the modes suit a run and its text, and open the other runs of an ensemble.

    Raises:
        UsageError: a mode does not suit them.
        RunError: a run of the ensemble is missing or damaged.
    """
    if options.dynamic and run.config.corpus.lines:
        raise UsageError(
            f"--dynamic is for running texts, and {run.folder} was trained with --lines",
            "leave it out",
        )
    searches = {"--dynamic": options.dynamic, "--temperature": options.temperature == "auto"}
    for option in (name for name, wanted in searches.items() if wanted):
        if corpus is None or corpus.split_sizes[1] < 2:
            why = "which cannot be read" if corpus is None else "and the run has none"
            raise UsageError(
                f"{option} finds its settings on the validation split, {why}", "leave it out"
            )
    others = [Run.open(folder, task=run.task, weights="best") for folder in options.ensemble]
    for other in others:
        parts = {"vocabulary": (run.vocabulary, other.vocabulary)}
        parts["--lines"] = (run.config.corpus.lines, other.config.corpus.lines)
        # The split that is scored must not be a part of another run's training text.
        same = ("cleaning",) if options.text is not None else ("cleaning", "sha256", "split")
        parts |= {name: (run.corpus[name], other.corpus[name]) for name in same}
        for name, (one, two) in parts.items():
            if one != two:
                what = "text" if name == "sha256" else name
                raise UsageError(
                    f"{other.folder} has another {what} than {run.folder}",
                    "an ensemble needs runs of the same text, with the same cleaning and split",
                )
    return others


def score_modes(text: Text, options: TextOptions, mixture: Mixture | None) -> Iterator[Mode]:
    """The modes that are wanted; the mixture if the run has one.

    Raises:
        Stopped: ``text.should_stop`` returned True.
    """
    if mixture is not None:
        nats, _ = mixture.nats(text.network, text.joined, text.scored)
        yield Mode(name="mixture", words=mixture.words, nats=nats, about=mixture.about())
    if options.temperature is not None:
        yield _temperature(text, options.temperature)
    if options.dynamic:
        yield _dynamic(text)
    if text.others:
        yield _ensemble(text)


def _chosen(text: Text) -> str:
    return ", chosen on this text" if text.on_valid else ", chosen on the validation split"


def _temperature(text: Text, given: str) -> Mode:
    """The softmax of the logits divided by a temperature."""
    chosen = ""
    if given == "auto":
        valid = text.valid

        def loss(value: float) -> float:
            model = with_temperature(text.model, value)
            score = PROTOCOLS[text.protocol]
            at_most = TEMPERATURE_SAMPLE
            return score(model, valid, at_most=at_most, should_stop=text.should_stop).mean

        value, chosen = round(find_temperature(loss), 3), _chosen(text)
    else:
        value = float(given)
    return Mode(
        name="temperature",
        words=f"the network, its logits divided by {value:g}{chosen}",
        nats=text.nats(with_temperature(text.model, value)),
        about={"temperature": value, "chosen_on": "valid" if given == "auto" else None},
    )


def find_temperature(loss: Callable[[float], float]) -> float:
    """The temperature with the least loss, by golden-section search.

    The cross-entropy is convex in the inverse of the temperature, b: it is the mean of
    ``log sum_v exp(b z_v) - b z_w`` over logits z.
    """
    low, high = (1 / each for each in reversed(_TEMPERATURES))
    a, b = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_a, at_b = loss(1 / a), loss(1 / b)
    for _ in range(_HALVINGS):
        if at_a < at_b:
            high, b, at_b = b, a, at_a
            a = high - _GOLDEN * (high - low)
            at_a = loss(1 / a)
        else:
            low, a, at_a = a, b, at_b
            b = low + _GOLDEN * (high - low)
            at_b = loss(1 / b)
    return 2 / (low + high)


def with_temperature(model: LanguageModel, temperature: float) -> LanguageModel:
    """A copy of a model whose logits are divided by a temperature."""
    model = copy.deepcopy(model)
    head = copy.deepcopy(model.head)  # a tied embedding stays as it is
    head.weight = nn.Parameter(head.weight.detach() / temperature)
    head.bias = nn.Parameter(head.bias.detach() / temperature)
    model.head = head
    return model


def _dynamic(text: Text) -> Mode:
    """The weights learn from the text that is read."""
    valid = text.valid[: SEARCHED + 1]
    assert text.corpus is not None
    window = WINDOW if text.protocol == "nanogpt" else None
    with torch.enable_grad():
        dynamic = Dynamic(text.model, text.corpus.split("train"), text.should_stop)
        settings = search(dynamic, valid, window)
        nats = dynamic.nats(text.ids, settings, window)
    about = {**settings._asdict(), "chosen_on": "valid", "chosen_on_characters": len(valid) - 1}
    words = (
        "the network learns from what it has read: learning rate "
        f"{settings.learning_rate:g}, decay {settings.decay:g}, segments of "
        f"{settings.segment} characters{_chosen(text)}"
    )
    return Mode(name="dynamic", words=words, nats=nats, about=about)


def _ensemble(text: Text) -> Mode:
    """The mean of the probabilities of several runs' networks."""
    device = text.model.head.weight.device
    every = [text.network, *(text.nats(other.load_model().to(device)) for other in text.others)]
    nats = np.log(len(every)) - np.logaddexp.reduce([-each for each in every])
    words = f"the mean probability of the networks of {counted(len(every), 'run')}"
    about = {"runs": [str(run.folder) for run in (text.run, *text.others)]}
    return Mode(name="ensemble", words=words, nats=nats, about=about)
