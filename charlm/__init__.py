"""Train, look inside and compare character-level recurrent language models.

The same parts that the command line is made of::

    import torch
    from charlm import LanguageModelConfig, Run, load_corpus, train

    config = LanguageModelConfig.from_settings([{"training": {"epochs": 1, "prefixes": ["The "]}}])
    corpus = load_corpus("traveller")
    run = Run.create(None, config, corpus)
    for event in train(run, corpus, device=torch.device("cpu")):
        print(event)

`train` trains classifiers and taggers too: `ClassifierRun` with `load_reviews`, `TaggerRun` with
`load_slots`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charlm.batches import Batch, consecutive_batches, random_batches
    from charlm.config import ClassificationConfig, LanguageModelConfig, TaggingConfig
    from charlm.corpus import Corpus, Vocabulary, catalogue, load_corpus
    from charlm.corpus.reviews import load_reviews
    from charlm.corpus.slots import load_slots
    from charlm.errors import CharlmError
    from charlm.evaluation.baselines import baselines
    from charlm.evaluation.perplexity import evaluate
    from charlm.generation.decoding import Decoding, generate
    from charlm.models.language_model import LanguageModel
    from charlm.recurrent.build import build_stack
    from charlm.runs import ClassifierRun, Run, TaggerRun
    from charlm.training import train

_HOMES = {
    "Batch": "batches",
    "CharlmError": "errors",
    "ClassificationConfig": "config",
    "ClassifierRun": "runs",
    "Corpus": "corpus",
    "Decoding": "generation.decoding",
    "LanguageModel": "models.language_model",
    "LanguageModelConfig": "config",
    "Run": "runs",
    "TaggerRun": "runs",
    "TaggingConfig": "config",
    "Vocabulary": "corpus",
    "baselines": "evaluation.baselines",
    "build_stack": "recurrent.build",
    "catalogue": "corpus",
    "consecutive_batches": "batches",
    "evaluate": "evaluation.perplexity",
    "generate": "generation.decoding",
    "load_corpus": "corpus",
    "load_reviews": "corpus.reviews",
    "load_slots": "corpus.slots",
    "random_batches": "batches",
    "train": "training",
}

__all__ = [
    "Batch",
    "CharlmError",
    "ClassificationConfig",
    "ClassifierRun",
    "Corpus",
    "Decoding",
    "LanguageModel",
    "LanguageModelConfig",
    "Run",
    "TaggerRun",
    "TaggingConfig",
    "Vocabulary",
    "baselines",
    "build_stack",
    "catalogue",
    "consecutive_batches",
    "evaluate",
    "generate",
    "load_corpus",
    "load_reviews",
    "load_slots",
    "random_batches",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that help needs no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'charlm' has no attribute {name!r}")
    return getattr(import_module(f"charlm.{_HOMES[name]}"), name)
