"""Corpora: find and read texts, and encode them as ids."""

from charlm.corpus.added_texts import add_text, corpus_names
from charlm.corpus.catalogue import LANGUAGE_MODEL, CatalogueEntry, CatalogueFile, catalogue
from charlm.corpus.cleaning import CLEANINGS, clean
from charlm.corpus.corpus import Corpus, load_corpus
from charlm.corpus.fetch import corpora_folders, fetch, locate
from charlm.corpus.labelled_texts import LabelledText, LabelledTexts, load_labelled
from charlm.corpus.splits import DEFAULT_SPLIT, SPLITS, split_sizes
from charlm.corpus.tagged_sentences import TaggedSentence, TaggedSentences, load_tagged
from charlm.corpus.text import SourceText, read_text
from charlm.corpus.vocabulary import Vocabulary
from charlm.corpus.words import (
    WordVocabulary,
    ngram_ids,
    normalise_word,
    split_words,
    word_shape,
)

__all__ = [
    "CLEANINGS",
    "DEFAULT_SPLIT",
    "LANGUAGE_MODEL",
    "SPLITS",
    "CatalogueEntry",
    "CatalogueFile",
    "Corpus",
    "LabelledText",
    "LabelledTexts",
    "SourceText",
    "TaggedSentence",
    "TaggedSentences",
    "Vocabulary",
    "WordVocabulary",
    "add_text",
    "catalogue",
    "clean",
    "corpora_folders",
    "corpus_names",
    "fetch",
    "load_corpus",
    "load_labelled",
    "load_tagged",
    "locate",
    "ngram_ids",
    "normalise_word",
    "read_text",
    "split_sizes",
    "split_words",
    "word_shape",
]
