"""Train, look inside and compare character-level recurrent language models.

The same parts that the command line is made of::

    import torch
    from charlm import LanguageModelConfig, Run, load_corpus, train

    config = LanguageModelConfig.from_settings([{"training": {"epochs": 1, "prefixes": ["The "]}}])
    corpus = load_corpus("traveller")
    run = Run.create(None, config, corpus)
    for event in train(run, corpus, device=torch.device("cpu")):
        print(event)

`train` trains classifiers and taggers, too, on a `ClassificationConfig` with `load_reviews` or a
`TaggingConfig` with `load_slots`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charlm.corpus import Vocabulary as Vocabulary
    from charlm.corpus import catalogue as catalogue
    from charlm.errors import CharlmError as CharlmError
    from charlm.recurrent.build import build_stack as build_stack
    from charlm.runs import Run as Run
    from charlm.tasks import TASKS as TASKS
    from charlm.tasks.classification.config import ClassificationConfig as ClassificationConfig
    from charlm.tasks.classification.reviews import load_reviews as load_reviews
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
    from charlm.tasks.tagging.config import TaggingConfig as TaggingConfig
    from charlm.tasks.tagging.slots import load_slots as load_slots
    from charlm.training import train as train

_HOMES = {
    "TASKS": "tasks",
    "Batch": "tasks.language_model.batches",
    "CharlmError": "errors",
    "ClassificationConfig": "tasks.classification.config",
    "Corpus": "tasks.language_model.corpus",
    "Decoding": "tasks.language_model.decoding",
    "LanguageModel": "tasks.language_model.model",
    "LanguageModelConfig": "tasks.language_model.config",
    "Run": "runs",
    "TaggingConfig": "tasks.tagging.config",
    "Vocabulary": "corpus",
    "baselines": "tasks.language_model.baselines",
    "build_stack": "recurrent.build",
    "catalogue": "corpus",
    "consecutive_batches": "tasks.language_model.batches",
    "evaluate": "tasks.language_model.perplexity",
    "generate": "tasks.language_model.decoding",
    "load_corpus": "tasks.language_model.corpus",
    "load_reviews": "tasks.classification.reviews",
    "load_slots": "tasks.tagging.slots",
    "random_batches": "tasks.language_model.batches",
    "train": "training",
}
__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that help needs no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'charlm' has no attribute {name!r}")
    import_module("charlm.tasks")  # fills the registry of tasks
    return getattr(import_module(f"charlm.{_HOMES[name]}"), name)
