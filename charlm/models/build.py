"""Models from a configuration."""

from __future__ import annotations

from torch import nn

from charlm.config import ClassificationConfig, LanguageModelSection, NetworkSection, TaggingConfig
from charlm.corpus.reviews import ReviewVocabulary
from charlm.corpus.slots import TaggerVocabulary
from charlm.models.classifier import Classifier
from charlm.models.language_model import LanguageModel
from charlm.models.tagger import Tagger
from charlm.recurrent.build import build_stack
from charlm.recurrent.initialisation import initialise
from charlm.recurrent.stack import Stack


def build_language_model(config: LanguageModelSection, vocabulary_size: int) -> LanguageModel:
    """A freshly initialised language model; torch's global generator decides its weights.

    Raises:
        ValueError: the backend has no such cell.
    """
    size = config.hidden_size if config.embedding == "tied" else _embedding_size(config)
    one_hot = config.embedding == "one-hot"
    embedding = None if one_hot else nn.Embedding(vocabulary_size, size)
    stack = _stack(config, vocabulary_size if one_hot else size, bidirectional=False)
    head = nn.Linear(stack.output_size, vocabulary_size)
    initialise(config.initialisation, [embedding, stack, head])
    _narrow(embedding, config)
    if config.embedding == "tied" and embedding is not None:
        head.weight = embedding.weight
    return LanguageModel(
        embedding,
        stack,
        head,
        input_dropout=config.input_dropout,
        output_dropout=config.output_dropout,
    )


def build_classifier(config: ClassificationConfig, vocabulary: ReviewVocabulary) -> Classifier:
    """A freshly initialised classifier; torch's global generator decides its weights.

    Raises:
        ValueError: the backend has no such cell.
    """
    model, length = config.model, config.corpus.length
    size, one_hot = _embedding_size(model), model.embedding == "one-hot"
    embedding = None if one_hot else nn.Embedding(len(vocabulary), size)
    inputs = len(vocabulary) if one_hot else size
    stack = _stack(model, inputs, bidirectional=model.bidirectional)
    ngrams = [nn.Embedding(model.buckets, size) for _ in range(model.ngrams - 1)]
    count = {"all": length, "mean-max": 2}.get(model.features, 1) * stack.output_size
    dense = nn.Linear(count, model.dense_size) if model.dense_size else None
    classes = len(vocabulary.labels)
    head = nn.Linear(model.dense_size or count, classes if classes > 2 else 1)
    initialise(model.initialisation, [embedding, stack, *ngrams, dense, head])
    _narrow(embedding, model)
    for table in ngrams:
        nn.init.zeros_(
            table.weight
        )  # so that an n-gram that is never seen in training changes nothing
    return Classifier(
        embedding,
        ngrams,
        stack,
        dense,
        head,
        unknown=vocabulary.unknown,
        length=length,
        features=model.features,
        padding=model.padding,
        skip_padding=model.skip_padding,
        standardise=model.standardise,
        freeze=model.freeze,
        word_dropout=model.word_dropout,
        input_dropout=model.input_dropout,
        output_dropout=model.output_dropout,
    )


def build_tagger(config: TaggingConfig, vocabulary: TaggerVocabulary) -> Tagger:
    """A freshly initialised tagger; torch's global generator decides its weights.

    With the initialisation "torch", the vectors of words have standard deviation 1, and those of
    parts, of which several are added, 0.2.

    Raises:
        ValueError: the backend has no such cell.
    """
    model, corpus = config.model, config.corpus
    size = model.embedding_size or model.hidden_size
    embedding = nn.Embedding(len(vocabulary), size)
    inputs = (2 * model.window + 1) * size
    stack = _stack(model, inputs, bidirectional=model.bidirectional)
    parts = None
    if corpus.ngrams or corpus.shapes:
        padding = corpus.buckets
        parts = nn.EmbeddingBag(padding + 1, size, mode="sum", padding_idx=padding)
        nn.init.normal_(parts.weight, std=0.2)
    head = nn.Linear(stack.output_size, len(vocabulary.tags))
    initialise(model.initialisation, [embedding, stack, parts, head])
    if parts is not None:
        nn.init.zeros_(parts.weight[corpus.buckets])
    return Tagger(
        embedding,
        stack,
        parts,
        head,
        window=model.window,
        word_dropout=model.word_dropout,
        input_dropout=model.input_dropout,
        output_dropout=model.output_dropout,
    )


def _embedding_size(config: NetworkSection) -> int:
    return config.embedding_size or min(config.hidden_size, 64)


def _stack(config: NetworkSection, input_size: int, *, bidirectional: bool) -> Stack:
    return build_stack(
        config.cell,
        config.backend,
        input_size=input_size,
        hidden_size=config.hidden_size,
        num_layers=config.num_layers,
        bidirectional=bidirectional,
        dropout=config.dropout,
        weight_dropout=config.weight_dropout,
    )


def _narrow(embedding: nn.Embedding | None, config: NetworkSection) -> None:
    """With the initialisation "torch", draw an embedding from +-0.1, not with deviation 1."""
    if embedding is not None and config.initialisation == "torch":
        nn.init.uniform_(embedding.weight, -0.1, 0.1)
