"""From the configuration to a model on a device."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import suppress

import torch

from charlm.config import ClassificationConfig, LanguageModelSection, TaggingConfig
from charlm.corpus.reviews import ReviewVocabulary
from charlm.corpus.slots import TaggerVocabulary
from charlm.errors import UsageError
from charlm.models.classifier import Classifier
from charlm.models.language_model import LanguageModel
from charlm.models.tagger import Tagger


def build_language_model(config: LanguageModelSection, vocabulary_size: int) -> LanguageModel:
    """A freshly initialised model; torch's global generator decides its weights."""
    return LanguageModel(vocabulary_size, **dataclasses.asdict(config))


def build_classifier(config: ClassificationConfig, vocabulary: ReviewVocabulary) -> Classifier:
    """A freshly initialised model; torch's global generator decides its weights."""
    settings = dataclasses.asdict(config.model)
    del settings["from_run"]  # its weights are copied in afterwards
    return Classifier(
        len(vocabulary),
        len(vocabulary.labels),
        unknown=vocabulary.unknown,
        length=config.corpus.length,
        tune=not settings.pop("freeze"),
        **settings,
    )


def build_tagger(config: TaggingConfig, vocabulary: TaggerVocabulary) -> Tagger:
    """A freshly initialised model; torch's global generator decides its weights."""
    corpus = config.corpus
    return Tagger(
        len(vocabulary),
        len(vocabulary.tags),
        buckets=corpus.buckets if corpus.ngrams or corpus.shapes else 0,
        **dataclasses.asdict(config.model),
    )


def computes_in_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether products are to be taken in bfloat16; see `charlm.config.TrainingSection`."""
    if precision != "auto":
        return precision == "bfloat16"
    # Without such instructions bfloat16 is emulated on a CPU, and slower than float32.
    capabilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return device.type == "cpu" and any(capabilities.get(k) for k in ("avx512_bf16", "amx_bf16"))


def select_device(name: str) -> torch.device:
    """The device that ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps`` stands for.

    ``auto`` takes CUDA where there is one, and else the CPU: for networks of this size, MPS is
    taken only when it is asked for.

    Raises:
        UsageError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # Not torch's other names: "meta" holds no numbers, and some are for modules to be installed.
    if name.partition(":")[0] in ("cpu", "cuda", "mps"):
        with suppress(RuntimeError, AssertionError, NotImplementedError):
            device = torch.device(name)
            torch.empty(1, device=device)
            return device
    raise UsageError(f"no device {name!r} here", "try --device cpu")
