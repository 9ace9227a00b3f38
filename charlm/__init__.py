"""Train, look inside and compare character-level recurrent language models.

::

    import charlm

    run = charlm.train("book.txt", minutes=2)  # the settings of ``charlm train``, as keywords
    print(run.generate("The ", length=300))
    run = charlm.open("novel")                 # a run by its name or folder; the newest without

What to start with:

- ``train``: train a model and return its run.
- ``open``: a trained run.
- ``LanguageModelRun``: ``generate``, ``score``, ``logits``, ``hidden``, ``metrics``, ``plot``.
- ``ClassifierRun``, ``TaggerRun``: ``predict``, ``metrics``, ``plot``.
- ``Score``: how well a language model predicts a text.
- ``CharlmError``: the base of all errors that a user can cause.

The parts that they are made of:

- ``Run``: a run folder of any task.
- ``LanguageModelConfig``, ``ClassificationConfig``, ``TaggingConfig``: all settings of a run.
- ``load_corpus``, ``load_reviews``, ``load_slots``: a text, labelled texts, tagged sentences.
- ``catalogue``: the corpora with a name.
- ``Corpus``: a text as token ids, in three splits.
- ``Vocabulary``: the characters that a model knows, and their ids.
- ``Batch``, ``consecutive_batches``, ``random_batches``: the batches of an epoch.
- ``LanguageModel``: the model, a torch module.
- ``build_stack``: recurrent layers, for a model of your own.
- ``Decoding``, ``generate``: how the next character is chosen; the token ids one by one.
- ``evaluate``: the cross-entropy of a model on token ids.
- ``baselines``: simpler predictors on the same text.
- ``TASKS``: the tasks by name.

``charlm.training.train`` is the training loop itself: it trains a ``Run`` and yields events.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charlm.api import open as open
    from charlm.api import train as train
    from charlm.corpus import Vocabulary as Vocabulary
    from charlm.corpus import catalogue as catalogue
    from charlm.errors import CharlmError as CharlmError
    from charlm.recurrent.build import build_stack as build_stack
    from charlm.runs import Run as Run
    from charlm.tasks import TASKS as TASKS
    from charlm.tasks.classification.config import ClassificationConfig as ClassificationConfig
    from charlm.tasks.classification.reviews import load_reviews as load_reviews
    from charlm.tasks.classification.run import ClassifierRun as ClassifierRun
    from charlm.tasks.language_model.baselines import baselines as baselines
    from charlm.tasks.language_model.batches import Batch as Batch
    from charlm.tasks.language_model.batches import consecutive_batches as consecutive_batches
    from charlm.tasks.language_model.batches import random_batches as random_batches
    from charlm.tasks.language_model.config import LanguageModelConfig as LanguageModelConfig
    from charlm.tasks.language_model.corpus import Corpus as Corpus
    from charlm.tasks.language_model.corpus import load_corpus as load_corpus
    from charlm.tasks.language_model.decoding import Decoding as Decoding
    from charlm.tasks.language_model.decoding import generate as generate
    from charlm.tasks.language_model.model import LanguageModel as LanguageModel
    from charlm.tasks.language_model.perplexity import evaluate as evaluate
    from charlm.tasks.language_model.run import LanguageModelRun as LanguageModelRun
    from charlm.tasks.language_model.run import Score as Score
    from charlm.tasks.tagging.config import TaggingConfig as TaggingConfig
    from charlm.tasks.tagging.run import TaggerRun as TaggerRun
    from charlm.tasks.tagging.slots import load_slots as load_slots

_HOMES = {
    "train": "api",
    "open": "api",
    "LanguageModelRun": "tasks.language_model.run",
    "ClassifierRun": "tasks.classification.run",
    "TaggerRun": "tasks.tagging.run",
    "Score": "tasks.language_model.run",
    "CharlmError": "errors",
    "Run": "runs",
    "LanguageModelConfig": "tasks.language_model.config",
    "ClassificationConfig": "tasks.classification.config",
    "TaggingConfig": "tasks.tagging.config",
    "load_corpus": "tasks.language_model.corpus",
    "load_reviews": "tasks.classification.reviews",
    "load_slots": "tasks.tagging.slots",
    "catalogue": "corpus",
    "Corpus": "tasks.language_model.corpus",
    "Vocabulary": "corpus",
    "Batch": "tasks.language_model.batches",
    "consecutive_batches": "tasks.language_model.batches",
    "random_batches": "tasks.language_model.batches",
    "LanguageModel": "tasks.language_model.model",
    "build_stack": "recurrent.build",
    "Decoding": "tasks.language_model.decoding",
    "generate": "tasks.language_model.decoding",
    "evaluate": "tasks.language_model.perplexity",
    "baselines": "tasks.language_model.baselines",
    "TASKS": "tasks",
}
__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that help needs no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'charlm' has no attribute {name!r}")
    import_module("charlm.tasks")  # fills the registry of tasks
    return getattr(import_module(f"charlm.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, *(name for name in globals() if name.startswith("__"))]
